"""What a server needs of an engine that speaks to many at once; types only, no torch.

A studio is driven by one thread: `add` puts an utterance in line, `step` does a little work for
every one under way and says what came of it. Nothing here knows HTTP or models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.errors import MamtraError
from mamtra_cli.recipes.times import TimedWord
from mamtra_cli.text.reading import Reading
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.signs import OnUnreadable

Samples = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Order:
    """One utterance that a caller wants.

    Attributes:
        text: what to say; `None` where it arrives in parts.
        voice: of the model or of the user's library; "" for the first.
        speed: 2 speaks twice as fast.
        seed: of everything random.
        volume: factor on the samples.
        instructions: how to speak, for models that follow them.
        tags: obey the tags of the text.
        lexicon: how some of its words are said.
        on_unreadable: what becomes of signs that cannot be read.
        words: tell when each word is said.
        whole: judge every piece before it is handed out, as a file is made.
    """

    text: str | None
    voice: str = ""
    speed: float = 1.0
    seed: int = 0
    volume: float = 1.0
    instructions: str = ""
    tags: bool = True
    lexicon: Respelling | None = None
    on_unreadable: OnUnreadable = "skip"
    words: bool = False
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What a step did to one utterance.

    Attributes:
        id: of the utterance.
        audio: (S,) float32 samples that follow those before; `None` for none.
        text: the piece that these samples end, if they end one.
        words: of that piece, with their seconds in the whole utterance; none where nobody asked or
            the model cannot tell.
        start: seconds in the whole utterance at which that piece begins, after its pause.
        tokens, attempts, rejected, cut: how that piece was made; see `pieces.PieceReport`.
        seconds: of speech so far.
        skipped: signs that could not be read.
        done: nothing follows.
        error: why it ended early.
    """

    id: int
    audio: Samples | None = None
    text: str | None = None
    words: Sequence[TimedWord] = ()
    start: float = 0.0
    tokens: int = 0
    attempts: int = 0
    rejected: Sequence[str] = ()
    cut: bool = False
    seconds: float = 0.0
    skipped: Sequence[str] = ()
    done: bool = False
    error: MamtraError | None = None


class Studio(Protocol):
    """An engine that speaks to many at once.

    Attributes:
        name: of the model.
        sample_rate: samples a second.
        busy: whether `step` would do something.
        running: utterances under way.
        waiting: utterances in line.
        shared_bytes: memory beside the model that is needed once, however many speak.
    """

    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def busy(self) -> bool: ...

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def shared_bytes(self) -> int: ...

    def voices(self) -> list[str]:
        """Names of all voices."""
        ...

    def check(self, order: Order) -> float:
        """Refuse what cannot be spoken; returns the seconds of speech to expect.

        Raises:
            MamtraError: the voice is not there, the text holds nothing that can be spoken.
        """
        ...

    def read(self, order: Order) -> Reading:
        """What would be said, without saying it.

        Raises:
            MamtraError: as `check`.
        """
        ...

    def add(self, order: Order) -> int:
        """Put an utterance in line; returns its id."""
        ...

    def hear(self, id: int, text: str) -> None:
        """More text of an utterance has come."""
        ...

    def close(self, id: int) -> None:
        """The text of an utterance has ended."""
        ...

    def drop(self, id: int) -> None:
        """Forget an utterance and free what it held."""
        ...

    def step(self) -> list[Spoken]:
        """Do a little work for every utterance that can go on."""
        ...

    def bytes_of(self, seconds: float) -> int:
        """Memory that one more utterance of so many seconds needs."""
        ...
