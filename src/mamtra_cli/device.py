"""Which device, type and threads to compute with, and why. Knows names, no models."""

import os
import re
from dataclasses import dataclass, replace

import torch

from mamtra_cli.config import nearest
from mamtra_cli.errors import UsageError
from mamtra_cli.host_memory import free_host_bytes

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
BACKENDS = ("auto", "torch", "onnx")
QUANTISATIONS = ("none", "int8", "int4")
SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}
SMALL = 50_000_000  # parameters of a language model that one thread serves best
KERNELS = 64  # compiled CPU kernels kept; one piece of speech needs about 70
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # oneDNN's, torch's
MOST_THREADS = 1024  # OpenMP crashes the process where it cannot make as many as asked for
DEVICE = re.compile(r"cpu|cuda(?::(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """A device, the type of the language model on it, CPU threads, and the reason in words."""

    device: str
    dtype: str
    threads: int
    reason: str
    backend: str = "torch"  # that steps the language model: torch or onnx
    quant: str = "none"  # of its matrices: none, int8 or int4
    solver: str = "float32"  # type that the solver of a codec computes in

    @property
    def torch_device(self) -> torch.device:
        """The device as torch names it."""
        return torch.device(self.device)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type as torch names it."""
        return DTYPES[self.dtype]

    @property
    def solver_dtype(self) -> torch.dtype:
        """The solver's type as torch names it."""
        return DTYPES[self.solver]


def choose(device: str = "auto", dtype: str = "auto", threads: int = 0) -> Compute:
    """Choose what to compute with. Changes nothing; see `apply_threads`.

    Args:
        device: auto, cpu, cuda or cuda:1.
        dtype: auto, float32, bfloat16 or float16.
        threads: CPU threads, at most one a processor; 0 keeps torch's choice, which heeds
            `OMP_NUM_THREADS`; see `fit_threads`.

    Raises:
        UsageError: there is no such device or type, or no machine for so many threads.
    """
    if not 0 <= threads <= MOST_THREADS:
        raise UsageError(
            f"`--threads {threads}` is outside 0 to {MOST_THREADS}",
            f"{os.cpu_count()} processors are here; 0 chooses",
        )
    chosen, why = _choose_device(device)
    kind, why_type = _choose_dtype(dtype, chosen)
    here = os.cpu_count() or threads
    if threads > here:
        why = f"{why}; {here} threads of {threads}, one a processor"
    count = min(threads, here) or torch.get_num_threads()
    return Compute(device=chosen, dtype=kind, threads=count, reason=f"{why}; {why_type}")


def free_bytes(compute: Compute) -> int | None:
    """Memory that more could be put into now; `None` where the system does not say."""
    if compute.device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(compute.torch_device)[0])
    return free_host_bytes()


def fit_threads(compute: Compute, parameters: int, asked: int = 0) -> Compute:
    """Take one CPU thread for a small model, unless the user or `OMP_NUM_THREADS` chose.

    A step of a small language model is too short to be shared: on two busy cores the median of
    mini's steps was 40 ms with one thread and 1,036 ms with two (2026-11-21).

    Args:
        compute: the choice so far.
        parameters: of the language model.
        asked: threads the user asked for; 0 for none.
    """
    if asked or parameters >= SMALL or "OMP_NUM_THREADS" in os.environ:
        return compute
    return replace(compute, threads=1, reason=f"{compute.reason}; a small model runs on one thread")


def fit_solver(compute: Compute, parameters: int, asked: str = "auto") -> Compute:
    """Let the solver of a large model's codec compute in bfloat16 where the CPU multiplies it.

    At the published size that took 0.7 of the time, at mini's it gained nothing (docs/flow.md).

    Args:
        compute: the choice so far.
        parameters: of the language model.
        asked: the type that the user asked for; only `auto` and bfloat16 let it.
    """
    wide = SHORT.get(asked, asked) not in ("auto", "bfloat16")
    if wide or compute.device != "cpu" or parameters < SMALL or not multiplies_bfloat16():
        return compute
    reason = f"{compute.reason}; the flow of a large model computes in bfloat16"
    return replace(compute, solver="bfloat16", reason=reason)


