"""What `Utterances` holds of each utterance, and of each piece of it that is being spoken."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mamtra_cli.engine.decoding.guards import Rejection
from mamtra_cli.engine.decoding.streams import Outcome
from mamtra_cli.engine.speaking.attempts import Sound
from mamtra_cli.engine.speaking.hearing import Edges
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk, Heard, Piece
from mamtra_cli.voices.voice import Voice


@dataclass(kw_only=True)
class Work:
    """A piece under way."""

    utterance: "Utterance"
    piece: Piece
    number: int
    voice: Voice | None  # for the language model: the piece's own, or what the one before left
    settings: Any
    refused: list[Rejection] = field(default_factory=list)
    stream: int | None = None
    sound: Sound = field(init=False)
    edges: Edges = field(init=False)
    samples: int = 0
    ready: list[Chunk] = field(default_factory=list)
    good: bool = False
    spare: "Spare | None" = None


@dataclass(frozen=True, kw_only=True)
class Spare:
    """An attempt that was not understood, kept in case no other is better."""

    audio: Any
    outcome: Outcome
    heard: Heard


@dataclass(kw_only=True)
class Utterance:
    """Pieces that were not begun, and those whose sound has not all left, in order."""

    id: int
    options: SpeechOptions
    together: bool
    closed: bool = False
    tail: float = 0.0
    line: deque[Piece] = field(default_factory=deque)
    begun: int = 0
    said: tuple[Piece, Sequence[Any]] | None = None  # the last piece and its frames
    works: deque[Work] = field(default_factory=deque)
