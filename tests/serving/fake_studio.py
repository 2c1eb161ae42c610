"""A studio that hums: a tenth of a second a step, one second for ten characters."""

from dataclasses import dataclass

import numpy as np

from mamtra_cli.engine.speaking.studio import Order, Spoken
from mamtra_cli.errors import ModelNotFoundError, TextError
from mamtra_cli.recipes.times import TimedWord
from mamtra_cli.text.reading import Piece, Reading, Word

RATE = 24_000
STEP = RATE // 10


@dataclass
class _Humming:
    order: Order
    text: str
    closed: bool
    made: int = 0


class FakeStudio:
    """See `serving.studio.Studio`; at most four utterances hum together.

    A snowman fails at once, a comet after two steps."""

    name = "fake"
    sample_rate = RATE
    rows = 4

    def __init__(self) -> None:
        self.inside: dict[int, _Humming] = {}
        self.dropped: list[int] = []
        self.most = self.count = 0

    def voices(self) -> list[str]:
        return ["f1", "m1"]

    def check(self, order: Order) -> float:
        if order.voice not in ("", *self.voices()):
            raise ModelNotFoundError(f"model `fake` has no voice `{order.voice}`", "voices: f1, m1")
        if order.text is not None and not order.text.strip():
            raise TextError("the text is empty", "give a sentence to speak")
        return len(order.text or "") / 10

    def read(self, order: Order) -> Reading:
        self.check(order)
        words = tuple(Word(word=word) for word in (order.text or "").split())
        return Reading(pieces=(Piece(text=order.text or "", words=words),))

    def add(self, order: Order) -> int:
        self.count += 1
        self.inside[self.count] = _Humming(order, order.text or "", order.text is not None)
        return self.count

    def hear(self, id: int, text: str) -> None:
        self.inside[id].text += text

    def close(self, id: int) -> None:
        self.inside[id].closed = True

    def drop(self, id: int) -> None:
        self.inside.pop(id, None)
        self.dropped.append(id)

    @property
    def _active(self) -> list[int]:
        ready = [
            id
            for id, humming in self.inside.items()
            if humming.closed or humming.made < len(humming.text)
        ]
        return ready[: self.rows]

    @property
    def busy(self) -> bool:
        return bool(self._active)

    @property
    def running(self) -> int:
        return min(len(self.inside), self.rows)

    @property
    def waiting(self) -> int:
        return max(0, len(self.inside) - self.rows)

    @property
    def shared_bytes(self) -> int:
        return 500

    def bytes_of(self, seconds: float) -> int:
        return round(1000 * seconds)

    def step(self) -> list[Spoken]:
        events = []
        self.most = max(self.most, len(self._active))
        for id in self._active:
            humming = self.inside[id]
            if humming.made >= len(humming.text):
                del self.inside[id]
                words = [TimedWord(word=humming.text, start=0.0, end=humming.made / 10)]
                told = {"text": humming.text, "words": words * humming.order.words}
                facts = {"tokens": 2, "attempts": 1}
                seconds = humming.made / 10
                events.append(Spoken(id=id, seconds=seconds, done=True, **told, **facts))
                continue
            humming.made += 1
            bad = "\u2603" in humming.text or ("\u2604" in humming.text and humming.made > 2)
            error = TextError("no good speech") if bad else None
            angle = np.arange(STEP) * 440 * 2 * np.pi / RATE
            audio = (0.3 * np.sin(angle)).astype(np.float32)
            if error is not None:
                del self.inside[id]
                audio = audio[:0]
            events.append(Spoken(id=id, audio=audio, seconds=humming.made / 10, error=error))
        return events
