"""What a family states and what it must bring. Types only.

A family is one object `FAMILY` (see `registry.py`). Nothing here knows any family; the engine
above and the tasks know families only through these types and those beside them: `lessons.py`
(teaching a language model), `measures.py` (telling what a pipeline costs), `folder.py` (a model
folder as its family reads it).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.audio import Samples
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.costs import Head
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.families.speaker import Loaded, Speaker
from mamtra_cli.ops.sampling import Sampling

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mamtra_cli.families.course import Founding, Shortening
    from mamtra_cli.families.lessons import Example, Lessons
    from mamtra_cli.families.measures import Measures, Parts
    from mamtra_cli.tensors import TensorSource
    from mamtra_cli.voices.voice import Voice


class SpeechEncoder(Protocol):
    """Speech to frames and speaker vectors, many clips at a time.

    Attributes:
        rate: samples a second that it hears.
        least: samples of the shortest clip that gives anything.
    """

    @property
    def rate(self) -> int: ...

    @property
    def least(self) -> int: ...

    def encode(
        self, waves: Sequence[Samples]
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32] | None]]:
        """Encode clips (S,) float32: ids of frames, one frame after the other, and speakers.

        What comes of a clip does not depend on its company. A model without a speaker encoder
        gives `None` for speakers.
        """
        ...


@runtime_checkable
class Pronouncing(Protocol):
    """A front end that knows how English words sound."""

    def symbols(self, text: str) -> list[str]:
        """Phones of a text by their CMU names in lower case, with marks between words."""
        ...


@runtime_checkable
class Solving(Protocol):
    """A part with a solver inside, which may compute in a narrower type than the rest."""

    def solve_in(self, dtype: "torch.dtype") -> None:
        """Let the solver's network compute in this type."""
        ...


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a model was taught to read beside a text.

    Attributes:
        clips: the transcript and the frames of a clip, to go on in its voice.
        turns: text and speech in turns.
        instructions: how to speak, in words.
        voices: a speaker vector, where other models show it to their codec alone.
    """

    clips: bool = False
    turns: bool = False
    instructions: bool = False
    voices: bool = False


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
            "speaker_dim": self.speaker_dim if self.learned.voices else 0,
        }


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


class Family(Protocol):
    """Everything peculiar to one kind of model.

    Attributes:
        name: what `config.json` calls it.
        config_class: frozen dataclass of every size.
        text_files: what a text is read with, checked against the hashes of a converted folder.
        gathered: tables of which few rows are ever read; large ones stay in their files.
        sizes: of a new model that `course` begins, by name, the usual one first; none where it
            begins none.
    """

    @property
    def name(self) -> str: ...

    @property
    def config_class(self) -> type[Any]: ...

    @property
    def text_files(self) -> tuple[str, ...]: ...

    @property
    def gathered(self) -> tuple[str, ...]: ...

    @property
    def sizes(self) -> tuple[str, ...]: ...

    def part_names(self, config: Any) -> tuple[str, ...]:
        """Parts that a model of this config has."""
        ...

    def speech_parts(self, config: Any) -> Mapping[str, str]:
        """Parts that a text needs to become sound, by what they are for, in the order of use."""
        ...

    def build_part(self, config: Any, part: str) -> "nn.Module":
        """Make one part with new weights, on the current default device."""
        ...

    def upstream(self, folder: Path, *, configs_only: bool = False) -> Upstream | None:
        """What a published folder holds, or `None` where it is none of this family.

        With `configs_only` the weights may be missing: a dry run has not fetched them.
        """
        ...

    def to_ours(self, part: str, tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Published tensors of a part under our names."""
        ...

    def to_published(self, part: str, tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """The inverse of `to_ours`."""
        ...

    def open_published(self, part: str, path: Path) -> "TensorSource":
        """A published file of a part, read under our names."""
        ...

    def foreign_parts(self, folder: Path) -> Mapping[str, Path]:
        """Files of parts that are not ours to build (ONNX graphs), of those that are there."""
        ...

    def load_foreign(self, part: str, path: Path) -> "nn.Module":
        """Open such a part; it has the calls of our own module of that name."""
        ...

    def facts(self, config: Any) -> Facts:
        """Numbers of a model of this config."""
        ...

    def conversion(self, config: Any) -> Conversion | None:
        """How its layers are exchanged; `None` where there are none to exchange."""
        ...

    def encoder(
        self, config: Any, part: "Parts", there: Collection[str], device: "torch.device"
    ) -> SpeechEncoder | None:
        """What turns speech into frames; `None` where none of the parts that are there does.

        Raises:
            MissingDependencyError: a part needs a package that is not installed.
        """
        ...

    def lessons(self, config: Any, lm: "nn.Module") -> "Lessons | None":
        """A loaded language model as something to be taught; `None` where there is none."""
        ...

    def course(
        self,
        teacher: Loaded,
        speaker: Speaker,
        folder: Path,
        voices: "Sequence[Voice]",
        examples: "Sequence[Example]",
        student: "tuple[Any, Parts] | None",
        size: str,
    ) -> "Founding | None":
        """A student without a language model under a teacher; `None` where there is no such thing.

        Args:
            teacher, speaker, folder, voices: the model to learn from.
            examples: what it says, all that will be learned from.
            student: sizes and parts to go on from; `None` begins anew.
            size: of what begins anew, one of `sizes`; "" for the usual one.

        Raises:
            UsageError: the teacher is none for this family.
        """
        ...

    def shortened(
        self,
        model: Loaded,
        speaker: Speaker,
        voices: "Sequence[Voice]",
        steps: int,
    ) -> "Shortening | None":
        """A solver of so few steps under a model's own; `None` where its codec solves nothing.

        Args:
            model, speaker: what learns from itself.
            voices: that it will speak in.
            steps: that the student will take.

        Raises:
            PlanError: it was shortened already.
            UsageError: it has no voices.
        """
        ...

    def measures(self, config: Any) -> "Measures | None":
        """What can be measured of its whole pipeline; `None` where nothing is known."""
        ...

    def fingerprint(self, folder: Path, config: Any, part: str) -> str:
        """SHA-256 of files of a model folder; "" where they are not there.

        Args:
            folder, config: of the model.
            part: whose files; or what voices and shards are checked by, whatever the parts are
                called: `front_end`, `speech_tokenizer` (clips to frames), `speaker_encoder`.
        """
        ...

    def front_end(self, folder: Path, config: Any) -> FrontEnd:
        """The text front end of a model folder, own or published."""
        ...

    def speaker(self, loaded: Loaded) -> Speaker:
        """A loaded model, ready to speak."""
        ...

    def sampling(self, config: Any) -> Sampling:
        """How the model's authors draw its tokens."""
        ...

    def lesson_sampling(self, config: Any) -> Sampling:
        """How tokens are drawn that another model is to learn from."""
        ...
