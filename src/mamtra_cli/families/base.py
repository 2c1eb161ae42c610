"""What a family states, what it must bring, and a model folder as its family reads it.

A family is one object `FAMILY` (see `registry.py`). Nothing here knows any family; the engine
above and the tasks know families only through these types.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.costs import Head
from mamtra_cli.checkpoint import ModelFolder, sha256
from mamtra_cli.errors import CheckpointError, PlanError
from mamtra_cli.families.lessons import Lessons
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.tensors import TensorSource, load_module

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


class FrontEnd(Protocol):
    """Text to the ids a language model reads."""

    def split(self, text: str, max_ids: int) -> list[str]:
        """Speakable pieces of a text, normalised, each of at most `max_ids` ids.

        Raises:
            TextError: there is nothing to speak, or something that cannot be.
        """
        ...

    def ids(self, text: str) -> list[int]:
        """Ids of one piece. Nothing in the text can act as a control."""
        ...

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of what the recording of a voice says."""
        ...

    def instruction_ids(self, text: str) -> list[int]:
        """Ids of how to speak, in the model's own template; nothing in it can act as a control.

        Raises:
            UsageError: the model was not taught to follow instructions.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a model was taught to read beside a text.

    Attributes:
        clips: the transcript and the frames of a clip, to go on in its voice.
        turns: text and speech in turns.
        instructions: how to speak, in words.
    """

    clips: bool = False
    turns: bool = False
    instructions: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Numbers of one model that do not depend on how it is built.

    Attributes:
        sample_rate: samples a second.
        frame_rate: frames a second.
        codebooks: K, ids of one frame.
        codes: sizes that ids of a frame stay below, those that end the speech not counted.
        text_ids: sizes that text ids stay below.
        speaker_dim: numbers of a speaker vector; 0 where there is none.
        stack: sizes of the layers that may be exchanged; `None` where there are none.
        head: what the language model has beside its stack, for counting.
        learned: what it was taught.
    """

    sample_rate: int
    frame_rate: float
    codebooks: int
    codes: int
    text_ids: int
    speaker_dim: int
    stack: HybridConfig | None = None
    head: Head = field(default_factory=Head)
    learned: Learned = field(default_factory=Learned)

    @property
    def sizes(self) -> dict[str, int]:
        """What readers of data ask of them."""
        return {
            "text_vocab": self.text_ids,
            "speech_vocab": self.codes,
            "codebooks": self.codebooks,
        }


@dataclass(frozen=True, kw_only=True)
class AttentionSite:
    """One attention layer that may be replaced, by the names of its tensors.

    Attributes:
        layer: index in the stack.
        prefix: of everything in the layer, with a final dot.
        q, k, v, o: stems of the projections (`.weight`, and `.bias` where there is one).
        mixer: stem of whatever takes its place.
    """

    layer: int
    prefix: str
    q: str
    k: str
    v: str
    o: str
    mixer: str


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A folder as the authors of a model publish it.

    Attributes:
        config: the family's config, read from the published files.
        parts: published file of each part.
        companions: other files that a converted model needs, by the name they have there.
    """

    config: Any
    parts: Mapping[str, Path]
    companions: Mapping[str, Path] = field(default_factory=dict)


class Conversion(Protocol):
    """How layers of a model's language model are exchanged.

    Projections that are published as one matrix are split where they are read (`to_ours`), so a
    stack always has the names of `backbone.hybrid`, and nothing that converts knows another.
    """

    @property
    def part(self) -> str:
        """The part that holds the layers."""
        ...

    def with_mixers(self, config: Any, kinds: str, mixer: Mapping[str, Any]) -> Any:
        """The config with other layer kinds and mixer options."""
        ...

    def names(self, layer: int) -> AttentionSite:
        """Names of a layer's tensors in the part."""
        ...


class Family(Protocol):
    """Everything peculiar to one kind of model.

    Attributes:
        name: what `config.json` calls it.
        config_class: frozen dataclass of every size.
        speech_parts: what a text needs to become sound, in the order of use.
        text_files: what a text is read with, checked against the hashes of a converted folder.
        gathered: tables of which few rows are ever read; large ones stay in their files.
    """

    @property
    def name(self) -> str: ...

    @property
    def config_class(self) -> type[Any]: ...

    @property
    def speech_parts(self) -> tuple[str, ...]: ...

    @property
    def text_files(self) -> tuple[str, ...]: ...

    @property
    def gathered(self) -> tuple[str, ...]: ...

    def part_names(self, config: Any) -> tuple[str, ...]:
        """Parts that a model of this config has."""
        ...

    def build_part(self, config: Any, part: str) -> nn.Module:
        """Make one part with new weights, on the current default device."""
        ...

    def upstream(self, folder: Path, *, configs_only: bool = False) -> Upstream | None:
        """What a published folder holds, or `None` where it is none of this family.

        With `configs_only` the weights may be missing: a dry run has not fetched them.
        """
        ...

    def to_ours(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors of a part under our names."""
        ...

    def to_published(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `to_ours`."""
        ...

    def open_published(self, part: str, path: Path) -> TensorSource:
        """A published file of a part, read under our names."""
        ...

    def foreign_parts(self, folder: Path) -> Mapping[str, Path]:
        """Files of parts that are not ours to build (ONNX graphs), of those that are there."""
        ...

    def load_foreign(self, part: str, path: Path) -> nn.Module:
        """Open such a part; it has the calls of our own module of that name."""
        ...

    def facts(self, config: Any) -> Facts:
        """Numbers of a model of this config."""
        ...

    def conversion(self, config: Any) -> Conversion | None:
        """How its layers are exchanged; `None` where there are none to exchange."""
        ...

    def lessons(self, config: Any, lm: nn.Module) -> Lessons | None:
        """A loaded language model as something to be taught; `None` where there is none."""
        ...

    def fingerprint(self, folder: Path, config: Any, part: str) -> str:
        """SHA-256 of the files behind a part or the `front_end`; "" where they are not there."""
        ...

    def front_end(self, folder: Path, config: Any) -> FrontEnd:
        """The text front end of a model folder, own or published."""
        ...

    def sampling(self, config: Any) -> Sampling:
        """How the model's authors draw its tokens."""
        ...

    def lesson_sampling(self, config: Any) -> Sampling:
        """How tokens are drawn that another model is to learn from."""
        ...


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model folder and the family that reads it; nothing is loaded yet.

    Attributes:
        source: the folder in our format, or what the family found in a published one.
    """

    family: Family
    folder: Path
    config: Any
    source: ModelFolder | Upstream

    @property
    def published(self) -> bool:
        """Whether the folder is in its authors' format."""
        return isinstance(self.source, Upstream)

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
        if isinstance(self.source, Upstream):
            return self.family.open_published(part, self.source.parts[part])
        return self.source.part(part)

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
        if not isinstance(self.source, ModelFolder):
            return
        known = self.source.provenance.get("sha256", {})
        name = path.relative_to(self.folder).as_posix()
        if name in known and sha256(path) != known[name]:
            raise CheckpointError(
                f"`{name}` of `{self.folder.name}` is not the file that this model was made with "
                f"(SHA-256 {known[name][:12]}...)",
                "copy it from the teacher again, or convert again",
            )


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
