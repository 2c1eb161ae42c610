"""A model folder as its family reads it, and parts built to be filled.

Nothing is loaded before it is asked for. Knows families by their types only.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.checkpoint import (
    CONFIG,
    GRAPH,
    PROVENANCE,
    README,
    SUFFIX,
    ModelFolder,
    sha256,
    sha256_once,
)
from mamtra_cli.errors import CheckpointError, PlanError, UsageError
from mamtra_cli.families.base import Conversion, Facts, Family, Upstream
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.tensors import TensorFile, TensorSource, load_module

DRAWS = {  # a mode sees outermost calls only, so the functions of `init` are named too
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.trunc_normal_,
    nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_,
    nn.init.xavier_uniform_,
    nn.init.xavier_normal_,
}

STAYS = {CONFIG, PROVENANCE, README, "trainer.safetensors", "metrics.jsonl"}
"""Files of a folder that a student of it writes anew or does not have."""


class Source(Protocol):
    """Where a model's parts are read from, whoever wrote them.

    Attributes:
        published: whether the folder is in its authors' format.
        parts: those that are there, foreign ones not counted.
        provenance: what our format says of how it was made; empty in others.
    """

    @property
    def published(self) -> bool: ...

    @property
    def parts(self) -> Collection[str]: ...

    @property
    def provenance(self) -> Mapping[str, Any]: ...

    def open(self, part: str) -> TensorSource:
        """Open the tensors of a part, which are read one at a time."""
        ...

    def stored(self, part: str, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Read tensors bit by bit as they are stored, with the scales of packed ones."""
        ...

    def kinds(self, part: str) -> Mapping[str, torch.dtype]:
        """The type that each tensor is stored in; int8 where it is packed."""
        ...

    def hashes(self, part: str) -> dict[str, str]:
        """SHA-256 by name of the files that a student is made from, which changes one part."""
        ...

    def companions(self, part: str) -> dict[str, Path]:
        """Files beside a part that go along with its student as they are, by name."""
        ...

    def rest(self, part: str) -> tuple[str, ...]:
        """Parts beside one that have to be put into our format for its student."""
        ...


@dataclass(frozen=True, kw_only=True)
class OwnSource:
    """A folder in our format."""

    folder: ModelFolder
    published = False

    @property
    def parts(self) -> tuple[str, ...]:
        """One a weights file."""
        return self.folder.parts

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How it was made."""
        return self.folder.provenance

    def open(self, part: str) -> TensorFile:
        """Open a weights file."""
        return self.folder.part(part)

    def stored(self, part: str, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Values and scales as they are."""
        return self.open(part).stored(names)

    def kinds(self, part: str) -> Mapping[str, torch.dtype]:
        """From the file's table."""
        return {name: info.dtype for name, info in self.open(part).infos.items()}

    def hashes(self, part: str) -> dict[str, str]:
        """Of the part's own file."""
        name = f"{part}{SUFFIX}"
        return {name: sha256(self.folder.file(name))}

    def companions(self, part: str) -> dict[str, Path]:
        """Everything but what is written anew; see `ModelFolder.files`."""
        skip = STAYS | {f"{part}{SUFFIX}"}
        return {
            name: path
            for name, path in self.folder.files().items()
            # Graphs belong to the weights that they name: `flow_encoder.onnx` to those of `flow`.
            if name not in skip and not (path.suffix == GRAPH and path.stem.split("_")[0] == part)
        }

    def rest(self, part: str) -> tuple[str, ...]:
        """None: they go along as files."""
        del part
        return ()


