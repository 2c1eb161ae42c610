"""A pretended CUDA device for machines without one: CPU tensors that say they are on `cuda:0`.

`PretendedCuda` marks storages as lying on the device. A call that mixes devices fails as it does
on a real one, `numpy()` of a marked tensor too, and results carry the mark on. The numbers are the
CPU's own, so a path can be compared with its run on the CPU to the last bit; kernels, their
precision and speed are not pretended. Two modes do it: one sees the calls of Python (devices asked
for and told), one the operations below autograd (devices mixed, results marked).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)
GET_RNG_STATE, SET_RNG_STATE = torch.get_rng_state, torch.set_rng_state
GENERATOR = torch.Generator
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
ACROSS = {"copy_", "_to_copy", "set_"}  # operations that are there to go between devices
GETTERS = {
    torch.Tensor.device.__get__,  # type: ignore[attr-defined]
    torch.Tensor.is_cuda.__get__,  # type: ignore[attr-defined]
    torch.Tensor.is_cpu.__get__,  # type: ignore[attr-defined]
}
TO_NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__}
MADE_OF_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}
READS = {
    torch.Tensor.item,
    torch.Tensor.tolist,
    torch.Tensor.__int__,
    torch.Tensor.__float__,
    torch.Tensor.__bool__,
    torch.Tensor.__index__,
}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)


class Mixed(RuntimeError):
    """Tensors of two devices met where a real device allows one."""


class PretendedGenerator(torch.Generator):
    """A generator that says where it is."""

    def __new__(cls, device: Any = "cpu") -> Self:
        made = super().__new__(cls)
        made.place = _full(device)
        return made

    place: torch.device

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place


class PretendedCuda:
    """The marks, and the two modes that keep them.

    Attributes:
        reads: how often a number was read back from the device (each one waits for it).
    """

    def __init__(self) -> None:
        self._marks: dict[int, tuple[StorageWeakRef, int]] = {}
        self.inside: torch.device | None = None  # of the call that makes tensors out of nothing
        self.reads = 0

    def device(self, tensor: Tensor) -> torch.device:
        """Where a tensor says it is."""
        found = tensor.untyped_storage()._cdata in self._marks
        return CUDA if found else torch._C.TensorBase.device.__get__(tensor)  # type: ignore[attr-defined]

    def held(self) -> int:
        """Bytes on the device."""
        return sum(size for storage, size in self._marks.values() if not storage.expired())

    def mark(self, found: Any, device: torch.device) -> Any:
        """Say that all tensors in `found` are on a device."""
        for tensor in tensors_in(found):
            storage = tensor.untyped_storage()
            if device.type == "cuda" and not tensor.is_meta:
                # The weak reference also keeps the address from being used again.
                self._marks[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
            else:
                self._marks.pop(storage._cdata, None)
        return found


def _full(device: Any) -> torch.device:
    """A device with its number."""
    if isinstance(device, int):
        return torch.device("cuda", device)
    device = torch.device(device)
    return CUDA if device.type == "cuda" and device.index is None else device


class Operations(TorchDispatchMode):
    """Below autograd: no mixing, and results lie where their inputs lay."""

    def __init__(self, cuda: PretendedCuda) -> None:
        super().__init__()
        self.cuda = cuda

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _composite(func):
            with self:  # calls arrive that autograd would have taken apart
                return func.decompose(*args, **kwargs)
        tensors = [*tensors_in((args, kwargs))]
        name = _named(func)
        if not tensors:
            place = self.cuda.inside or CPU
            made = func(*args, **kwargs)
            return self.cuda.mark(made, place)
        place = self._place(func, name, args, kwargs, tensors)
        out = func(*args, **kwargs)
        if name == "_to_copy" and self.cuda.inside is not None:
            place = self.cuda.inside
        known = {t.untyped_storage()._cdata for t in tensors}
        for tensor in tensors_in(out):
            if tensor.untyped_storage()._cdata not in known:
                self.cuda.mark(tensor, place)
        return out

    def _place(
        self, func: Any, name: str, args: Any, kwargs: Any, tensors: list[Tensor]
    ) -> torch.device:
        """The one device of an operation's inputs."""
        first = self.cuda.device(tensors[0])
        if name in ACROSS:
            return first
        places = {self.cuda.device(tensor) for tensor in tensors}
        if len(places) == 1:
            return first
        if first.type == "cuda" and name in INDEXED:
            # Indices of an array on the device may lie on the CPU, and so may a single value.
            values = [x for x in args[2:] if isinstance(x, Tensor)]
            if all(self.cuda.device(x) == first or not x.dim() for x in values):
                return first
        if torch.Tag.pointwise in func.tags or name in {"fill", "fill_"}:
            # A number on the CPU may join.
            joined = [x for x in tensors if x.dim() or self.cuda.device(x).type == "cuda"]
            places = {self.cuda.device(tensor) for tensor in joined}
            if len(places) == 1:
                return places.pop()
        if name.startswith("_foreach"):
            return first
        told = ", ".join(f"{tuple(t.shape)} on {self.cuda.device(t)}" for t in tensors)
        raise Mixed(f"{name} of {told}")


