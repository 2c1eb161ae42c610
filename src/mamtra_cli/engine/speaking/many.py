"""One model that speaks to many callers at once: a `Studio` over the loop of streams.

Each caller's text is spoken piece by piece; the pieces of all callers share one batch, and the
sound of each leaves while it is made. A text may arrive in parts: its sentences are spoken as they
become complete. Knows no callers, only utterances by number.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.backbone.costs import Precision
from mamtra_cli.engine.decoding.guards import Rejection
from mamtra_cli.engine.decoding.loop import reseeded
from mamtra_cli.engine.decoding.streams import Event, Outcome, Streams
from mamtra_cli.engine.measuring.planner import Footprint
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.hearing import Edges, Hearing
from mamtra_cli.engine.speaking.speech import EDGE_SECONDS, SpeechOptions, rejected, sound
from mamtra_cli.engine.speaking.studio import Order, Spoken
from mamtra_cli.errors import MamtraError, TextError, UsageError
from mamtra_cli.text.arriving import Sentences
from mamtra_cli.text.signs import Sieve
from mamtra_cli.voices.library import library_folder
from mamtra_cli.voices.voice import Manner, Voice, names_in

CHARACTERS_PER_SECOND = 15.0  # of English, where a model cannot say how long a text takes
LONGEST_PIECE = 30.0  # seconds; longer texts are cut
PROMPT = 10.0  # seconds of a voice's clip, where memory is counted
EMPTY = ("the text is empty", "give a sentence to speak")


@dataclass(kw_only=True)
class _Utterance:
    """One caller's speech."""

    id: int
    voice: Voice
    settings: Any
    options: SpeechOptions
    sieve: Sieve
    pieces: deque[tuple[str, list[int]]]
    closed: bool
    sentences: Sentences = field(default_factory=Sentences)
    skipped: list[str] = field(default_factory=list)
    number: int = 0
    attempt: int = 0
    stream: int | None = None
    hearing: Hearing | None = None
    edges: Edges | None = None
    refused: list[Rejection] = field(default_factory=list)
    samples: int = 0


