"""Texts to rows that a model speaks itself: sequence-level distillation without recordings.

What a teacher says follows its own distribution and has no end. A text is spoken piece by piece;
each piece draws from a seed of its own, made of the run's seed and its words, so rows do not
depend on how texts are cut into jobs or in which order they come. Only the language model runs.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mamtra_cli.engine import seeds
from mamtra_cli.engine.corpora.clip import Bad, find_text, is_whole, writable
from mamtra_cli.engine.corpora.jsonl import records
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing.prepared import Known, Ledger
from mamtra_cli.engine.preparing.shard_writer import Row
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Piece
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.errors import DataError, TextError
from mamtra_cli.families.base import Facts
from mamtra_cli.families.script import Frame
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.text.encoding import read_text as read_file
from mamtra_cli.text.sentences import closed

ROWS = 32  # pieces spoken together
CHUNK = 4 * ROWS  # pieces sorted by length
LEAST = 8  # texts looked at together at least
GUESS = 60.0  # tokens of a text, before any is spoken
BLOCK = 1024  # built-in sentences drawn from one seed
BUILT_IN = "built-in"
SEED_BITS = 62


@dataclass(frozen=True, kw_only=True)
class Text:
    """Something to speak."""

    id: str
    text: str
    source: str


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A text that is spoken at once."""

    row: Row
    seed: int


@dataclass(frozen=True, kw_only=True)
class Said:
    """What became of a text: pieces that were not spoken now, and those that were."""

    at_once: list[Bad | Known] = field(default_factory=list)
    spoken: list[Row | Bad] = field(default_factory=list)


class SpokenRows:
    """Turns texts into rows.

    Args:
        engine: the speaker.
        sampling: how its tokens are chosen.
        seed: of the run.
        retries: new attempts where a guard refuses.
        ledger: of the rows that are there.
        refused: hashes by id of what was refused before, which would be refused again.
        stopped: asked between chunks; true ends after the one at hand.
    """

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        *,
        seed: int,
        retries: int,
        ledger: Ledger,
        refused: dict[str, str] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.engine = engine
        self.sampling = sampling
        self.seed = seed
        self.retries = retries
        self.ledger = ledger
        self.refused = refused or {}
        self.stopped = stopped
        speaker = engine.fingerprint(engine.lm_part)
        made = {"seed": seed, "retries": retries, "lm": speaker, **asdict(sampling)}
        self._made = json.dumps(made, sort_keys=True)

    def rows(
        self, texts: Iterator[Text | Bad], tokens: float = float("inf")
    ) -> Iterator[Row | Bad | Known]:
        """Yield a row, a bad entry or a row that is there already for each piece.

        Args:
            texts: what to speak, all different.
            tokens: end when about so many speech tokens are there.
        """
        return until(
            lambda count: self.say(list(itertools.islice(texts, count))),
            tokens,
            self.engine.facts,
            self.stopped,
        )

    def say(self, entries: Sequence[Text | Bad]) -> list[Said]:
        """Speak entries in one batch; what became of each, in their order."""
        said = [Said() for _ in entries]
        chunk: list[tuple[int, _Piece]] = []
        for number, entry in enumerate(entries):
            for made in self._pieces(entry):
                if isinstance(made, _Piece):
                    chunk.append((number, made))
                else:
                    said[number].at_once.append(made)
        for index, outcome in self._speak([piece for _, piece in chunk]):
            said[chunk[index][0]].spoken.append(outcome)
        return said

    def _pieces(self, entry: Text | Bad) -> Iterator[_Piece | Bad | Known]:
        if isinstance(entry, Bad):
            yield entry
            return

        def bad(id: str, code: str, cause: str, sha256: str = "") -> Bad:
            return Bad(id=id, source=entry.source, code=code, cause=cause, sha256=sha256)

        if not is_whole(entry.text):
            yield bad(entry.id, "unspeakable", "the text holds half a character")
            return
        try:
            pieces = self.engine.speaker.pieces(entry.text)
            encoded = [self.engine.speaker.encode(piece) for piece in pieces]
        except TextError as error:
            yield bad(entry.id, "unspeakable", error.message)
            return
        for number, (piece, ids) in enumerate(zip(pieces, encoded, strict=True)):
            id = entry.id if len(pieces) == 1 else f"{entry.id}.{number}"
            digest = hashlib.sha256(f"{self._made}\0{piece}".encode()).hexdigest()
            known = self.ledger.find(id, digest)
            if known is not None:
                self.ledger.overtake(id, entry.source, digest)
                yield known
            elif self.refused.get(id) == digest:
                yield bad(id, "refused", "refused before, by the same seeds", digest)
            elif not ids:
                yield bad(id, "unspeakable", "nothing in the text can be spoken")
            else:
                row = Row(
                    id=id,
                    text=piece,
                    text_ids=ids,
                    speech_tokens=(),
                    speaker=None,
                    seconds=0.0,
                    source=entry.source,
                    sha256=digest,
                )
                seed = int(digest[:16], 16) >> (64 - SEED_BITS)
                yield _Piece(row=row, seed=seed)

    def _speak(self, chunk: Sequence[_Piece]) -> list[tuple[int, Row | Bad]]:
        """Speak pieces; rows come in their order, with their place."""
        utterances = Utterances(self.engine, rows=ROWS)
        places: dict[int, int] = {}
        for place, piece in enumerate(chunk):
            options = SpeechOptions(
                sampling=self.sampling, seed=piece.seed, retries=self.retries, mute=True
            )
            said = Piece(ids=piece.row.text_ids)
            places[utterances.say(options, [said])] = place
        done: dict[int, Row | Bad] = {}
        while utterances.busy and not (done and self.stopped()):
            for news in utterances.step():
                row = chunk[places[news.id]].row
                if news.chunk is not None:
                    done[places[news.id]] = self._spoken(row, news.chunk.frames)
                elif news.done and news.refused is not None:
                    done[places[news.id]] = Bad(
                        id=row.id,
                        source=row.source,
                        code="refused",
                        cause=f"a guard refused every attempt: {news.refused[1].detail}",
                        sha256=row.sha256,
                    )
                elif news.error is not None:
                    raise news.error
        return sorted(done.items())

    def _spoken(self, row: Row, frames: Sequence[Frame]) -> Row:
        """A row with what was said."""
        tokens = tuple(token for frame in frames for token in frame)
        return replace(
            row, speech_tokens=tokens, seconds=len(frames) / self.engine.facts.frame_rate
        )


