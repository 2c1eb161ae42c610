"""What the language model reads and must predict, position by position: ids, tables, places.

Layouts after FunAudioLLM/CosyVoice, cosyvoice/llm/llm.py (`prepare_lm_input_target`):
all text first, or text and speech in turns (`bistream`). In the `aligned` mode positions are
assigned, not counted: a text id stands where it is expected to be spoken, the speech token of
index j at j + 1, and the task id opens every turn. Plain lists; tensors of them are made in
sequences.py. Nothing here knows a model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.cosyvoice2.config import LMConfig

PAD, SPECIAL, TEXT, SPEECH = range(4)
"""What a position reads: nothing, `llm_embedding`, the text table, `speech_embedding`."""
SOS, TASK = 0, 1
"""Rows of `llm_embedding`."""
SOS_POSITION = -1.0


@dataclass(kw_only=True)
class Row:
    """One sequence while it is put together; a target is None where nothing is to be predicted."""

    ids: list[int] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    positions: list[float] = field(default_factory=list)
    targets: list[int | None] = field(default_factory=list)

    def add(
        self,
        table: int,
        ids: Iterable[int],
        positions: Iterable[float],
        targets: Iterable[int | None] | None = None,
    ) -> None:
        """Append positions of one table; without `targets` they predict nothing."""
        ids = list(ids)
        self.ids += ids
        self.tables += [table] * len(ids)
        self.positions += positions
        self.targets += [None] * len(ids) if targets is None else targets
        if not len(self.ids) == len(self.positions) == len(self.targets):
            raise ValueError(
                f"ids, positions and targets differ in length: {len(self.ids)}, "
                f"{len(self.positions)}, {len(self.targets)}"
            )

    def start(self) -> None:
        """Append the start of sequence."""
        self.add(SPECIAL, [SOS], [SOS_POSITION])

    def task(self, spoken: int, targets: Iterable[int | None] | None = None) -> None:
        """Append the task id where `spoken` tokens precede it."""
        self.add(SPECIAL, [TASK], [float(spoken)], targets)

    def speech(
        self, tokens: Sequence[int], spoken: int, targets: Iterable[int | None] | None = None
    ) -> None:
        """Append speech tokens of which the first has index `spoken`."""
        self.add(SPEECH, tokens, map(float, range(spoken + 1, spoken + len(tokens) + 1)), targets)


def is_aligned(config: LMConfig) -> bool:
    """Whether positions are assigned instead of counted."""
    if config.positions not in ("sequential", "aligned"):
        raise ValueError(f"positions must be sequential or aligned, got {config.positions!r}")
    return config.positions == "aligned"


def expected_tokens(config: LMConfig, text: Sequence[int]) -> list[float]:
    """How many speech tokens each text id is expected to last; zeros in the counted mode."""
    if not is_aligned(config):
        return [0.0] * len(text)
    if text and max(text) >= len(config.durations):
        raise CheckpointError(
            f"text id {max(text)} has no duration; {len(config.durations)} are known",
            "fetch or make the model again",
        )
    return [config.durations[index] for index in text]


def text_positions(
    config: LMConfig, text: Sequence[int], start: float = 0.0, total: float | None = None
) -> tuple[list[float], float]:
    """Where text ids stand on the speech axis: the middle of each, and where the last ends.

    Args:
        config: knows the durations.
        text: text ids.
        start: where the first begins, in speech tokens.
        total: stretch the text to this many tokens (a prompt whose length is known).
    """
    lengths = expected_tokens(config, text)
    if total is not None and sum(lengths) > 0:
        stretch = total / sum(lengths)
        lengths = [length * stretch for length in lengths]
    ends = list(accumulate(lengths, initial=start))
    middles = [end - length / 2 for end, length in zip(ends[1:], lengths, strict=True)]
    return middles, ends[-1]


def decode_row(
    config: LMConfig,
    text: Sequence[int],
    prompt_text: Sequence[int] = (),
    prompt_speech: Sequence[int] = (),
) -> Row:
    """What the model reads before it speaks: sos, prompt text, text, task, prompt speech.

    In the aligned mode a prompt's text is stretched to its speech, and the text follows it.
    """
    spoken = len(prompt_speech)
    row = Row()
    row.start()
    before, end = text_positions(config, prompt_text, total=float(spoken) if spoken else None)
    row.add(TEXT, prompt_text, before)
    row.add(TEXT, text, text_positions(config, text, start=float(spoken) if spoken else end)[0])
    row.task(0)
    row.speech(prompt_speech, 0)
    return row


def length_limits(config: LMConfig, text: int) -> tuple[int, int]:
    """Fewest and most speech tokens for `text` ids, the prompt's not counted."""
    return int(text * config.min_ratio), int(text * config.max_ratio)
