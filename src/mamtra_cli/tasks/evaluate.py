"""Score a model by what is heard: word errors, lengths, speed, and closeness to its teacher.

Sentences are spoken, a recogniser writes down what it hears, and the differences are counted.
The teacher is scored in the same run, on the same sentences and seeds, since no score means much
alone. The recogniser is weak and knows only the words it was given: compare, do not quote.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mamtra_cli.checkpoint import PROVENANCE, read_json
from mamtra_cli.engine.agreement import compare
from mamtra_cli.engine.data import Example
from mamtra_cli.engine.decode import decode
from mamtra_cli.engine.measure import environment
from mamtra_cli.engine.metrics import plain_words, score
from mamtra_cli.engine.recognise import Recogniser, WordRecogniser
from mamtra_cli.engine.runtime import Engine
from mamtra_cli.engine.sentences import closed
from mamtra_cli.engine.speech import speak_tokens
from mamtra_cli.errors import AudioRejectedError, DataError, LimitMissedError, UsageError
from mamtra_cli.events import Advance, Report, Stage, ignore
from mamtra_cli.families.cosyvoice2.phones import PhoneFrontEnd
from mamtra_cli.recipes import EvalRecipe, EvalResult

TEST_SEED = 1000  # of the built-in sentences; no training uses it
GRAMMAR_SEED = 0
GRAMMAR = 8000  # sentences that teach the recogniser the word order
RETRIES = 2
SEEDS_APART = 100_000


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What a model said: one wave and its tokens a sentence; `None` where it was refused."""

    waves: tuple[np.ndarray | None, ...]
    examples: tuple[Example | None, ...]
    expected: tuple[float | None, ...]
    seconds: float  # spent


def evaluate(recipe: EvalRecipe, report: Report = ignore) -> EvalResult:
    """Score a model, and its teacher in the same run where it has one.

    Raises:
        MissingDependencyError: the extra `eval` is not installed.
        DataError: the file of sentences cannot be used.
    """
    if recipe.sentences < 1 or recipe.seeds < 1:
        raise UsageError("`--sentences` and `--seeds` are 1 or more")
    texts = sentences(recipe)
    engine = load(recipe, recipe.model, report)
    teacher_name = recipe.teacher or own_teacher(engine)
    ears = recogniser(texts, engine, built_in=recipe.data is None)
    mine = say(recipe, engine, texts, report)
    scores = listen(texts * recipe.seeds, mine, ears, engine.sample_rate, report)
    teacher_scores: dict[str, float] = {}
    if teacher_name:
        teacher = load(recipe, teacher_name, report)
        theirs = say(recipe, teacher, texts, report)
        teacher_scores = listen(texts * recipe.seeds, theirs, ears, engine.sample_rate, report)
        scores |= against(engine, teacher, mine, theirs)
    facts: dict[str, Any] = environment(engine.device)
    facts |= {
        "recogniser": "pocketsphinx en-us, trigram over the vocabulary",
        "teacher": teacher_name,
        "seed": recipe.seed,
        "seeds": recipe.seeds,
        "voice": recipe.voice,
        "sentences": str(recipe.data or f"built-in, seed {TEST_SEED}"),
    }
    return EvalResult(
        model=engine.name,
        sentences=len(texts),
        scores=scores,
        teacher_scores=teacher_scores,
        environment=facts,
    )


def sentences(recipe: EvalRecipe) -> list[str]:
    """The sentences to speak: of a file, one a line or JSONL with `text`, or built-in ones."""
    if recipe.data is None:
        return closed(TEST_SEED, recipe.sentences)
    try:
        lines = recipe.data.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read `{recipe.data}`: {error}") from error
    texts = [_text(line, number, recipe.data) for number, line in enumerate(lines, 1)]
    texts = [text for text in texts if plain_words(text)]
    if not texts:
        raise DataError(f"`{recipe.data}` holds no sentences", "write one sentence a line")
    return texts[: recipe.sentences]


def load(recipe: EvalRecipe, name: str, report: Report) -> Engine:
    """Open a model as the recipe says."""
    return Engine.load(
        name, device=recipe.device, dtype=recipe.dtype, threads=recipe.threads, report=report
    )


def own_teacher(engine: Engine) -> str:
    """The model that this one was made from, as its folder tells; "" for none."""
    path = engine.folder / PROVENANCE
    told = read_json(path).get("recipe") if path.is_file() else None
    name = told.get("teacher", "") if isinstance(told, dict) else ""
    return name if isinstance(name, str) else ""