def until(
    take: Callable[[int], list[Said]],
    tokens: float,
    facts: Facts,
    stopped: Callable[[], bool],
) -> Iterator[Row | Bad | Known]:
    """Yield what became of texts until about so many speech tokens are there.

    Args:
        take: speaks the next so many texts, fewer only where there are no more.
        tokens: the goal.
        facts: of the model that speaks.
        stopped: asked between chunks.
    """
    said = taken = 0
    while said < tokens and not stopped():
        # A text's tokens are guessed from those so far: the same again when run again.
        mean = said / taken if said else GUESS
        heard = take(max(math.ceil(min((tokens - said) / mean, CHUNK)), LEAST))
        if not heard:
            return
        taken += len(heard)
        for outcome in [
            *(one for text in heard for one in text.at_once),
            *(one for text in heard for one in text.spoken),
        ]:
            if isinstance(outcome, Known):
                said += round(outcome.seconds * facts.frame_rate)
            elif isinstance(outcome, Row):
                said += len(outcome.speech_tokens) // facts.codebooks
            yield outcome


def read_texts(path: Path, text_key: str = "") -> Iterator[Text | Bad]:
    """Yield the texts of a file: one a line, or JSONL with `text` and, if wanted, `id`.

    Raises:
        DataError: the file cannot be read.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        for number, record in records(path):
            where = f"{path.name}:{number}"
            text = None if isinstance(record, Bad) else find_text(record, text_key)
            if isinstance(record, Bad):
                yield record
            elif text is None:
                cause = f"the line has no `{text_key or 'text'}`"
                yield Bad(id=where, source=path.name, code="entry", cause=cause)
            else:
                id = record.get("id")
                name = writable(str(id)) if isinstance(id, str | int) else _name(path, text)
                yield Text(id=name, text=text, source=writable(path.name))
        return
    lines = read_file(path, absent=DataError, foreign=DataError).split("\n")
    for line in filter(None, map(str.strip, lines)):
        yield Text(id=_name(path, line), text=line, source=writable(path.name))


def _name(path: Path, text: str) -> str:
    """Name a text by its words: lines put before it change nothing."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{writable(path.name.partition('.')[0])}-{digest[:12]}"


def built_in(seed: int) -> Iterator[Text]:
    """Yield built-in sentences without end, none twice, none of those mini learned from."""
    said: set[str] = set()
    for block in itertools.count():
        for number, text in enumerate(closed(seeds.LESSONS + (seed << 32) + block, BLOCK)):
            if text not in said:
                said.add(text)
                yield Text(id=f"s{seed}-{block * BLOCK + number}", text=text, source=BUILT_IN)
