"""The choice of implementations and the adapter to library kernels, with a fake library."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mamtra_cli.ops import dispatch, mamba_ssm_kernels
from mamtra_cli.ops.ssd import ssd_scan, ssd_scan_naive, ssd_step

FAKE_SCAN = """
import torch
from mamtra_cli.ops.ssd import ssd_scan_naive

calls = []

def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None,
                              initial_states=None, seq_idx=None, cu_seqlens=None,
                              dt_softplus=False, dt_limit=(0.0, float("inf")),
                              return_final_states=False, return_varlen_states=False):
    # What the library asserts, and what its kernels take for granted.
    batch, seqlen, nheads, headdim = x.shape
    _, _, ngroups, dstate = B.shape
    assert nheads % ngroups == 0
    assert B.shape == C.shape == (batch, seqlen, ngroups, dstate)
    assert dt.shape == (batch, seqlen, nheads) and A.shape == (nheads,)
    assert chunk_size >= 16 and chunk_size & (chunk_size - 1) == 0
    assert cu_seqlens is None and dt_limit == (0.0, float("inf")) and not return_varlen_states
    assert not dt_softplus and dt_bias is None and D is None and z is None
    assert A.dtype == dt.dtype == torch.float32
    assert B.stride(-1) == C.stride(-1) == 1
    if initial_states is not None:
        assert initial_states.shape == (batch, nheads, headdim, dstate)
        assert initial_states.dtype == torch.float32
    if seq_idx is not None:
        assert seq_idx.shape == (batch, seqlen) and seq_idx.dtype == torch.int32
        assert seq_idx.is_contiguous()
        if initial_states is not None:
            # `_state_passing_fwd` begins with sequence 0: the state is that one's.
            initial_states = initial_states * (seq_idx[:, :1, None, None] == 0)
    calls.append(x.shape[1])
    y, state = ssd_scan_naive(x, dt, A, B, C, dt_softplus=False,
                              initial_state=initial_states, seq_idx=seq_idx)
    assert return_final_states
    return y, state
"""

FAKE_STEP = """
import torch

