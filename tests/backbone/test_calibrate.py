"""Calibration: the closed forms are least-squares optima, and padding does not count."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mamtra_cli.backbone.calibrate import LayerFit, Sequences, calibrate
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.transfer import student_of
from mamtra_cli.errors import MamtraError
from mamtra_cli.layers.mamba2 import Mamba2Mixer
from mamtra_cli.layers.mixer_config import PRESETS

TINY = HybridConfig(
    d_model=24, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=6, d_ff=40, rope_theta=1e4
)


def pair(name: str = "mamba2-gqa", kinds: str = "TMM") -> tuple[HybridStack, HybridStack]:
    torch.manual_seed(0)
    teacher = HybridStack(TINY)
    with torch.no_grad():
        for value in teacher.parameters():
            value.add_(torch.randn_like(value) * 0.2)
    teacher = teacher.double().eval()
    return teacher, student_of(teacher, kinds, PRESETS[name])


def batches(count: int = 3, length: int = 40) -> list[Sequences]:
    generator = torch.Generator().manual_seed(2)
    return [
        Sequences(x=torch.randn(4, length, TINY.d_model, generator=generator, dtype=torch.float64))
        for _ in range(count)
    ]


@torch.no_grad()
def gathered(teacher: HybridStack, student: HybridStack, layer: int) -> tuple[Tensor, Tensor]:
    """Features and targets of one layer, by hand."""
    features, targets = [], []
    block = list(teacher.blocks())[layer]
    mixer = list(student.blocks())[layer].core
    assert isinstance(mixer, Mamba2Mixer)
    for batch in batches():
        x = teacher(batch.x, capture=(layer,)).captured[layer]
        u = block.input_layernorm(x)
        features.append(mixer.features(u)[0].flatten(0, 1))
        targets.append(block.core(u)[0].flatten(0, 1))
    return torch.cat(features), torch.cat(targets)


def projection(student: HybridStack, layer: int) -> Tensor:
    core = list(student.blocks())[layer].core
    assert isinstance(core, Mamba2Mixer)
    return core.o_proj.weight.detach()


@pytest.mark.parametrize("name", ["mamba2-gqa", "mamtra-paper"])
def test_least_squares_is_the_optimum_and_its_report_is_true(name: str) -> None:
    teacher, student = pair(name)
    y, t = gathered(teacher, student, 2)
    before = projection(student, 2).clone()
    fits = {fit.layer: fit for fit in calibrate(teacher, student, batches(), ridge=1e-12)}
    assert set(fits) == {1, 2}
    want = torch.linalg.lstsq(y, t).solution.T
    got = projection(student, 2)
    power = t.square().sum()
    best = float((t - y @ want.T).square().sum() / power)
    assert fits[2].after == pytest.approx(best, rel=1e-6)
    assert float((t - y @ got.T).square().sum() / power) == pytest.approx(best, rel=1e-6)
    assert fits[2].before == pytest.approx(
        float((t - y @ before.T).square().sum() / power), rel=1e-9
    )
    assert fits[2].tokens == len(y)


def test_gain_and_scalar_are_least_squares_of_their_form() -> None:
    teacher, fresh = pair()
    y, t = gathered(teacher, fresh, 1)
    start = projection(fresh, 1).clone()
    each = (y[:, None, :] * start).flatten(0, 1)  # (N * D, C)
    gain = torch.linalg.lstsq(each, t.reshape(-1, 1)).solution.T
    _, student = pair()
    calibrate(teacher, student, batches(), mode="gain", ridge=1e-12)
    torch.testing.assert_close(projection(student, 1), start * gain, rtol=1e-5, atol=1e-7)
    whole = y @ start.T
    _, student = pair()
    calibrate(teacher, student, batches(), mode="scalar")
    factor = (whole * t).sum() / whole.square().sum()
    torch.testing.assert_close(projection(student, 1), start * factor)


def test_richer_fits_are_no_worse() -> None:
    errors = {}
    for mode in ("none", "scalar", "gain", "ls"):
        teacher, student = pair()
        fits = calibrate(teacher, student, batches(), mode=mode, ridge=1e-12)
        errors[mode] = [fit.after for fit in fits]
        if mode == "none":
            assert all(fit.before == fit.after for fit in fits)
    for richer, poorer in (("scalar", "none"), ("gain", "scalar"), ("ls", "gain")):
        for a, b in zip(errors[richer], errors[poorer], strict=True):
            assert a <= b * (1 + 1e-9)


def test_order_and_size_of_batches_do_not_matter() -> None:
    whole = batches()
    split = [Sequences(x=row[None]) for batch in reversed(whole) for row in batch.x]
    results: list[tuple[tuple[LayerFit, ...], Tensor]] = []
    for data in (whole, split):
        teacher, student = pair()
        results.append((calibrate(teacher, student, data), projection(student, 1)))
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-7, atol=1e-9)


def test_padding_does_not_count() -> None:
    x = batches(1)[0].x
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    mask[2:, 25:] = False
    filled = x.masked_fill(~mask[..., None], 1e3)
    teacher, student = pair()
    fits = calibrate(teacher, student, [Sequences(x=filled, pad_mask=mask)])
    other_teacher, other = pair()
    parts = [Sequences(x=x[:2]), Sequences(x=x[2:, :25])]
    assert calibrate(other_teacher, other, parts)[0].tokens == fits[0].tokens == int(mask.sum())
    torch.testing.assert_close(projection(student, 1), projection(other, 1), rtol=1e-7, atol=1e-9)


def test_calibrated_student_is_nearer_to_the_teacher() -> None:
    teacher, student = pair()
    held_out = torch.randn(2, 40, TINY.d_model, dtype=torch.float64)
    with torch.no_grad():
        want = teacher(held_out).hidden
        before = (student(held_out).hidden - want).square().sum()
        calibrate(teacher, student, batches(8))
        after = (student(held_out).hidden - want).square().sum()
    assert float(after) < 0.7 * float(before)


def test_nothing_but_the_output_projection_changes() -> None:
    teacher, student = pair()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    source = {name: value.clone() for name, value in teacher.state_dict().items()}
    calibrate(teacher, student, batches(1))
    changed = {n for n, v in student.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {f"layers.{i}.mixer.o_proj.weight" for i in (1, 2)}
    assert all(torch.equal(value, source[name]) for name, value in teacher.state_dict().items())


def test_windows_and_attention_are_left_alone() -> None:
    teacher, student = pair(kinds="TSM")
    assert [fit.layer for fit in calibrate(teacher, student, batches(1))] == [2]


def test_bad_data_is_refused() -> None:
    teacher, student = pair()
    with pytest.raises(MamtraError, match="no tokens"):
        calibrate(teacher, student, [])
    with pytest.raises(MamtraError, match="not finite"):
        calibrate(teacher, student, [replace(batches(1)[0], x=batches(1)[0].x * torch.nan)])
    with pytest.raises(ValueError, match="mode"):
        calibrate(teacher, student, [], mode="best")