def multiplies_bfloat16() -> bool:
    """Whether this CPU has units for it; others only imitate it."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_backend(compute: Compute, backend: str = "auto", quant: str = "none") -> Compute:
    """Choose what steps the language model.

    Args:
        compute: the choice so far.
        backend: auto, torch or onnx; auto takes onnx where matrices of few bits are asked for.
        quant: none, int8 or int4.

    Raises:
        UsageError: there is no such backend or quantisation, or they do not go together.
    """
    for flag, value, known in (("backend", backend, BACKENDS), ("quant", quant, QUANTISATIONS)):
        if value not in known:
            near = nearest(value, known)
            hint = f"did you mean `{near}`?" if near else f"one of: {', '.join(known)}"
            raise UsageError(f"unknown {flag} `{value}`", hint)
    if backend == "auto":
        backend = "torch" if quant == "none" else "onnx"
    if backend == "torch" and quant != "none":
        raise UsageError(f"torch steps no {quant} matrices", "leave out `--backend torch`")
    if backend == "onnx" and compute.device != "cpu":
        raise UsageError(
            f"ONNX Runtime steps on the CPU, not on {compute.device}", "try `--device cpu`"
        )
    if backend == "torch":
        return compute
    words = "as they are" if quant == "none" else f"in {quant}"
    reason = f"{compute.reason}; ONNX Runtime steps matrices {words}"
    return replace(compute, backend=backend, quant=quant, reason=reason)


def apply_threads(compute: Compute) -> None:
    """Make torch use the chosen number of threads in this process."""
    if torch.get_num_threads() != compute.threads:
        torch.set_num_threads(compute.threads)


def bound_kernels() -> None:
    """Keep few compiled CPU kernels in this process, unless the environment says how many.

    oneDNN compiles a kernel for every length of its input, and by itself keeps 1,024 in each of
    two caches: memory grows with the number of pieces spoken, and hardly a kernel is used again,
    because no two pieces have one length (docs/streaming.md). The caches read the environment at
    the first convolution; after it this does nothing.
    """
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(KERNELS))


def _choose_device(name: str) -> tuple[str, str]:
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda:0", f"{torch.cuda.get_device_name(0)} is there"
        if torch.backends.mps.is_available():
            return "cpu", "an Apple GPU is there, but has no float64"
        return "cpu", f"no GPU is there, {os.cpu_count()} processors are"
    if name == "mps":
        raise UsageError(
            "Apple GPUs have no float64, which the vocoder and the fits need", "try `--device cpu`"
        )
    match = DEVICE.fullmatch(name)
    if match is None:
        near = "cuda" if name.lower() == "gpu" else nearest(name, ["auto", "cpu", "cuda"])
        hint = f"did you mean `{near}`?" if near else "one of: auto, cpu, cuda, cuda:1"
        raise UsageError(f"unknown device `{name}`", hint)
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise UsageError(
                f"`--device {name}` needs CUDA, and torch finds none here", "try `--device cpu`"
            )
        count, index = torch.cuda.device_count(), int(match[1] or 0)
        if index >= count:
            raise UsageError(
                f"there is no device `{name}`", f"cuda:0 to cuda:{count - 1} are there"
            )
        return f"cuda:{index}", "asked for"
    return name, "asked for"


def _choose_dtype(name: str, device: str) -> tuple[str, str]:
    name = SHORT.get(name, name)
    if name in DTYPES:
        return name, f"{name} asked for"
    if name != "auto":
        near = nearest(name, [*DTYPES, *SHORT])
        hint = f"did you mean `{near}`?" if near else f"one of: auto, {', '.join(DTYPES)}"
        raise UsageError(f"unknown type `{name}`", hint)
    if device.startswith("cuda") and torch.cuda.get_device_capability(device)[0] >= 8:
        return "bfloat16", "bfloat16 halves the weights and this GPU computes it"
    return "float32", "float32 is exact, and fastest where bfloat16 has no hardware"
