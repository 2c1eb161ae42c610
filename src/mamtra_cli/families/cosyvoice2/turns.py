"""Speaking while the text still arrives: which ids the model reads next, as a value.

`TextStream` is a state machine over ids; it holds no tensor and draws nothing. Text enters in
chunks of 5, each followed by up to 15 speech tokens and the fill id; when the text has ended the
task id starts free running (FunAudioLLM/CosyVoice, cosyvoice/llm/llm.py, inference_bistream).
In the aligned mode the task id opens every turn, as in training.

Where this differs on purpose, unless `compat`: what made the model ask for text is not read
twice, a prompt whose text was too short keeps the rest of its speech, and the ids that mean
nothing while text is awaited are masked. Text that arrives in larger pieces is used as soon as a
chunk of it is complete.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.sequences import (
    SOS,
    SOS_POSITION,
    SPECIAL,
    SPEECH,
    TASK,
    TEXT,
    Row,
    is_aligned,
    text_positions,
    to_sequence,
)
from mamtra_cli.layers.state import HybridState

Choose = Callable[[Tensor, Sequence[int]], int]
"""From (V,) float32 log-probabilities and the ids chosen so far to the next id."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """One position to read: row `id` of table `table`, at `position` where aligned."""

    table: int
    id: int
    position: float


START = Read(table=SPECIAL, id=SOS, position=SOS_POSITION)


@dataclass(frozen=True, kw_only=True)
class TextStream:
    """The state between two reads.

    Attributes:
        config: chunk sizes, ids and the kind of positions.
        compat: exactly the published order of reads; see the module docstring.
        text: text ids with their positions, not queued yet.
        text_end: where the text so far ends on the speech axis.
        prompt: prompt speech not queued yet.
        queue: what the model reads when it runs next.
        runnable: whether it is in a turn; else text must arrive (or all is finished).
        heard: what the model read last.
        spoken: speech tokens queued so far, prompt included.
        out: ids chosen so far, fill ids included.
        next_fill: length of `out` at which a fill id is due.
        closed: whether the text has ended.
        free: whether the task id of free running has been queued.
        finished: whether the speech has ended.
    """

    config: LMConfig
    compat: bool = False
    text: tuple[Read, ...] = ()
    text_end: float = 0.0
    prompt: tuple[int, ...] = ()
    queue: tuple[Read, ...] = (START,)
    runnable: bool = False
    heard: tuple[Read, ...] = ()
    spoken: int = 0
    out: tuple[int, ...] = ()
    next_fill: int = 0
    closed: bool = False
    free: bool = False
    finished: bool = False

    @classmethod
    def begin(
        cls,
        config: LMConfig,
        prompt_text: Sequence[int] = (),
        prompt_speech: Sequence[int] = (),
        *,
        compat: bool = False,
    ) -> "TextStream":
        """The state before any text has arrived."""
        turn, length = config.speech_chunk, len(prompt_speech)
        total = float(length) if length else None
        positions, end = text_positions(config, prompt_text, total=total)
        return cls(
            config=config,
            compat=compat,
            text=_text_reads(prompt_text, positions),
            text_end=end if total is None else total,
            prompt=tuple(prompt_speech),
            next_fill=(length // turn + 1) * turn - length,
        )

    @property
    def due(self) -> int | None:
        """The id that must come next whatever the model scores, if any."""
        if not self.free and len(self.out) == self.next_fill:
            return self.config.fill_id
        return None

    @property
    def masked(self) -> tuple[int, ...]:
        """Ids that may not be chosen now."""
        if self.free:
            return ()
        eos, unused, _ = self.config.stop_ids
        return (eos,) if self.compat else (eos, unused)

    def push(self, ids: Iterable[int]) -> "TextStream":
        """More text has arrived."""
        if self.closed:
            raise ValueError("text arrived after its end")
        ids = list(ids)
        positions, end = text_positions(self.config, ids, self.text_end)
        text = self.text + _text_reads(ids, positions)
        return replace(self, text=text, text_end=end)._advanced()

    def close(self) -> "TextStream":
        """The text has ended."""
        return replace(self, closed=True)._advanced()

    def take(self) -> tuple[tuple[Read, ...], "TextStream"]:
        """What the model must read now, and the state that then accepts the next id."""
        if not (self.runnable and self.queue):
            raise ValueError("nothing to read: the stream waits for text or for an id")
        return self.queue, replace(self, queue=(), heard=self.queue)

    def accept(self, token: int) -> "TextStream":
        """The id chosen after the last read."""
        if (
            self.queue
            or not self.runnable
            or not 0 <= token < self.config.head_size
            or token in self.masked
        ):
            raise ValueError(f"id {token} cannot be accepted now")
        stream = replace(self, out=(*self.out, token))
        if not self.free and token == self.config.fill_id:
            due = len(self.out) + self.config.speech_chunk + 1
            return replace(stream, next_fill=due, runnable=False)._advanced()
        if token in self.config.stop_ids:
            return replace(stream, finished=True, runnable=False)
        return stream._said((token,), runnable=True)

    def _said(self, tokens: Sequence[int], *, runnable: bool) -> "TextStream":
        reads = tuple(
            Read(table=SPEECH, id=token, position=float(self.spoken + 1 + index))
            for index, token in enumerate(tokens)
        )
        return replace(
            self,
            queue=self.queue + reads,
            spoken=self.spoken + len(reads),
            runnable=runnable,
        )

    @property
    def _task(self) -> Read:
        return Read(table=SPECIAL, id=TASK, position=float(self.spoken))

    def _chunk(self) -> "TextStream":
        size = self.config.text_chunk
        task = (self._task,) if is_aligned(self.config) else ()
        return replace(self, text=self.text[size:], queue=self.queue + self.text[:size] + task)

    def _advanced(self) -> "TextStream":
        """Queue what the text at hand allows, unless the model is in the middle of a turn."""
        stream = self
        if stream.runnable or stream.free:
            return stream
        size, turn = stream.config.text_chunk, stream.config.speech_chunk
        while stream.prompt and len(stream.text) >= size:
            heard = stream.prompt[:turn]
            stream = replace(stream._chunk(), prompt=stream.prompt[turn:])
            stream = stream._said(heard, runnable=False)
        if not stream.prompt:
            if not stream.out and stream.queue != (START,):
                return replace(stream, runnable=True)
            if len(stream.text) >= size:
                return replace(stream._chunk(), runnable=True)
        return stream._freed() if stream.closed else stream

    def _freed(self) -> "TextStream":
        again = self.heard if self.compat and self.out else ()
        queue = (*again, *self.queue, *self.text, self._task)
        stream = replace(self, queue=queue, text=(), prompt=(), free=True)
        return stream._said(() if self.compat else self.prompt, runnable=True)


def _text_reads(ids: Sequence[int], positions: Sequence[float]) -> tuple[Read, ...]:
    return tuple(
        Read(table=TEXT, id=index, position=position)
        for index, position in zip(ids, positions, strict=True)
    )


def stream_tokens(
    lm: SpeechLM, stream: TextStream, arriving: Iterable[Sequence[int]], choose: Choose
) -> Iterator[int]:
    """Speak text as it arrives; B = 1. There is no length limit: stop asking to stop.

    Args:
        lm: the model.
        stream: `TextStream.begin(...)`.
        arriving: pieces of text ids.
        choose: picks an id; excluded ids score minus infinity.

    Yields:
        Speech tokens.
    """
    state: HybridState | None = None
    for ids in arriving:
        stream, state = yield from _run(lm, stream.push(ids), state, choose)
    yield from _run(lm, stream.close(), state, choose)


def _run(
    lm: SpeechLM, stream: TextStream, state: HybridState | None, choose: Choose
) -> Generator[int, None, tuple[TextStream, HybridState | None]]:
    while stream.runnable:
        reads, stream = stream.take()
        scores, state = _read(lm, reads, state)
        token = stream.due
        if token is None:
            scores[:, list(stream.masked)] = -torch.inf
            token = choose(scores[0], stream.out)
        stream = stream.accept(token)
        if token < lm.config.speech_vocab:
            yield token
    return stream, state


def _read(
    lm: SpeechLM, reads: Sequence[Read], state: HybridState | None
) -> tuple[Tensor, HybridState]:
    device = lm.speech_embedding.weight.device
    if state is not None and len(reads) == 1 and reads[0].table == SPEECH:
        return lm.step(torch.tensor([reads[0].id], device=device), state)
    row = Row()
    for read in reads:
        row.add(read.table, [read.id], [read.position])
    return lm.extend(to_sequence(lm.config, [row]).to(device), state)
