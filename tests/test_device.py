"""Device, type and threads, and why."""

import os
import subprocess
from dataclasses import replace

import pytest
import torch
from tests.command import python

from mamtra_cli.device import (
    KERNEL_CACHES,
    KERNELS,
    SMALL,
    apply_threads,
    bound_kernels,
    choose,
    fit_solver,
    fit_threads,
    free_bytes,
)
from mamtra_cli.errors import UsageError


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))


@pytest.mark.usefixtures("no_gpu")
def test_auto_without_a_gpu_is_cpu_in_float32_and_says_why() -> None:
    got = choose()
    assert (got.device, got.dtype) == ("cpu", "float32")
    assert got.threads == torch.get_num_threads()
    assert "no GPU" in got.reason
    assert got.torch_device == torch.device("cpu")
    assert got.torch_dtype == torch.float32


@pytest.mark.usefixtures("no_gpu")
def test_auto_leaves_an_apple_gpu_alone_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    got = choose()
    assert got.device == "cpu"
    assert "float64" in got.reason


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("parameters", "asked", "units", "solver"),
    [
        (SMALL, "auto", True, "bfloat16"),
        (SMALL, "bf16", True, "bfloat16"),
        (SMALL, "float32", True, "float32"),
        (SMALL, "fp32", True, "float32"),
        (SMALL, "auto", False, "float32"),
        (SMALL - 1, "auto", True, "float32"),
    ],
)
def test_solver_is_narrow_for_large_models_where_the_cpu_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, parameters: int, asked: str, units: bool, solver: str
) -> None:
    monkeypatch.setattr("mamtra_cli.device.multiplies_bfloat16", lambda: units)
    found = fit_solver(choose("cpu", asked), parameters, asked)
    assert found.solver == solver
    assert ("flow of a large model" in found.reason) == (solver == "bfloat16")


@pytest.mark.usefixtures("two_gpus")
def test_solver_on_a_gpu_is_exact() -> None:
    assert fit_solver(choose(), SMALL).solver == "float32"


@pytest.mark.usefixtures("two_gpus")
def test_auto_with_a_gpu_takes_the_first_in_bfloat16() -> None:
    got = choose()
    assert (got.device, got.dtype) == ("cuda:0", "bfloat16")
    assert "Some GPU" in got.reason


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("name", "wanted"), [("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_numbered_gpu_is_the_one_asked_for(name: str, wanted: str) -> None:
    assert choose(name, "float32").device == wanted


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cuda", "torch finds none"),
        ("gpu", "unknown device"),
        ("mps", "no float64"),
        ("cude", "unknown device"),
    ],
)
@pytest.mark.usefixtures("no_gpu")
def test_absent_device_is_refused_with_a_way_out(device: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as said:
        choose(device)
    assert said.value.hint


def test_gpu_is_cuda() -> None:
    with pytest.raises(UsageError) as said:
        choose("GPU")
    assert said.value.hint == "did you mean `cuda`?"


@pytest.mark.parametrize("threads", [-1, 100_000])
def test_threads_that_would_crash_the_process_are_refused(threads: int) -> None:
    with pytest.raises(UsageError, match=f"`--threads {threads}` is outside 0 to 1024"):
        choose("cpu", threads=threads)


@pytest.mark.usefixtures("two_gpus")
def test_gpu_number_beyond_the_last_is_refused() -> None:
    with pytest.raises(UsageError, match="no device `cuda:2`"):
        choose("cuda:2")


@pytest.mark.parametrize(("name", "wanted"), [("bf16", "bfloat16"), ("float16", "float16")])
def test_dtype_has_short_names(name: str, wanted: str) -> None:
    assert choose("cpu", name).dtype == wanted


def test_unknown_dtype_names_the_nearest() -> None:
    with pytest.raises(UsageError) as said:
        choose("cpu", "bfloat")
    assert said.value.hint == "did you mean `bfloat16`?"


def test_threads_are_applied_only_when_asked() -> None:
    before = torch.get_num_threads()
    try:
        apply_threads(choose("cpu", threads=before))
        assert torch.get_num_threads() == before
        apply_threads(choose("cpu", threads=before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)


@pytest.mark.usefixtures("eight")
def test_threads_are_at_most_one_a_processor() -> None:
    assert choose("cpu", threads=1000).threads == 8


@pytest.mark.usefixtures("eight")
def test_small_model_runs_on_one_thread_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    compute = replace(choose("cpu"), threads=8)
    small = fit_threads(compute, 5_000_000)
    assert small.threads == 1
    assert "one thread" in small.reason
    assert fit_threads(compute, 500_000_000).threads == 8
    assert fit_threads(choose("cpu", threads=4), 5_000_000, asked=4).threads == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert fit_threads(compute, 5_000_000) == compute


LENGTHS = """
import torch
from mamtra_cli.device import KERNELS, bound_kernels
torch.ones(1) + 1
bound_kernels()
weight = torch.randn(160, 160, 7)
with torch.inference_mode():
    for length in [*range(300, 308 + KERNELS), 300]:
        torch.conv1d(torch.randn(1, 160, length), weight)
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize("kept", ["", "1024"], ids=["ours", "environment"])
def test_kernels_of_old_lengths_are_let_go_unless_the_environment_says_otherwise(kept: str) -> None:
    """oneDNN says itself what it compiled: the first length once more, or not."""
    said = {name: kept for name in KERNEL_CACHES if kept}
    quiet = {name: value for name, value in os.environ.items() if name not in KERNEL_CACHES}
    found = subprocess.run(
        [*python(), "-c", LENGTHS],
        env={**quiet, **said, "ONEDNN_VERBOSE": "profile_create", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    compiled = [line for line in found.splitlines() if "cache_miss,cpu,convolution" in line]
    if not compiled:
        pytest.skip("this processor convolves without oneDNN")
    assert len(compiled) == KERNELS + 8 + (0 if kept else 1)


def test_number_of_kernels_kept_is_the_user_s_where_he_says_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KERNEL_CACHES[0], "7")
    monkeypatch.delenv(KERNEL_CACHES[1], raising=False)
    bound_kernels()
    assert [os.environ[name] for name in KERNEL_CACHES] == ["7", str(KERNELS)]


def test_free_memory_is_told_where_the_system_tells_it() -> None:
    free = free_bytes(choose("cpu"))
    assert free is None or 0 < free < 1 << 50