class EngineStudio:
    """See `Studio` and the module docstring.

    Args:
        engine: the model.
        rows: pieces spoken together at most.
        library: folder of the user's voices; `None` for the usual one.
        options: how everything is spoken that an order does not say.

    Raises:
        UsageError: the model has no token loop to share.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        rows: int = 16,
        library: Path | None = None,
        options: SpeechOptions | None = None,
    ) -> None:
        tokens = engine.speaker.tokens
        if tokens is None:
            raise UsageError(
                f"model `{engine.name}` makes no tokens, so callers cannot share its steps",
                "serve a model with a language model, such as `mini`",
            )
        engine.speaker.ready()
        self.engine = engine
        self.library = library_folder(library)
        self.options = options or SpeechOptions()
        self.streams = Streams(tokens, rows=rows, limits=self.options.limits)
        self._voices: dict[str, Voice] = {}
        self._utterances: dict[int, _Utterance] = {}
        self._by_stream: dict[int, _Utterance] = {}
        self._told: list[Spoken] = []
        self._count = 0

    @property
    def name(self) -> str:
        """The model's name."""
        return self.engine.name

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.engine.sample_rate

    @property
    def busy(self) -> bool:
        """Whether `step` would do something."""
        return bool(self._told) or self.streams.busy

    @property
    def running(self) -> int:
        """Pieces under way."""
        return self.streams.running

    @property
    def waiting(self) -> int:
        """Pieces in line."""
        return self.streams.waiting

    def voices(self) -> list[str]:
        """Names of the model's voices and the user's."""
        return list(dict.fromkeys([*self.engine.voices(), *names_in(self.library)]))

    def check(self, order: Order) -> float:
        """Refuse what cannot be spoken; returns the seconds of speech to expect."""
        voice = self._voice(order.voice)
        settings = self.engine.speaker.settings(voice, self._manner(order))
        if order.text is None:
            return 0.0
        speaker, expected = self.engine.speaker, 0.0
        for piece, ids in self._pieces(self._sieve().take(order.text), settings):
            script = speaker.begin(ids, voice, settings)
            known = script.expected
            frames = None if known is None else known / self.engine.facts.frame_rate
            expected += len(piece) / CHARACTERS_PER_SECOND if frames is None else frames
        return expected / order.speed

    def add(self, order: Order) -> int:
        """Put an utterance in line."""
        voice = self._voice(order.voice)
        settings = self.engine.speaker.settings(voice, self._manner(order))
        self._count += 1
        sieve = self._sieve()
        text = None if order.text is None else sieve.take(order.text)
        utterance = _Utterance(
            id=self._count,
            sieve=sieve,
            voice=voice,
            settings=settings,
            options=replace(
                self.options, seed=order.seed, speed=order.speed, volume=order.volume, stream=True
            ),
            pieces=deque(() if text is None else self._pieces(text, settings)),
            closed=order.text is not None,
        )
        self._utterances[utterance.id] = utterance
        self._go_on(utterance)
        return utterance.id

    def hear(self, id: int, text: str) -> None:
        """More text of an utterance has come."""
        utterance = self._utterances.get(id)
        if utterance is not None and not utterance.closed:
            self._take(utterance, utterance.sentences.push(utterance.sieve.take(text)))
            self._go_on(utterance)

    def close(self, id: int) -> None:
        """The text of an utterance has ended."""
        utterance = self._utterances.get(id)
        if utterance is None or utterance.closed:
            return
        self._take(utterance, utterance.sentences.finish())
        utterance.closed = True
        if not utterance.number and utterance.stream is None and not utterance.pieces:
            self._end(utterance, TextError(*EMPTY))
        else:
            self._go_on(utterance)

    def drop(self, id: int) -> None:
        """Forget an utterance and free what it held."""
        utterance = self._utterances.pop(id, None)
        if utterance is not None and utterance.stream is not None:
            self._by_stream.pop(utterance.stream, None)
            self.streams.drop(utterance.stream)

    def step(self) -> list[Spoken]:
        """Draw one frame for everybody, and make the sound that it completes."""
        if self.streams.busy:
            for event in self.streams.step():
                self._heard(event)
        told, self._told = self._told, []
        return told

    def bytes_of(self, seconds: float) -> int:
        """Memory of one more utterance: keys, values and states of its longest piece."""
        return self._footprint(min(seconds, LONGEST_PIECE)).stream

    @property
    def shared_bytes(self) -> int:
        """Memory beside the model that is needed once, whoever speaks: stages take turns."""
        footprint = self._footprint(LONGEST_PIECE)
        return footprint.scratch.get(footprint.stage, 0)

    def _footprint(self, seconds: float) -> Footprint:
        engine = self.engine
        sizing = Sizing(
            name=engine.name,
            family=engine.family,
            config=engine.config,
            precision=Precision.of(engine.compute.torch_dtype.itemsize),
            prompt=PROMPT,
        )
        return sizing.footprint(max(1, round(seconds * engine.facts.frame_rate)))

    def _voice(self, name: str) -> Voice:
        """A voice, read once."""
        known = self._voices.get(name)
        if known is None:
            if name.endswith(".safetensors"):
                raise UsageError("a voice file cannot be named here", "give the name of a voice")
            known = self._voices[name] = self.engine.voice(name, self.library)
        return known

    def _manner(self, order: Order) -> Manner | None:
        if not order.instructions:
            return None
        ids = self.engine.front_end.instruction_ids(order.instructions)
        return Manner(mode="instruct", instruction=tuple(ids))

    def _sieve(self) -> Sieve:
        return Sieve(self.engine.front_end.unreadable)

    def _news(self, utterance: _Utterance) -> tuple[str, ...]:
        """What was left out since it was last told."""
        told, utterance.skipped = utterance.skipped, []
        return (*told, *(f"{sign} ({name})" for sign, name, _ in utterance.sieve.news()))

    def _pieces(self, text: str, settings: Any) -> list[tuple[str, list[int]]]:
        speaker = self.engine.speaker
        pieces = speaker.pieces(text, settings)
        return [(piece, speaker.encode(piece, settings)) for piece in pieces]

    def _take(self, utterance: _Utterance, sentences: list[str]) -> None:
        """Queue sentences; one that cannot be read is told and left out."""
        for sentence in sentences:
            try:
                utterance.pieces.extend(self._pieces(sentence, utterance.settings))
            except TextError as error:
                utterance.skipped.append(error.message)

    def _go_on(self, utterance: _Utterance) -> None:
        """Put the next piece of an utterance into the loop, or end it."""
        if utterance.stream is not None:
            return
        if utterance.pieces:
            self._begin(utterance)
        elif utterance.closed and utterance.id in self._utterances:
            self._end(utterance, None)

    def _begin(self, utterance: _Utterance) -> None:
        """Begin an attempt at the piece that is next."""
        speaker, options = self.engine.speaker, utterance.options
        _, ids = utterance.pieces[0]
        prompt = speaker.sound_prompt(utterance.voice, utterance.settings)
        utterance.hearing = Hearing(
            speaker.codec, prompt, sound(options, utterance.attempt), options.limits
        )
        utterance.edges = Edges(round(EDGE_SECONDS * self.sample_rate))
        script = speaker.begin(ids, utterance.voice, utterance.settings)
        seed = reseeded(options.seed + utterance.number, utterance.attempt)
        utterance.stream = self.streams.add(
            script, options.sampling or self.engine.sampling, seed=seed
        )
        self._by_stream[utterance.stream] = utterance

    def _heard(self, event: Event) -> None:
        utterance = self._by_stream.get(event.id)
        if utterance is None or utterance.hearing is None or utterance.edges is None:
            return
        if utterance.number and not utterance.hearing.heard and not utterance.edges.begun:
            pause = torch.zeros(round(utterance.options.silence * self.sample_rate))
        else:
            pause = torch.zeros(0)
        outcome: Outcome | None = None
        ready = [pause]
        for part in utterance.hearing.take(event):
            if isinstance(part, Outcome):
                outcome = part
            else:
                ready.append(utterance.edges.push(part))
        refused = outcome is not None and outcome.rejection is not None
        if outcome is not None and not refused:
            ready.append(utterance.edges.finish())
        if len(ready) > 1 and not (refused and not utterance.hearing.heard):
            ended = outcome is not None and not refused
            self._say(utterance, torch.cat(ready), utterance.pieces[0][0] if ended else None)
        if outcome is not None or utterance.hearing.over:
            self._by_stream.pop(event.id, None)
            if event.outcome is None:
                self.streams.drop(event.id)
            utterance.stream = None
            self._after(utterance, None if outcome is None else outcome.rejection)

    def _after(self, utterance: _Utterance, refused: Rejection | None) -> None:
        """Go to the next piece, try again, or give up."""
        assert utterance.hearing is not None
        if refused is None:
            utterance.pieces.popleft()
            utterance.number += 1
            utterance.attempt = 0
            utterance.refused.clear()
            self._go_on(utterance)
            return
        utterance.refused.append(refused)
        utterance.attempt += 1
        heard = utterance.hearing.heard
        if heard or utterance.attempt > utterance.options.retries:
            text = utterance.pieces[0][0]
            self._end(utterance, rejected(text, utterance.refused, heard=heard))
        else:
            self._begin(utterance)

    def _say(self, utterance: _Utterance, audio: Tensor, text: str | None) -> None:
        utterance.samples += len(audio)
        skipped = self._news(utterance)
        samples = (audio * utterance.options.volume).clamp(-1, 1).numpy()
        seconds = utterance.samples / self.sample_rate
        self._told.append(
            Spoken(id=utterance.id, audio=samples, text=text, seconds=seconds, skipped=skipped)
        )

    def _end(self, utterance: _Utterance, error: MamtraError | None) -> None:
        self._utterances.pop(utterance.id, None)
        self._told.append(
            Spoken(
                id=utterance.id,
                seconds=utterance.samples / self.sample_rate,
                skipped=self._news(utterance),
                done=True,
                error=error,
            )
        )
