"""A made-up language whose phones have laws of length, pitch and shape, in two voices."""

import torch
from torch import Tensor

from mamtra_cli.families.mvc.lessons import ConditionerBatch

LONGEST_PHONE = 4  # frames


def language(rows: int, seed: int) -> ConditionerBatch:
    """Sentences in which phone i lasts 1 + i % 4 frames, has a shape and a pitch of its own.

    A speaker is 1 or -1 in every bin of mu and of the reference.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randn(21, 10, generator=torch.Generator().manual_seed(99))
    lengths = torch.randint(5, 9, (rows,), generator=generator)
    ids = torch.randint(0, 21, (rows, int(lengths.max())), generator=generator)
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    frames = (1 + ids % LONGEST_PHONE) * mask
    speaker = torch.randint(0, 2, (rows,), generator=generator) * 2.0 - 1.0
    longest = int(frames.sum(1).max())

    def spread(values: Tensor) -> Tensor:
        out = torch.zeros(rows, longest, *values.shape[2:])
        for row in range(rows):
            said = values[row].repeat_interleave(frames[row], dim=0)
            out[row, : len(said)] = said
        return out

    mu = spread(shapes[ids] + speaker[:, None, None])
    reference = speaker[:, None, None] + 0.1 * torch.randn(rows, 12, 10, generator=generator)
    return ConditionerBatch(
        ids=ids,
        mask=mask,
        frames=frames,
        reference=reference,
        reference_mask=torch.ones(rows, 12, dtype=torch.bool),
        pitch=spread((ids % 5 - 2.0)[..., None])[..., 0] / 2,
        voiced=spread((ids % 3 > 0).float()[..., None])[..., 0],
        energy=spread((ids % 2).float()[..., None])[..., 0],
        mu=mu,
    )
