"""What every kind that stands in for attention promises: its start, its sizes, its fit."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mamtra_cli.backbone.calibrate import Sequences, calibrate
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.costs import Precision, cache_bytes, kv_bytes_per_token, parameters
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.kinds import kind_of, letter_of
from mamtra_cli.backbone.transfer import student_of
from mamtra_cli.errors import UsageError
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig

TINY = HybridConfig(
    d_model=24, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, d_ff=40, rope_theta=1e4
)
CHOICES = {
    **PRESETS,
    "gdn-kv": MixerConfig(mixer="gdn", state="kv", gate="full", gate_bias=True),
    "swa+ssm-kv": MixerConfig(mixer="swa+ssm", state="kv", gate=3, d_skip=False),
}
FITTED = [name for name, mixer in CHOICES.items() if kind_of(letter_of(mixer.mixer)).fitted]
WIDE = Precision(weights=8, cache=8, state=8, conv=8)


def teacher() -> HybridStack:
    torch.manual_seed(0)
    return HybridStack(TINY).double().eval()


def student(name: str, window: int = 4) -> HybridStack:
    mixer = replace(CHOICES[name], window=window, sinks=1)
    return student_of(teacher(), "T" + letter_of(mixer.mixer), mixer)


def inputs(length: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, length, TINY.d_model, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", CHOICES)
def test_sizes_are_those_that_costs_state(name: str) -> None:
    made = student(name)
    assert sum(p.numel() for p in made.parameters()) == parameters(made.config).backbone
    with torch.no_grad():
        state = made(inputs()).state.layers[1]
    parts, _ = state.parts()
    held = sum(part.nbytes for key, part in parts.items() if key != "index") / 2
    alone = replace(made.config, kinds=made.config.kinds[1] * 2)
    assert kv_bytes_per_token(alone, 8) == 0
    # Between calls a window holds one token less than a query sees.
    spare = 2 * TINY.shape.kv_width * 8 * (kind_of(alone.kinds[0]).visible(alone.mixer, 40) > 0)
    assert held == cache_bytes(alone, 40, WIDE) / 2 - spare


@pytest.mark.parametrize("name", FITTED)
def test_fit_brings_it_nearer_to_its_attention(name: str) -> None:
    theirs, mine = teacher(), student(name)
    fits = calibrate(theirs, mine, [Sequences(x=inputs(200))])
    assert [fit.layer for fit in fits] == [1]
    assert fits[0].after < 0.7 * fits[0].before
    with torch.no_grad():
        gap = (mine(inputs()).hidden - theirs(inputs()).hidden).square().mean()
        raw = (student(name)(inputs()).hidden - theirs(inputs()).hidden).square().mean()
    assert gap < raw


@pytest.mark.parametrize("init", ["xavier", "kaiming"])
@pytest.mark.parametrize("name", CHOICES)
def test_random_starts_have_the_shapes_of_the_kind(name: str, init: str) -> None:
    mixer = CHOICES[name]
    made = student_of(teacher(), "T" + letter_of(mixer.mixer), mixer, init=init)
    assert torch.isfinite(made(inputs(5)).hidden).all()


def test_window_and_state_starts_as_attention_inside_its_window() -> None:
    theirs, mine = teacher(), student("swa+ssm", window=40)
    with torch.no_grad():
        torch.testing.assert_close(mine(inputs()).hidden, theirs(inputs()).hidden)


def test_one_state_for_heads_of_one_decay_equals_a_state_each() -> None:
    """Heads that share keys, values and decay have the same state."""
    torch.manual_seed(0)
    each = kind_of("M").build(TINY.shape, MixerConfig()).double()
    one = kind_of("M").build(TINY.shape, MixerConfig(state="kv")).double()
    tensors = each.state_dict()
    for name in ("dt_bias", "A_log", "dt_proj.weight"):
        one.state_dict()[name].normal_()
        tensors[name] = one.state_dict()[name].repeat_interleave(2, 0)
    each.load_state_dict(tensors)
    shared = {n: v for n, v in tensors.items() if n not in ("dt_bias", "A_log", "dt_proj.weight")}
    one.load_state_dict(one.state_dict() | shared)
    with torch.no_grad():
        want, state = each(inputs())
        got, small = one(inputs())
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(small.ssm, state.ssm[:, ::2])
    assert 2 * small.ssm.nbytes == state.ssm.nbytes


@pytest.mark.parametrize(
    "choice",
    [{"mixer": "gdn", "normalise": True}, {"mixer": "swa+ssm", "qkv_bias": "fold"}],
    ids=lambda choice: choice["mixer"],
)
def test_choices_without_a_meaning_are_refused(choice: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        MixerConfig.from_dict(choice)