@dataclass(frozen=True, kw_only=True)
class PublishedSource:
    """A folder as its authors publish it."""

    family: Family
    upstream: Upstream
    published = True

    @property
    def parts(self) -> tuple[str, ...]:
        """Those that the family found."""
        return tuple(self.upstream.parts)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Nothing is said."""
        return {}

    def open(self, part: str) -> TensorSource:
        """Open a published file under our names."""
        return self.family.open_published(part, self.upstream.parts[part])

    def stored(self, part: str, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """In the types of the file."""
        return self.open(part).stream(names, None)

    def kinds(self, part: str) -> Mapping[str, torch.dtype]:
        """New tensors beside published ones are float32, whatever those are."""
        return dict.fromkeys(self.open(part), torch.float32)

    def hashes(self, part: str) -> dict[str, str]:
        """Of every published file: all of them are rewritten."""
        del part
        return {path.name: sha256(path) for path in self.upstream.parts.values()}

    def companions(self, part: str) -> dict[str, Path]:
        """Those that the family names."""
        del part
        return dict(self.upstream.companions)

    def rest(self, part: str) -> tuple[str, ...]:
        """All others."""
        return tuple(name for name in self.upstream.parts if name != part)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model folder and the family that reads it; nothing is loaded yet.

    Attributes:
        source: its parts.
    """

    family: Family
    folder: Path
    config: Any
    source: Source

    @property
    def published(self) -> bool:
        """Whether the folder is in its authors' format."""
        return self.source.published

    @property
    def facts(self) -> Facts:
        """Its numbers."""
        return self.family.facts(self.config)

    @property
    def conversion(self) -> Conversion:
        """How its layers are exchanged.

        Raises:
            PlanError: it has none to exchange.
        """
        found = self.family.conversion(self.config)
        if found is None:
            raise PlanError(
                f"`{self.folder.name}` is a {self.family.name} model, which has no layers to "
                "exchange",
                "convert a model that speaks token by token",
            )
        return found

    @property
    def stack(self) -> HybridConfig:
        """Sizes of the layers that may be exchanged.

        Raises:
            PlanError: it has none.
        """
        _ = self.conversion
        found = self.facts.stack
        assert found is not None
        return found

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that are there, foreign ones last."""
        own = tuple(self.source.parts)
        foreign = self.family.foreign_parts(self.folder)
        return (*own, *(part for part in foreign if part not in own))

    def front_end(self) -> FrontEnd:
        """Open the text front end."""
        for name in self.family.text_files:
            if (self.folder / name).is_file():
                self.check_hash(self.folder / name)
        return self.family.front_end(self.folder, self.config)

    def open(self, part: str) -> TensorSource:
        """Open the tensors of a part, which are read one at a time."""
        return self.source.open(part)

    def tensors(self, part: str) -> dict[str, Tensor]:
        """All tensors of a part under our names, in the stored type where published."""
        return dict(self.open(part).stream(dtype=None if self.published else torch.float32))

    def load(self, part: str, dtype: torch.dtype | None = torch.float32) -> nn.Module:
        """Build a part and load its weights, strictly, for inference.

        Args:
            part: its name.
            dtype: type of its floating tensors; `None` keeps the stored one. A foreign part
                computes in its own.
        """
        if part not in self.parts:
            raise CheckpointError(f"model `{self.folder.name}` has no `{part}`")
        if part not in self.source.parts:
            path = self.family.foreign_parts(self.folder)[part]
            self.check_hash(path)
            return self.family.load_foreign(part, path)
        # Tensors made in inference mode stay unfit for training, and parts are kept for later.
        with torch.inference_mode(False):
            module = build_empty(self.family, self.config, part)
            load_module(module, self.open(part), dtype, self.family.gathered)
        return module.eval()

    def check_hash(self, path: Path) -> None:
        """Fail where a file of a converted folder is not the one that was written with it."""
        known = self.source.provenance.get("sha256", {})
        name = path.relative_to(self.folder).as_posix()
        if name in known and sha256_once(path) != known[name]:
            raise CheckpointError(
                f"`{name}` of `{self.folder.name}` is not the file that this model was made with "
                f"(SHA-256 {known[name][:12]}...)",
                "copy it from the teacher again, or convert again",
            )


def with_files(upstream: Upstream, folder: Path, words: Sequence[str]) -> Upstream:
    """A published folder that reads some parts from other files.

    Args:
        upstream: what its family found in it.
        folder: where it is.
        words: each `NAME=FILE`; the file may lie elsewhere.

    Raises:
        UsageError: there is no such part or no such file.
    """
    parts = dict(upstream.parts)
    for word in words:
        name, _, file = word.partition("=")
        if name not in parts or not file:
            raise UsageError(f"`--part {word}`", f"write NAME=FILE; parts: {', '.join(parts)}")
        if not (folder / file).is_file():
            raise UsageError(f"`--part {word}`: there is no file `{folder / file}`")
        parts[name] = folder / file
    return replace(upstream, parts=parts)


class _NoDraws(TorchFunctionMode):
    """Leaves new weights unset: no time is spent on drawing what a file will overwrite.

    Building on `meta` would do so too, but loses computed buffers, and its first random fill
    imports 800 modules.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build_empty(family: Family, config: Any, part: str) -> nn.Module:
    """Build a part whose weights hold nothing yet; `load_module` fills them all."""
    with _NoDraws():
        return family.build_part(config, part)
