"""Clips with texts to rows of prepared data.

Each clip is hashed, looked up, read, judged and, with others of its length, tokenised. What
cannot be used comes out as a `Bad` entry; nothing is dropped. Memory is bounded by `POOL` seconds
of sound. Knows clips and models; nothing of where rows go.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mamtra_cli.audio import Samples
from mamtra_cli.engine.corpora.clip import Bad, Clip, TooLongError, is_whole
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing.prepared import Known, Ledger
from mamtra_cli.engine.preparing.shard_writer import Row
from mamtra_cli.errors import AudioError, CheckpointError, TextError
from mamtra_cli.families.base import SpeechEncoder

POOL = 600.0  # seconds of sound held at once: 40 MB
SILENT = 1e-4  # of full scale, below which nothing is heard


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds that a clip may take."""

    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A clip that only lacks its tokens."""

    row: Row
    wave: Samples


class AudioRows:
    """Turns entries of a corpus into rows.

    Args:
        engine: the model whose tokens and ids to write.
        corpus: name that sources start with.
        ledger: of the rows that are there.
        limits: of a clip.
        stopped: asked between clips; true ends after those at hand.
    """

    def __init__(
        self,
        engine: Engine,
        corpus: str,
        ledger: Ledger,
        limits: Limits,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.engine = engine
        self.encoder = open_encoder(engine)
        self.corpus = corpus
        self.ledger = ledger
        self.limits = limits
        self.stopped = stopped

    def rows(self, entries: Iterable[Clip | Bad]) -> Iterator[Row | Bad | Known]:
        """Yield a row, a bad entry or a row that is there already for each entry, all different."""
        pool: list[_Ready] = []
        held = 0.0
        for entry in entries:
            if self.stopped():
                break
            made = self._judge(entry)
            if not isinstance(made, _Ready):
                yield made
                continue
            pool.append(made)
            held += made.row.seconds
            if held >= POOL:
                yield from self._encode(pool)
                pool, held = [], 0.0
        if pool:
            yield from self._encode(pool)

    def _judge(self, entry: Clip | Bad) -> _Ready | Bad | Known:
        source = f"{self.corpus}/{entry.source}"
        if isinstance(entry, Bad):
            return Bad(id=entry.id, source=source, code=entry.code, cause=entry.cause)

        def bad(code: str, cause: str, sha256: str = "") -> Bad:
            return Bad(id=entry.id, source=source, code=code, cause=cause, sha256=sha256)

        text = entry.text.strip()
        if not text:
            return bad("no_text", "the text is empty")
        if not is_whole(text):
            return bad("unspeakable", "the text holds half a character")
        try:
            digest = entry.sha256()
            known = self.ledger.find(entry.id, digest)
            if known is not None and self.limits.least <= known.seconds <= self.limits.most:
                self.ledger.overtake(entry.id, source, digest)
                return known
            ids = self.engine.front_end.prompt_ids(text)
            if not ids:
                return bad("unspeakable", "nothing in the text can be spoken", digest)
            wave = entry.load(self.encoder.rate, self.limits.most)
        except TextError as error:
            return bad("unspeakable", error.message, digest)
        except TooLongError as error:
            cause = f"{error.message}, more than {self.limits.most:g} s"
            return bad("too_long", cause, digest)
        except AudioError as error:
            return bad("unreadable", error.message)
        seconds = len(wave) / self.encoder.rate
        if seconds < self.limits.least or len(wave) < self.encoder.least:
            cause = f"it takes {seconds:.2f} s, less than {self.limits.least:g} s"
            return bad("too_short", cause, digest)
        if float(np.abs(wave).max()) < SILENT:
            return bad("silent", "nothing is heard in it", digest)
        row = Row(
            id=entry.id,
            text=text,
            text_ids=ids,
            speech_tokens=(),
            speaker=None,
            seconds=seconds,
            source=source,
            sha256=digest,
        )
        return _Ready(row=row, wave=wave)

    def _encode(self, pool: list[_Ready]) -> Iterator[Row]:
        """Tokenise the clips at hand; rows come in their order."""
        found = self.encoder.encode([ready.wave for ready in pool])
        for ready, (tokens, speaker) in zip(pool, found, strict=True):
            fields = {**vars(ready.row), "speech_tokens": tokens, "speaker": speaker}
            yield Row(**fields)


def open_encoder(engine: Engine) -> SpeechEncoder:
    """What turns speech into a model's frames.

    Raises:
        CheckpointError: the model has nothing that does.
        MissingDependencyError: it is an ONNX graph, and onnxruntime is not installed.
    """
    there = () if engine.model is None else engine.model.parts
    found = engine.family.encoder(engine.config, engine.part, there, engine.device)
    if found is None:
        raise CheckpointError(
            f"model `{engine.name}` has no speech tokenizer",
            "name a model that has one, or let it speak instead, `--synthetic`",
        )
    return found