def recogniser(texts: Sequence[str], engine: Engine, *, built_in: bool) -> Recogniser:
    """Ears for some texts: the built-in grammar, and single words of texts that are not of it."""
    grammar = closed(GRAMMAR_SEED, GRAMMAR)
    if built_in:
        return WordRecogniser.from_texts(grammar)
    known = {word for text in grammar for word in plain_words(text).split()}
    words = {word for text in texts for word in plain_words(text).split()}
    new = sorted(words - known)
    spelled = {}
    if isinstance(engine.front_end, PhoneFrontEnd):
        spelled = {
            word: [phone for phone in engine.front_end.symbols(word) if phone[0].isalpha()]
            for word in new
        }
    return WordRecogniser.from_texts(grammar, pronunciations=spelled, extra_words=new)


def say(recipe: EvalRecipe, engine: Engine, texts: Sequence[str], report: Report) -> Spoken:
    """Speak every text with every seed."""
    voice = engine.voice(recipe.voice)
    engine.ready("lm", "flow", "hift")
    ids = [tuple(engine.encode(text)) for text in texts]
    started = time.perf_counter()
    utterances = [
        engine.utterance(row, voice, seed=recipe.seed + round_ * SEEDS_APART + number)
        for round_ in range(recipe.seeds)
        for number, row in enumerate(ids)
    ]
    report(Stage(name="speaking", total=len(utterances), unit="sentences", detail=engine.name))
    waves: list[np.ndarray | None] = [None] * len(utterances)
    examples: list[Example | None] = [None] * len(utterances)
    for index, outcome in decode(engine, utterances, engine.sampling, retries=RETRIES):
        if outcome.rejection is None:
            waves[index] = speak_tokens(engine, outcome.tokens, voice).numpy()
            examples[index] = Example(
                id=str(index), text_ids=ids[index % len(ids)], tokens=outcome.tokens
            )
        report(Advance())
    if not any(example is not None for example in examples):
        raise AudioRejectedError(
            f"`{engine.name}` spoke none of {len(texts)} sentences", "train it further"
        )
    return Spoken(
        waves=tuple(waves),
        examples=tuple(examples),
        expected=tuple(utterance.expected for utterance in utterances),
        seconds=time.perf_counter() - started,
    )


def listen(
    texts: Sequence[str], spoken: Spoken, ears: Recogniser, rate: int, report: Report
) -> dict[str, float]:
    """Word errors and lengths; a refused sentence counts as nothing heard."""
    report(Stage(name="hearing", total=len(texts), unit="sentences"))
    heard = []
    for wave in spoken.waves:
        heard.append("" if wave is None else ears.transcribe(wave, rate))
        report(Advance())
    found = score(texts, heard)
    samples = sum(len(wave) for wave in spoken.waves if wave is not None)
    scores = {
        "wer": found.wer,
        "wer_low": found.ci_low,
        "wer_high": found.ci_high,
        "cer": found.cer,
        "words": float(found.n_words),
        "refused": sum(wave is None for wave in spoken.waves) / len(spoken.waves),
        "audio_s": samples / rate,
        "rtf": spoken.seconds * rate / samples,
    }
    ratios = [
        len(example.tokens) / expected
        for example, expected in zip(spoken.examples, spoken.expected, strict=True)
        if example is not None and expected
    ]
    if ratios:
        scores["length_ratio"] = sum(ratios) / len(ratios)
    return scores


def against(engine: Engine, teacher: Engine, mine: Spoken, theirs: Spoken) -> dict[str, float]:
    """Closeness to the teacher, on what the teacher said and in the length of what both said."""
    examples = [example for example in theirs.examples if example is not None]
    check = compare(teacher.lm, engine.lm, examples)
    both = [
        (len(ours.tokens), len(other.tokens))
        for ours, other in zip(mine.examples, theirs.examples, strict=True)
        if ours is not None and other is not None
    ]
    scores = {
        "ce": check.ce_student,
        "teacher_ce": check.ce_teacher,
        "kl": check.kl,
        "agreement": check.agreement,
    }
    if both:
        scores["length_to_teacher"] = sum(a for a, _ in both) / sum(b for _, b in both)
    return scores


def missed(recipe: EvalRecipe, result: EvalResult) -> LimitMissedError | None:
    """The limit that the user set and the model missed, if any."""
    if recipe.max_wer is None or 100 * result.scores["wer"] <= recipe.max_wer:
        return None
    return LimitMissedError(
        f"{100 * result.scores['wer']:.1f} % word errors are above `--max-wer {recipe.max_wer:g}`"
    )


def _text(line: str, number: int, path: Path) -> str:
    """A sentence of a line of plain text, or of a JSON object with `text`."""
    if not line.lstrip().startswith("{"):
        return line.strip()
    try:
        text = json.loads(line).get("text")
    except json.JSONDecodeError as error:
        raise DataError(f"line {number} of `{path}` is not JSON: {error.msg}") from error
    if not isinstance(text, str):
        raise DataError(f"line {number} of `{path}` has no `text`")
    return text
