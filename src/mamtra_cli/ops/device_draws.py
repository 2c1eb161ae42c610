"""Draws that stay on the device: the ids of tensor_draws.py without a number read back.

The random numbers are those of `Variates`, made ahead on the host and uploaded; which of them a
row uses next is counted on the device, since a repeated id takes a second draw. Running sums are
the device's: where an id lies on the border of the nucleus to the last bit, it may fall on the
other side than on the host.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mamtra_cli.errors import UsageError
from mamtra_cli.ops.draws import Variates, is_shaped
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.ops.tensor_draws import probabilities


class DeviceDraws:
    """Ids of one codebook drawn on the device, one a row and step.

    Args:
        options: how to draw.
        variates: one a row.
        width: ids that there are (V).
        draws: random numbers made ahead; a step takes one or two.
        device: of the scores.

    Raises:
        UsageError: the options ask for a penalty or transform that only the host draws by.
    """

    def __init__(
        self,
        options: Sampling,
        variates: Sequence[Variates],
        width: int,
        draws: int,
        device: torch.device,
    ) -> None:
        if is_shaped(options):
            raise UsageError(
                "a repetition penalty or the unified transform is not drawn on the device",
                "leave them out, or draw on the host",
            )
        self.options = options
        made = np.stack([[one.exponential(width) for one in variates] for _ in range(draws)])
        self.shares = torch.from_numpy(made).to(device)  # (draws, B, V)
        rows = len(variates)
        self.rows = torch.arange(rows, device=device)
        self.next = torch.zeros(rows, dtype=torch.long, device=device)
        self.recent = torch.full((rows, max(options.ras_window, 1)), -1, device=device)

    def restart(self) -> None:
        """Begin again, with the same random numbers."""
        self.next.zero_()
        self.recent.fill_(-1)

    @property
    def moving(self) -> tuple[Tensor, ...]:
        """Tensors that a draw changes."""
        return self.next, self.recent

    def __call__(self, scores: Tensor) -> Tensor:
        """Draw from scores (B, V): ids (B,)."""
        chosen = self._draw(scores)
        self.recent.copy_(torch.cat((self.recent[:, 1:], chosen[:, None]), dim=1))
        return chosen

    def _draw(self, scores: Tensor) -> Tensor:
        options = self.options
        if options.greedy or options.temperature == 0.0:
            return scores.argmax(dim=-1)
        ranked, ids = torch.sort(
            probabilities(scores, options), dim=1, descending=True, stable=True
        )
        if options.top_k:
            ranked, ids = ranked[:, : options.top_k], ids[:, : options.top_k]
        kept = ranked >= options.min_p * ranked[:, :1]
        if options.top_p < 1.0:
            kept &= ranked.cumsum(dim=1) - ranked < options.top_p
            kept[:, 0] = True
        shares = self.shares[self.next, self.rows]
        drawn = (ranked / shares[:, : ranked.shape[1]]).masked_fill(~kept, -1.0)
        chosen = ids.gather(1, drawn.argmax(dim=1, keepdim=True))[:, 0]
        if not options.ras_window:
            self.next.add_(1)
            return chosen
        count = (self.recent == chosen[:, None]).sum(dim=1)
        repeated = count >= options.ras_window * options.ras_threshold
        others = scores.float().scatter(1, chosen[:, None], -torch.inf)
        again = probabilities(others, options)
        repeated &= again.isfinite().all(dim=1)
        self.next.add_(1)
        # A row that does not repeat keeps the next numbers for its next id.
        shares = self.shares[self.next.clamp(max=len(self.shares) - 1), self.rows]
        second = (again / shares).argmax(dim=1)
        self.next.add_(repeated)
        return torch.where(repeated, second, chosen)
