"""Several processes that train one model: who one is, sums over all, and the wrapping of a loss.

Processes are started by `torchrun` or `accelerate launch`; accelerate's `PartialState` reads their
environment and joins them. Gradients are torch's own business: `DistributedDataParallel`, or
FSDP2 (`fully_shard`), which divides trained weights, gradients and optimizer states. Knows no
losses and no data. Alone, everything here is the identity.
"""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mamtra_cli.errors import MissingDependencyError, UsageError

SHARDING = ("ddp", "fsdp2")


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: number of this process.
        size: how many there are.
        sharding: `ddp` or `fsdp2`.
    """

    rank: int = 0
    size: int = 1
    sharding: str = "ddp"

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """A tensor summed over all processes; no gradient flows through the sum."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        torch.distributed.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Whether a flag is set anywhere."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=_place())) > 0)

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            torch.distributed.barrier()

    def wrap(self, module: nn.Module, parts: Iterable[nn.Module] = ()) -> nn.Module:
        """A module whose backward pass ends with the mean of all gradients.

        Args:
            module: its forward pass gives the loss.
            parts: of FSDP2: modules inside it that are gathered one at a time, inner ones first.
        """
        if self.size == 1:
            return module
        if self.sharding == "ddp":
            return nn.parallel.DistributedDataParallel(module)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        frozen = {p for p in module.parameters() if not p.requires_grad}
        mesh = init_device_mesh(_place().type, (self.size,))
        for part in (*parts, module):
            if any(p.requires_grad for p in part.parameters()):
                # Frozen weights are the teacher's own tensors: dividing them would copy them.
                fully_shard(part, mesh=mesh, ignored_params=frozen)
        return module

    def quiet(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Leave gradients where they are, for passes before the last of a step."""
        if isinstance(module, nn.parallel.DistributedDataParallel):
            return module.no_sync()
        return nullcontext()


def join(sharding: str = "ddp", *, cpu: bool = False) -> World:
    """The world this process was started into.

    Args:
        sharding: one of `SHARDING`.
        cpu: leave accelerators alone.

    Raises:
        MissingDependencyError: there are several processes and accelerate is not installed.
    """
    if sharding not in SHARDING:
        raise UsageError(f"unknown sharding `{sharding}`", f"one of: {', '.join(SHARDING)}")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World(sharding=sharding)
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingDependencyError(
            "training with several processes needs accelerate",
            "`pip install 'mamtra-cli[train]'`",
        ) from error
    state = PartialState(cpu=cpu)
    return World(rank=state.process_index, size=state.num_processes, sharding=sharding)


def leave(world: World) -> None:
    """Part from the other processes."""
    if world.size > 1 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        from accelerate import PartialState

        PartialState._reset_state()


def own_device(device: str) -> str:
    """The device of this process: each has a GPU of its own where there are several processes.

    Raises:
        UsageError: all would have the same one, with which NCCL does not work.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.startswith("cuda:"):
        raise UsageError(
            f"several processes cannot share `{device}`",
            "`--device cuda` gives each a GPU of its own; `CUDA_VISIBLE_DEVICES` says which",
        )
    if device in ("auto", "cuda"):
        if torch.cuda.is_available():
            return f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
        return "cpu"
    return device


def whole(value: Tensor) -> Tensor:
    """A tensor in full, gathered where FSDP2 divided it; every process must ask."""
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def divided_like(value: Tensor, like: Tensor) -> Tensor:
    """A full tensor divided as another one is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(like, DTensor):
        # Every process read the same file, so nothing has to be sent.
        return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return value


def _place() -> torch.device:
    """Where collectives run: the GPU with NCCL, the CPU with gloo."""
    if torch.distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
