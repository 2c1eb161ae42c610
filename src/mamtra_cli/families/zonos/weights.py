"""Published tensor names of the language model to ours and back.

The stack has the house's names: fused projections are split (queries, keys, values; the value half
of the feed-forward before its gate), the native layers' convolution loses its middle axis. Tables,
heads and the prefix keep their names. Knows names and tensors, no modules. Names after
Zyphra/Zonos and state-spaces/mamba.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mamtra_cli.pt_file import PtFile
from mamtra_cli.tensors import TensorFile

LAYER = re.compile(r"backbone\.layers\.(\d+)\.(.+)")
NATIVE = {  # published leaf to ours, in layers that carry their own recurrence
    "mixer.in_proj.weight": "mixer.in_proj.weight",
    "mixer.conv1d.weight": "mixer.conv.weight",
    "mixer.conv1d.bias": "mixer.conv.bias",
    "mixer.dt_bias": "mixer.dt_bias",
    "mixer.A_log": "mixer.A_log",
    "mixer.D": "mixer.D",
    "mixer.norm.weight": "mixer.norm.weight",
    "mixer.out_proj.weight": "mixer.o_proj.weight",
}
PLAIN = {
    "norm.weight": "input_layernorm.weight",
    "norm.bias": "input_layernorm.bias",
    "norm2.weight": "post_attention_layernorm.weight",
    "norm2.bias": "post_attention_layernorm.bias",
    "mlp.fc2.weight": "mlp.down_proj.weight",
}
IN_PROJ, OUT_PROJ, FC1 = "mixer.in_proj.weight", "mixer.out_proj.weight", "mlp.fc1.weight"
QKV = tuple(f"self_attn.{name}_proj.weight" for name in "qkv")
O_PROJ = "self_attn.o_proj.weight"
HALVES = ("mlp.up_proj.weight", "mlp.gate_proj.weight")
ENCODER_FILE = "ResNet293_SimAM_ASP_base.pt"
LDA_FILE = "ResNet293_SimAM_ASP_base_LDA-128.pt"


def to_ours(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors under our names; split ones are views."""
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    return {
        name: piece
        for source, value in tensors.items()
        for name, piece in pieces(source, value, shapes)
    }


def pieces(
    name: str, value: Tensor, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, Tensor]]:
    """A published tensor as the ones it holds.

    Args:
        name: published name.
        value: the tensor.
        shapes: of all published tensors: a layer is known by what it has.
    """
    found = LAYER.fullmatch(name)
    if found is None:
        yield name.replace("backbone.norm_f.", "backbone.norm."), value
        return
    stem, leaf = f"backbone.layers.{found[1]}.", found[2]
    native = f"{stem}mixer.A_log" in shapes
    if leaf in PLAIN:
        yield stem + PLAIN[leaf], value
    elif native and leaf in NATIVE:
        yield stem + NATIVE[leaf], value[:, 0] if leaf == "mixer.conv1d.weight" else value
    elif leaf == IN_PROJ:
        queries = shapes.get(stem + OUT_PROJ, value.shape)[1]
        shared = (value.shape[0] - queries) // 2
        parts = torch.split(value, [queries, shared, value.shape[0] - queries - shared])
        yield from zip((stem + part for part in QKV), parts, strict=True)
    elif leaf == OUT_PROJ:
        yield stem + O_PROJ, value
    elif leaf == FC1:
        yield from zip((stem + half for half in HALVES), value.chunk(2), strict=True)
    else:
        yield name, value


def to_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_ours`; layers that a conversion made keep their names."""
    published: dict[str, Tensor] = {}
    backward = {**{ours: name for name, ours in PLAIN.items()}, O_PROJ: OUT_PROJ}
    native = {ours: name for name, ours in NATIVE.items()}
    for name, value in tensors.items():
        found = LAYER.fullmatch(name)
        if found is None:
            published[name.replace("backbone.norm.", "backbone.norm_f.")] = value
            continue
        stem, leaf = f"backbone.layers.{found[1]}.", found[2]
        if leaf in backward:
            published[stem + backward[leaf]] = value
        elif leaf in native and f"{stem}mixer.in_proj.weight" in tensors:
            wide = value[:, None] if leaf == "mixer.conv.weight" else value
            published[stem + native[leaf]] = wide
        elif leaf == QKV[0]:
            published[stem + IN_PROJ] = torch.cat([tensors[stem + part] for part in QKV])
        elif leaf == HALVES[0]:
            published[stem + FC1] = torch.cat([tensors[stem + half] for half in HALVES])
        elif leaf not in (*QKV, *HALVES):
            published[name] = value
    return published


class PublishedLM:
    """A published `model.safetensors` under our names; see `tensors.TensorSource`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = TensorFile(path)
        self._published = self._file.shapes()
        self._source: dict[str, str] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in self._published.items():
            empty = torch.empty(shape, device="meta")
            for ours, piece in pieces(name, empty, self._published):
                self._source[ours] = name
                self._shapes[ours] = tuple(piece.shape)

    def __contains__(self, name: object) -> bool:
        return name in self._source

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor, from the file's header alone."""
        return dict(self._shapes)

    def stream(
        self, names: Iterable[str] | None = None, dtype: torch.dtype | None = torch.float32
    ) -> Iterator[tuple[str, Tensor]]:
        """Read tensors one after the other, each published one once; in the file's order."""
        wanted = set(self._source if names is None else names)
        sources = dict.fromkeys(self._source[name] for name in self._source if name in wanted)
        for source, value in self._file.stream(sources, dtype):
            for name, piece in pieces(source, value, self._published):
                if name in wanted:
                    yield name, piece if piece.shape == value.shape else piece.clone()

    def mapped(self, name: str, dtype: torch.dtype | None) -> Tensor | None:
        """Nothing stays in the file: most tensors are parts of others."""
        del name, dtype
        return None


class PublishedSpeaker:
    """The two published files of the speaker encoder as one; no code in them is ever run.

    Args:
        path: the encoder's file; the affine map's stands beside it.

    Raises:
        CheckpointError: a file is missing, damaged, or holds code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = {"": PtFile(path), "lda.": PtFile(path.with_name(LDA_FILE))}

    def __contains__(self, name: object) -> bool:
        return name in self.shapes()

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor."""
        return {
            prefix + name: shape
            for prefix, file in self._files.items()
            for name, shape in file.shapes().items()
        }

    def stream(
        self, names: Iterable[str] | None = None, dtype: torch.dtype | None = torch.float32
    ) -> Iterator[tuple[str, Tensor]]:
        """Read tensors one after the other; see `PtFile.stream`."""
        wanted = set(self.shapes() if names is None else names)
        for prefix, file in self._files.items():
            inside = [name for name in file if prefix + name in wanted]
            for name, value in file.stream(inside, dtype):
                yield prefix + name, value

    def mapped(self, name: str, dtype: torch.dtype | None) -> Tensor | None:
        """Nothing stays in the files."""
        del name, dtype
        return None
