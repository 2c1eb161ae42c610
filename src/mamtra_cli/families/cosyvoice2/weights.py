"""Published tensor names to ours and back.

Our names are the published ones but for two things: the text head is dropped (it shares its
numbers with the text table and nothing reads it), and the vocoder's weight norm is folded into
plain weights. Knows names and tensors, no modules. Names after FunAudioLLM/CosyVoice2-0.5B.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.hift import fold_weight_norm
from mamtra_cli.families.cosyvoice2.repository import TEXT_TABLE
from mamtra_cli.pt_file import PtFile

TEXT_HEAD = "llm.model.lm_head.weight"
COUNTERS = ("epoch", "step")
"""Entries that the training script adds to a state dict; `step` may be a tensor."""
PLAIN_CONVS = "source_downs."
"""Convolutions of the vocoder that have no weight norm."""


class PublishedFile:
    """A published `.pt` file under our names; no code in it is ever run.

    Args:
        part: `lm`, `flow` or `hift`.
        path: the file.

    Raises:
        CheckpointError: the file is missing, damaged, holds code or no tensors.
    """

    def __init__(self, part: str, path: Path) -> None:
        self.part = part
        self.path = path
        self._file = PtFile(path, skip=COUNTERS)
        empty = {n: torch.empty(s, device="meta") for n, s in self._file.shapes().items()}
        self._shapes = {name: tuple(value.shape) for name, value in to_ours(part, empty).items()}

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor, from the file's table alone."""
        return dict(self._shapes)

    def stream(
        self, names: Iterable[str] | None = None, dtype: torch.dtype | None = torch.float32
    ) -> Iterator[tuple[str, Tensor]]:
        """Read tensors one after the other; see `PtFile.stream`. The vocoder's come all at once."""
        wanted = list(self._shapes if names is None else names)
        if self.part != "hift":
            yield from self._file.stream(wanted, dtype)
            return
        folded = to_ours(self.part, dict(self._file.stream(dtype=None)))
        for name in wanted:
            value = folded[name]
            yield name, value if dtype is None else value.to(dtype)

    def mapped(self, name: str, dtype: torch.dtype | None) -> Tensor | None:
        """See `PtFile.mapped`."""
        return None if self.part == "hift" else self._file.mapped(name, dtype)


def to_ours(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors of `lm`, `flow` or `hift` under our names; nothing is copied needlessly."""
    if part == "hift":
        return fold_weight_norm(tensors)
    return {name: value for name, value in tensors.items() if (part, name) != ("lm", TEXT_HEAD)}


def to_published(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the published names, with the text head and the weight norm restored.

    A hybrid's new layers keep their names, which no published model has.
    """
    if part == "lm" and TEXT_TABLE in tensors:
        return {**tensors, TEXT_HEAD: tensors[TEXT_TABLE]}
    if part != "hift":
        return dict(tensors)
    published: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(".weight") and value.dim() == 3 and not name.startswith(PLAIN_CONVS):
            stem = f"{name.removesuffix('weight')}parametrizations.weight.original"
            published[f"{stem}0"] = torch.linalg.vector_norm(value, dim=(1, 2), keepdim=True)
            published[f"{stem}1"] = value
        else:
            published[name] = value
    return published
