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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.rows import (
    SOS,
    SOS_POSITION,
    SPECIAL,
    SPEECH,
    TASK,
    TEXT,
    Row,
    is_aligned,
    text_positions,
)
from mamtra_cli.families.cosyvoice2.scripts import Reads
from mamtra_cli.families.script import Frame

ROOM = 256  # tokens to make room for: how many come, no text says yet


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
        runnable: whether it is in a turn; else text must arrive (or all is over).
        repeated: what the model read last.
        spoken: speech tokens queued so far, prompt included.
        texts: text ids that have arrived, the prompt's not counted.
        frames: speech tokens chosen so far.
        history: ids chosen so far, fill ids included.
        heard: the prompt's speech.
        next_fill: length of `history` at which a fill id is due.
        closed: whether the text has ended.
        free: whether the task id of free running has been queued.
        ended: whether the speech has ended.
        capped: whether it was ended because no text can take so long.
    """

    config: LMConfig
    compat: bool = False
    text: tuple[Read, ...] = ()
    text_end: float = 0.0
    prompt: tuple[int, ...] = ()
    queue: tuple[Read, ...] = (START,)
    runnable: bool = False
    repeated: tuple[Read, ...] = ()
    spoken: int = 0
    texts: int = 0
    frames: tuple[Frame, ...] = ()
    history: tuple[Frame, ...] = ()
    heard: tuple[Frame, ...] = ()
    next_fill: int = 0
    closed: bool = False
    free: bool = False
    ended: bool = False
    capped: bool = False
    expected: float | None = None

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
            heard=tuple((token,) for token in prompt_speech),
            next_fill=(length // turn + 1) * turn - length,
        )

    @property
    def out(self) -> tuple[int, ...]:
        """Ids chosen so far, fill ids included."""
        return tuple(token for (token,) in self.history)

    @property
    def waiting(self) -> bool:
        """Whether text must come, or its end."""
        return not (self.runnable or self.ended)

    @property
    def reads(self) -> Reads | None:
        """What the model must read now; None where that is the token it said last."""
        if len(self.queue) == 1 and self.queue[0].table == SPEECH and self.history:
            return None
        row = Row()
        for read in self.queue:
            row.add(read.table, [read.id], [read.position])
        return Reads(row=row, room=ROOM)

    @property
    def column(self) -> Frame:
        """The token said last."""
        return (self.queue[0].id,)

    @property
    def due(self) -> Frame | None:
        """The id that must come next whatever the model scores, if any."""
        if not self.free and len(self.history) == self.next_fill:
            return (self.config.fill_id,)
        return None

    @property
    def barred(self) -> tuple[tuple[int, int], ...]:
        """Ids that may not be chosen now."""
        if self.free:
            return ()
        eos, unused, _ = self.config.stop_ids
        return ((0, eos),) if self.compat else ((0, eos), (0, unused))

    def hear(self, ids: Iterable[int]) -> "TextStream":
        """More text has arrived."""
        if self.closed:
            raise ValueError("text arrived after its end")
        ids = list(ids)
        positions, end = text_positions(self.config, ids, self.text_end)
        text = self.text + _text_reads(ids, positions)
        stream = replace(self, text=text, text_end=end, texts=self.texts + len(ids))
        return stream._advanced()

    def close(self) -> "TextStream":
        """The text has ended."""
        return replace(self, closed=True)._advanced()

    def accept(self, frame: Frame) -> "TextStream":
        """The queue was read, and this id chosen after it."""
        (token,) = frame
        if (
            not (self.runnable and self.queue)
            or not 0 <= token < self.config.head_size
            or (0, token) in self.barred
        ):
            raise ValueError(f"id {token} cannot be accepted now")
        stream = replace(self, queue=(), repeated=self.queue, history=(*self.history, frame))
        if not self.free and token == self.config.fill_id:
            due = len(stream.history) + self.config.speech_chunk
            return replace(stream, next_fill=due, runnable=False)._advanced()
        if token in self.config.stop_ids:
            return replace(stream, ended=True, runnable=False)
        stream = replace(stream, frames=(*self.frames, frame))._said((token,), runnable=True)
        # What was heard cannot be taken back, so a cap is all that bounds it.
        longest = self.config.max_ratio * max(self.texts, self.config.text_chunk)
        if not self.compat and len(stream.frames) > longest:
            return replace(stream, ended=True, capped=True, runnable=False)
        return stream

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
            if not stream.history and stream.queue != (START,):
                return replace(stream, runnable=True)
            if len(stream.text) >= size:
                return replace(stream._chunk(), runnable=True)
        return stream._freed() if stream.closed else stream

    def _freed(self) -> "TextStream":
        again = self.repeated if self.compat and self.history else ()
        queue = (*again, *self.queue, *self.text, self._task)
        stream = replace(self, queue=queue, text=(), prompt=(), free=True)
        return stream._said(() if self.compat else self.prompt, runnable=True)


def _text_reads(ids: Sequence[int], positions: Sequence[float]) -> tuple[Read, ...]:
    return tuple(
        Read(table=TEXT, id=index, position=position)
        for index, position in zip(ids, positions, strict=True)
    )
