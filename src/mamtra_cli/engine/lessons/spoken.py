"""Pairs of text and speech tokens that a teacher makes itself, for any text.

What a teacher says matches its own distribution, needs no recordings, and has no end; it is the
data of conversion and distillation wherever none is given. Sentences come from sentences.py;
refused ones are left out and counted. Only the language model runs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from mamtra_cli.engine import seeds
from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import TrainingError
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.families.lessons import Example
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.publish import written_whole
from mamtra_cli.text.sentences import closed

ROWS = 32
FIRST_GUESS = 64  # sentences spoken at most to learn how long a sentence is
SHORTEST = 30  # tokens of a short sentence


def make_pairs(
    engine: Engine,
    texts: Sequence[str],
    *,
    seed: int = 0,
    sampling: Sampling | None = None,
    rows: int = ROWS,
    report: Report = ignore,
) -> list[Example]:
    """Let a model speak texts; each becomes an example, in order, but for refused ones.

    Args:
        engine: the teacher.
        texts: sentences, each spoken as one piece.
        seed: text i is spoken with seed + i.
        sampling: how tokens are chosen; `None` for the model's way of making lessons.
        rows: sentences spoken together.
        report: hears of the progress.
    """
    report(Stage(name="speaking", total=len(texts), unit="sentences"))
    ids = [tuple(engine.speaker.encode(text)) for text in texts]
    utterances = [
        Utterance(script=engine.speaker.begin(row), seed=seed + i) for i, row in enumerate(ids)
    ]
    tokens = engine.speaker.tokens
    assert tokens is not None
    made: dict[int, Example] = {}
    for index, outcome in decode(tokens, utterances, sampling or engine.lesson_sampling, rows=rows):
        if outcome.rejection is None:
            name = f"{seed}-{index}"
            made[index] = Example(
                id=name,
                text_ids=ids[index],
                tokens=outcome.tokens,
                codebooks=engine.facts.codebooks,
            )
        report(Advance())
    if len(made) < len(texts):
        report(Note(text=f"{len(texts) - len(made)} of {len(texts)} sentences were refused"))
    return [made[index] for index in sorted(made)]


def make_tokens(
    engine: Engine,
    tokens: int,
    *,
    seed: int = 0,
    texts: Callable[[int, int], list[str]] = closed,
    report: Report = ignore,
) -> list[Example]:
    """Let a model speak built-in sentences until it has said at least so many tokens.

    Args:
        engine: the teacher.
        tokens: speech tokens wanted.
        seed: of sentences and draws.
        texts: makes the first n sentences of a seed; the same n first ones whatever n.
        report: hears of the progress.
    """
    made: list[Example] = []
    said = count = 0
    batch = min(FIRST_GUESS, max(8, tokens // SHORTEST))
    while said < tokens:
        sentences = texts(seed + seeds.LESSONS, count + batch)[count:]
        if not sentences:
            break
        new = make_pairs(engine, sentences, seed=seed + count, report=report)
        if not new:
            raise TrainingError(
                f"the model spoke none of {len(sentences)} built-in sentences",
                hint="give pairs of text and tokens with `--data FILE`",
            )
        made += new
        said += sum(example.frames for example in new)
        count += len(sentences)
        batch = max(8, round((tokens - said) / (said / count)) + 1)
    return made


def keep_tokens(
    path: Path, engine: Engine, tokens: int, *, seed: int = 0, report: Report = ignore
) -> None:
    """Write what `make_tokens` makes to a file of examples, whole, unless it is there already."""
    if path.is_file():
        return
    made = make_tokens(engine, tokens, seed=seed, report=report)
    with written_whole(path) as partial:
        write_examples(partial, made)
