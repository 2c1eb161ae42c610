"""The toy speaks: a script, a token model that forgets nothing, tones for sound.

The token model reads the whole text and every frame again at each step: the slow and obvious way.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from tests.families.toy.lm import ToyLM
from torch import Tensor

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.errors import UsageError
from mamtra_cli.families.script import Frame
from mamtra_cli.voices.voice import Manner

FRAME_RATE, SAMPLE_RATE = 12.5, 8_000


@dataclass(frozen=True, kw_only=True)
class ToyScript:
    """See `families.script.Script`: frames until any id is the end, or there are `most`."""

    reads: tuple[int, ...] | None
    end: int
    codebooks: int
    least: int
    most: int
    frames: tuple[Frame, ...] = ()
    ended: bool = False
    capped: bool = False
    waiting: bool = False
    expected: float | None = None
    due: Frame | None = None
    heard: tuple[Frame, ...] = ()

    @property
    def column(self) -> Frame:
        """The frame said last."""
        return self.frames[-1]

    @property
    def history(self) -> Sequence[Frame]:
        """All that was said."""
        return self.frames

    @property
    def barred(self) -> Sequence[tuple[int, int]]:
        """The end, while it is too early for it."""
        early = len(self.frames) < self.least
        return tuple((k, self.end) for k in range(self.codebooks)) if early else ()

    def accept(self, frame: Frame) -> Self:
        """Take a frame, or the end."""
        if self.end in frame:
            return replace(self, reads=None, ended=True)
        frames = (*self.frames, frame)
        over = len(frames) >= self.most
        return replace(self, reads=None, frames=frames, ended=over, capped=over)

    def hear(self, ids: Sequence[int]) -> Self:
        """No text may come."""
        raise ValueError(f"{len(ids)} more ids for a text that was whole")

    def close(self) -> Self:
        """The text has ended already."""
        return self


Rows = dict[int, tuple[tuple[int, ...], tuple[Frame, ...]]]


class ToyTokens:
    """See `families.script.TokenModel`: rows are what each slot has read so far."""

    frame_rate = FRAME_RATE

    def __init__(self, lm: ToyLM) -> None:
        self.lm = lm
        self.codebooks = lm.config.codebooks

    def read(
        self, reads: Sequence[Any], rows: Rows | None, at: Sequence[int], held: Sequence[Any]
    ) -> tuple[Tensor, Rows]:
        """Read texts."""
        rows = dict(rows or {})
        for text, slot, before in zip(reads, at, held, strict=True):
            rows[slot] = before or (tuple(text), ())
        return torch.stack([self._scores(*rows[slot]) for slot in at]), rows

    def step(self, columns: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
        """Read a frame a row."""
        scores = torch.zeros(len(columns), self.codebooks, self.lm.config.codes + 1)
        rows = {slot: (t, (*f, tuple(columns[slot].tolist()))) for slot, (t, f) in rows.items()}
        for slot, row in rows.items():
            scores[slot] = self._scores(*row)
        return scores, rows

    def park(self, rows: Rows, slot: int) -> tuple[Rows, Any]:
        """Take a row out."""
        return self.leave(rows, [slot]), rows[slot]

    def leave(self, rows: Rows, slots: Sequence[int]) -> Rows:
        """Free slots."""
        return {slot: row for slot, row in rows.items() if slot not in slots}

    def compact(self, rows: Rows) -> tuple[Rows, Mapping[int, int]]:
        """Number the slots anew."""
        moves = {old: new for new, old in enumerate(sorted(rows))}
        return {moves[old]: row for old, row in rows.items()}, moves

    @torch.no_grad()
    def _scores(self, text: Sequence[int], frames: Sequence[Frame]) -> Tensor:
        """(K, V) log-probabilities after a text and frames."""
        none = [[-1] * self.codebooks] * len(text)
        letters = torch.tensor([[*text, *[-1] * len(frames)]])
        x = self.lm.embed(letters, torch.tensor([[*none, *map(list, frames)]]))
        hidden = self.lm.stack(x, keep_state=False).hidden[0, -1]
        return self.lm.heads(hidden).float().log_softmax(-1)


class Tones:
    """See `codecs.base.Codec`: a sum of tones a frame, one for each of its ids."""

    sample_rate, frame_rate = SAMPLE_RATE, FRAME_RATE

    def start(self, voice: Any, options: SoundOptions) -> int:
        """The sample that comes next."""
        if options.speed != 1 or options.steps is not None:
            raise UsageError("tones have no speed and no steps")
        return 0

    def push(self, state: int, frames: Sequence[Frame]) -> tuple[int, Tensor]:
        """Sound of every frame at once."""
        size = round(SAMPLE_RATE / FRAME_RATE)
        made = []
        for frame in frames:
            time = torch.arange(state, state + size) / SAMPLE_RATE
            pitches = [200 * (k + 1) + 20 * id for k, id in enumerate(frame)]
            waves = [torch.sin(2 * math.pi * pitch * time) for pitch in pitches]
            made.append(0.2 * torch.stack(waves).mean(0))
            state += size
        return state, torch.cat(made) if made else torch.zeros(0)

    def finish(self, state: int) -> Tensor:
        """Nothing is held back."""
        return torch.zeros(0)

    def whole(self, frames: Sequence[Frame], voice: Any, options: SoundOptions) -> Tensor:
        """The same in one go."""
        return self.push(self.start(voice, options), frames)[1]


class ToySpeaker:
    """See `families.base.Speaker`."""

    codec = Tones()

    def __init__(self, parts: Any) -> None:
        self.parts = parts

    @property
    def tokens(self) -> ToyTokens:
        """Its language model."""
        return ToyTokens(self.parts.part("lm"))

    plain_tokens = tokens.fget

    def ready(self) -> None:
        """Load it."""
        self.parts.part("lm")

    def pieces(self, text: str, settings: Any = None) -> list[str]:
        """Sentences."""
        return self.parts.front_end.split(text, 80)

    def encode(self, piece: str, settings: Any = None) -> list[int]:
        """Letters."""
        return self.parts.front_end.ids(piece)

    def settings(self, voice: Any, asked: Manner | None = None) -> Manner:
        """There is one way to speak."""
        return replace(asked or Manner(), mode="speaker")

    def begin(
        self,
        ids: Sequence[int],
        voice: Any = None,
        settings: Any = None,
        *,
        most: int | None = None,
    ) -> ToyScript:
        """Half a frame a letter at least, two at most."""
        config, longest = self.parts.config, 2 * len(ids)
        return ToyScript(
            reads=tuple(ids),
            end=config.codes,
            codebooks=config.codebooks,
            least=len(ids) // 2,
            most=longest if most is None else min(longest, most),
        )

    def after(self, ids: Sequence[int], frames: Sequence[Any], voice: Any, settings: Any) -> None:
        """It forgets what it said."""

    def counts(self, ids: Sequence[int], frames: Sequence[Any], voice: Any, settings: Any) -> None:
        """Nothing was taught to say which id is being spoken."""

    def sound_prompt(self, voice: Any, settings: Any = None) -> None:
        """Tones have no voice."""

    def default_voice(self) -> None:
        """A voice is named, or the model has one."""

    def fits(self, voice: Any) -> None:
        """Any voice will do."""