@cache
def _named(func: Any) -> str:
    return func._schema.name.removeprefix("aten::")  # type: ignore[no-any-return]


@cache
def _composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), torch._C.DispatchKey.CompositeImplicitAutograd
    )


FLOAT32 = frozenset(
    "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus "
    "layer_norm native_layer_norm group_norm norm nuclear_norm cosine_similarity poisson_nll_loss "
    "cosine_embedding_loss nll_loss hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss "
    "mse_loss margin_ranking_loss multilabel_margin_loss soft_margin_loss triplet_margin_loss "
    "multi_margin_loss binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp "
    "softmax log_softmax sum cumsum prod cumprod cross_entropy upsample __pow__ __rpow__".split()
)
"""What `torch.autocast("cuda")` computes in float32; on the CPU it names fewer."""
REDUCED = (torch.bfloat16, torch.float16)
AUTOCAST = torch.autocast


class PretendedAutocast(AUTOCAST):  # type: ignore[misc, valid-type]
    """Autocast of the pretended device: the CPU's, and `FLOAT32` on top."""

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, **more: Any):
        if device_type == "cuda" and dtype is None:
            dtype = torch.float16 if enabled else torch.bfloat16
        super().__init__("cpu", dtype, enabled, **more)


class Calls(TorchFunctionMode):
    """What Python asks: devices told, moves made, and what a device tensor cannot do refused."""

    def __init__(self, cuda: PretendedCuda) -> None:
        super().__init__()
        self.cuda = cuda

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func.__name__ == "__get__" and func not in GETTERS:
            return func(*args)  # an attribute says nothing of devices
        kwargs = dict(kwargs or {})
        cuda = self.cuda
        one = args[0] if args and isinstance(args[0], Tensor) else None
        if one is not None:
            there = cuda.device(one).type == "cuda"
            if func in GETTERS:
                name = func.__self__.__name__  # type: ignore[attr-defined]
                return cuda.device(one) if name == "device" else there == (name == "is_cuda")
            if there and func in TO_NUMPY and not kwargs.get("force"):
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
            if there and func is torch.Tensor.pin_memory:
                raise RuntimeError("cannot pin a tensor of the device")
            cuda.reads += there and func in READS
        if one is not None and func in (torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu):
            return self._move(func, one, args[1:], kwargs)
        if func is torch.Tensor.backward:
            return self._backward(*args, **kwargs)
        if func is torch.Tensor.__deepcopy__ and one is not None:
            return cuda.mark(func(*args, **kwargs), cuda.device(one))
        if func is torch.as_tensor and isinstance(one, Tensor) and kwargs.get("device") is not None:
            return self._move(torch.Tensor.to, one, args[1:], kwargs)
        if torch.is_autocast_enabled("cpu") and func.__name__ in FLOAT32:
            args, kwargs = _widened(args), _widened(kwargs)
        place = self._asked(func, args, kwargs)
        for word in (*args, *kwargs.values()):
            if isinstance(word, GENERATOR) and word.device.type != (place or CPU).type:
                raise Mixed(f"{func}: a generator on {word.device} draws on {place or CPU}")
        before, cuda.inside = cuda.inside, place
        try:
            out = func(*args, **kwargs)
        finally:
            cuda.inside = before
        # Numbers become a tensor without any operation that could be seen.
        return cuda.mark(out, CUDA) if place == CUDA and func in MADE_OF_NUMBERS else out

    def _backward(
        self,
        tensor: Tensor,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """`Tensor.backward`, with this mode on while forward passes are run anew."""
        before, self.cuda.inside = self.cuda.inside, self.cuda.device(tensor)
        try:
            with self:
                torch.autograd.backward(tensor, gradient, retain_graph, create_graph, inputs=inputs)
        finally:
            self.cuda.inside = before

    def _asked(self, func: Any, args: Any, kwargs: dict[str, Any]) -> torch.device | None:
        """The device that a call's new tensors go to; takes the word out of its arguments."""
        asked = kwargs.get("device")
        if asked is not None and _full(asked).type in {"cpu", "cuda"}:
            kwargs["device"] = CPU
            return _full(asked)
        for tensor in tensors_in((args, kwargs)):
            if self.cuda.device(tensor).type == "cuda":
                return CUDA
        return None

    def _move(self, func: Any, tensor: Tensor, args: Any, kwargs: dict[str, Any]) -> Tensor:
        """`to`, `cuda` and `cpu`."""
        here = there = self.cuda.device(tensor)
        if func is torch.Tensor.cuda:
            asked = args[0] if args else kwargs.get("device")
            there = CUDA if asked is None else _full(asked)
            args, kwargs = (), {}
        elif func is torch.Tensor.cpu:
            there, args, kwargs = CPU, (), {}
        else:
            rest = []
            for word in args:
                if isinstance(word, Tensor):
                    there = self.cuda.device(word)
                    rest.append(word.dtype)
                elif isinstance(word, (str, torch.device)) or type(word) is int:
                    there = _full(word)
                else:
                    rest.append(word)
            args = tuple(rest)
            if kwargs.get("device") is not None:
                there = _full(kwargs["device"])
            kwargs.pop("device", None)
        if there.type not in {"cpu", "cuda"} or tensor.is_meta:
            return func(tensor, there, *args, **kwargs)
        dtype = next((x for x in args if isinstance(x, torch.dtype)), kwargs.get("dtype"))
        before, self.cuda.inside = self.cuda.inside, there
        try:
            copy = here != there or bool(kwargs.get("copy"))
            return tensor.to(dtype or tensor.dtype, copy=copy)
        finally:
            self.cuda.inside = before


def _widened(value: Any) -> Any:
    """Reduced tensors in float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in REDUCED else value
    if isinstance(value, dict):
        return {name: _widened(one) for name, one in value.items()}
    return type(value)(map(_widened, value)) if type(value) in (list, tuple) else value


@contextmanager
def pretended_cuda() -> Iterator[PretendedCuda]:
    """A block in which one GPU of compute capability 9.0 is there."""
    cuda = PretendedCuda()
    functions: dict[str, Any] = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda including_emulation=True: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_name": lambda device=None: "Pretended GPU",
        "get_device_capability": lambda device=None: (9, 0),
        "synchronize": lambda device=None: None,
        "get_rng_state": lambda device="cuda": GET_RNG_STATE(),
        "set_rng_state": lambda state, device="cuda": SET_RNG_STATE(state),
        "reset_peak_memory_stats": lambda device=None: None,
        "memory_allocated": lambda device=None: cuda.held(),
        "max_memory_allocated": lambda device=None: cuda.held(),
        "max_memory_reserved": lambda device=None: cuda.held(),
        "_lazy_init": lambda: None,
    }
    with ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, function))
        stack.enter_context(mock.patch.object(torch, "Generator", PretendedGenerator))
        stack.enter_context(mock.patch.object(torch, "autocast", PretendedAutocast))
        stack.enter_context(Operations(cuda))
        stack.enter_context(Calls(cuda))
        yield cuda