def selective_state_update(state, x, dt, A, B, C, D=None, z=None, dt_bias=None,
                           dt_softplus=False, state_batch_indices=None):
    batch, nheads, dim, dstate = state.shape
    assert x.shape == dt.shape == (batch, nheads, dim)
    assert A.shape == (nheads, dim, dstate)
    assert nheads % B.shape[1] == 0 and B.shape == C.shape == (batch, B.shape[1], dstate)
    assert D.shape == dt_bias.shape == (nheads, dim) and z is None
    assert dt.dtype == A.dtype == torch.float32
    assert dt.stride(-1) == 0 and A.stride()[1:] == (0, 0) and dt_bias.stride(-1) == 0
    assert (D == 0).all() and (dt_bias == 0).all() and not dt_softplus
    repeats = nheads // B.shape[1]
    B, C = B.float().repeat_interleave(repeats, 1), C.float().repeat_interleave(repeats, 1)
    state.mul_(torch.exp(dt[..., None] * A))
    state.add_((dt * x.float())[..., None] * B[:, :, None])
    return (state @ C[..., None]).squeeze(-1).to(x.dtype)
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package of that name, written by the test, and a clean slate around it."""
    folder = tmp_path / "mamba_ssm" / "ops" / "triton"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent, folder.parent.parent):
        (package / "__init__.py").write_text("")
    (folder / "ssd_combined.py").write_text(FAKE_SCAN)
    (folder / "selective_state_update.py").write_text(FAKE_STEP)
    monkeypatch.syspath_prepend(tmp_path)
    mamba_ssm_kernels.load.cache_clear()
    yield tmp_path / "mamba_ssm"
    mamba_ssm_kernels.load.cache_clear()
    for name in [n for n in sys.modules if n.split(".")[0] == "mamba_ssm"]:
        del sys.modules[name]


@pytest.fixture(params=["imported", "bypassed"])
def kernels(request: pytest.FixtureRequest, library: Path) -> mamba_ssm_kernels.Kernels:
    if request.param == "bypassed":
        (library / "__init__.py").write_text("import selective_scan_cuda")
    found = mamba_ssm_kernels.load()
    assert ("without the package's __init__" in found.reason) == (request.param == "bypassed")
    return found


def problem(length: int = 13) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "x": draw(2, length, 4, 3),
        "dt": draw(2, length, 4),
        "A": -draw(4).exp(),
        "B": draw(2, length, 2, 5),
        "C": draw(2, length, 2, 5),
        "D": draw(4),
        "z": draw(2, length, 4, 3),
        "dt_bias": draw(4),
    }


@pytest.mark.parametrize("gain", [None, 1.0, "tensor"], ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["one", "packed"])
def test_scan_through_the_library_equals_the_loop(
    kernels: mamba_ssm_kernels.Kernels, monkeypatch: pytest.MonkeyPatch, gain: Any, packed: bool
) -> None:
    values: dict[str, Any] = problem()
    values["gain"] = values["dt"].cos() if gain == "tensor" else gain
    values["initial_state"] = torch.randn(2, 4, 3, 5)
    values["dt_limit"] = (0.01, 1.0)
    if packed:
        # The second piece goes on in a sequence that is not the row's first.
        values["seq_idx"] = torch.tensor([[0] * 4 + [1] * 9, [0] * 2 + [3] * 5 + [4] * 6])
    want = ssd_scan_naive(**values)
    monkeypatch.setattr(mamba_ssm_kernels, "MAX_TOKENS", 8)  # pieces of four tokens
    with dispatch.forced("ssd_scan", "mamba-ssm"):
        got = ssd_scan(**values)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    calls = sys.modules["mamba_ssm.ops.triton.ssd_combined"].calls
    assert calls[-4:] == [4, 4, 4, 1]


@pytest.mark.parametrize("gain", [None, 1.0], ids=str)
@pytest.mark.parametrize("in_place", [False, True], ids=["kept", "in-place"])
def test_step_through_the_library_equals_ours(
    kernels: mamba_ssm_kernels.Kernels, gain: float | None, in_place: bool
) -> None:
    state = torch.randn(2, 4, 3, 5)
    values: dict[str, Any] = problem(1)
    for name in ("x", "dt", "B", "C", "z"):
        values[name] = values[name][:, 0]
    want_y, want = ssd_step(state, **values, gain=gain)
    given = state.clone()
    with dispatch.forced("ssd_step", "mamba-ssm"), torch.no_grad():
        y, after = ssd_step(given, **values, gain=gain, in_place=in_place)
    torch.testing.assert_close(y, want_y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after, want, rtol=1e-5, atol=1e-5)
    assert (after is given) == in_place
    if not in_place:
        assert torch.equal(given, state)


def test_small_float16_steps_do_not_overflow_in_the_library(
    kernels: mamba_ssm_kernels.Kernels,
) -> None:
    values: dict[str, Any] = problem()
    values.update(gain=1.0, dt_softplus=False, dt_bias=None)
    values["dt"] = values["dt"].abs() * 1e-6
    for name in ("x", "B", "C", "z"):
        values[name] = values[name].half()
    with dispatch.forced("ssd_scan", "mamba-ssm"):
        y, state = ssd_scan(**values)
    want_y, want = ssd_scan_naive(**values)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.float(), want_y.float(), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(state, want, rtol=2e-3, atol=2e-3)


def test_zero_steps_without_input_pass_the_library(kernels: mamba_ssm_kernels.Kernels) -> None:
    values: dict[str, Any] = problem()
    values.update(gain=1.0, dt_softplus=False, dt_bias=None)
    values["dt"] = values["dt"].abs()
    values["dt"][:, 6:] = 0.0
    values["x"][:, 6:] = 0.0
    with dispatch.forced("ssd_scan", "mamba-ssm"):
        got = ssd_scan(**values)
    torch.testing.assert_close(got, ssd_scan_naive(**values), rtol=1e-5, atol=1e-5)


def test_failed_import_leaves_no_stand_in(library: Path) -> None:
    (library / "__init__.py").write_text("raise RuntimeError('broken')")
    (library / "ops" / "triton" / "ssd_combined.py").write_text("import no_such_module")
    found = mamba_ssm_kernels.load()
    assert found.scan is None
    assert "no_such_module" in found.reason
    assert not any(name.split(".")[0] == "mamba_ssm" for name in sys.modules)


def test_other_signature_is_refused_with_its_reason(library: Path) -> None:
    path = library / "ops" / "triton" / "ssd_combined.py"
    path.write_text("def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size): ...")
    found = mamba_ssm_kernels.load()
    assert found.scan is None
    assert "lacks dt_softplus, initial_states" in found.reason


def test_missing_library_is_told() -> None:
    mamba_ssm_kernels.load.cache_clear()
    spec = mamba_ssm_kernels.importlib.machinery.PathFinder.find_spec("mamba_ssm")
    if spec is None:
        assert mamba_ssm_kernels.load().reason == "mamba_ssm is not installed"
        with pytest.raises(ValueError, match="not installed"):
            mamba_ssm_kernels.scan(
                *(torch.zeros(1, 1, 1, 1),) * 5,
                gain=None,
                initial_state=None,
                runs=None,
                chunk=64,
            )
    mamba_ssm_kernels.load.cache_clear()


def test_cpu_runs_torch_and_says_why() -> None:
    for choice in dispatch.describe("cpu"):
        assert choice.implementation == "torch"
        assert choice.reason
    reasons = {choice.op: choice.reason for choice in dispatch.describe("cpu")}
    assert "on cpu" in reasons["ssd_scan"]


def test_forced_choice_ends_with_its_block() -> None:
    with dispatch.forced("ssd_scan", "naive"):
        assert dispatch.choose("ssd_scan").implementation == "naive"
        with dispatch.forced("ssd_scan", "torch"):
            assert dispatch.choose("ssd_scan").implementation == "torch"
        assert dispatch.choose("ssd_scan").implementation == "naive"
    assert dispatch.choose("ssd_scan").implementation == "torch"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown op"):
        dispatch.choose("sdd_scan")
    with pytest.raises(ValueError, match="no implementation"), dispatch.forced("attention", "cute"):
        pass


@pytest.mark.parametrize(
    ("op", "dtype", "capability", "word"),
    [
        ("ssd_scan", torch.float64, (9, 0), "float64"),
        ("ssd_scan", torch.float32, (9, 0), "TF32"),
        ("ssd_scan", torch.bfloat16, (7, 5), "7.5"),
        ("ssd_scan", torch.bfloat16, (9, 0), "mamba_ssm"),
        ("ssd_step", torch.float32, (9, 0), "mamba_ssm"),
    ],
    ids=["float64", "float32", "old-device", "installed-or-not", "exact-step"],
)
def test_cuda_choice_names_its_reason(
    monkeypatch: pytest.MonkeyPatch,
    op: str,
    dtype: torch.dtype,
    capability: tuple[int, int],
    word: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    dispatch._decide.cache_clear()
    assert word in dispatch.choose(op, "cuda", dtype).reason
    dispatch._decide.cache_clear()


def test_stand_in_type_is_a_plain_module(library: Path) -> None:
    (library / "__init__.py").write_text("import selective_scan_cuda")
    mamba_ssm_kernels.load()
    assert type(sys.modules["mamba_ssm"]) is types.ModuleType
