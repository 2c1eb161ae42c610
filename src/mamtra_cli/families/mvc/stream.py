"""The windows of windows.py over the modules of a conditioning stack."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mamtra_cli.families.mvc.conditioner import Conditioner, Style, TokenCarry
from mamtra_cli.families.mvc.manner import Steering
from mamtra_cli.families.mvc.windows import FrameFeatures
from mamtra_cli.layers.state import MambaState


class ModuleReader:
    """See `windows.Reader`; without gradients, and what is said of frames comes on the CPU.

    Args:
        model: the stack.
    """

    def __init__(self, model: Conditioner) -> None:
        self.model = model
        self.device = model.embedding.weight.device

    @torch.inference_mode()
    def read(
        self, ids: Sequence[int], style: Style, carry: TokenCarry | None, *, commit: int
    ) -> tuple[Tensor, Sequence[float], TokenCarry]:
        """See `windows.Reader.read`."""
        row = torch.tensor([ids], device=self.device)
        found, after = self.model.tokens(row, style, carry, commit=commit)
        return found.features[:, :commit], found.log_duration[0, :commit].tolist(), after

    @torch.inference_mode()
    def spread(self, features: Tensor, counts: Sequence[int]) -> Tensor:
        """See `windows.Reader.spread`."""
        return self.model.expand(features, torch.tensor([counts], device=self.device))[0]

    @torch.inference_mode()
    def frames(
        self, x: Tensor, style: Style, states: tuple[MambaState, ...] | None, steering: Steering
    ) -> tuple[FrameFeatures, tuple[MambaState, ...]]:
        """See `windows.Reader.frames`."""
        found, after = self.model.frames(x, style, states, steering=steering)
        told = {name: value.cpu() for name, value in vars(found).items()}
        return FrameFeatures(**told), after
