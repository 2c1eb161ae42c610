"""Speak a file of lines into a folder, many at once, so that a killed run goes on where it was.

Each line becomes a file that appears whole, then a record in `results.jsonl`; a record means that
its file is there. A run that is started again reads the records and makes what is missing, with the
seeds it would have had.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mamtra_cli.audio import AudioWriter, check_rate, choose_format
from mamtra_cli.config import reason
from mamtra_cli.engine.loading.light import wishes_of
from mamtra_cli.engine.loading.opening import open_talker
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.measuring.room import check_room
from mamtra_cli.engine.speaking.line_files import FIELDS, Wanted, read_lines
from mamtra_cli.engine.speaking.lines import Line, LineSound, speak_lines
from mamtra_cli.engine.speaking.options import options_of
from mamtra_cli.engine.speaking.pieces import Listen, heard_piece
from mamtra_cli.engine.speaking.records import (
    dumped,
    read_others,
    read_records,
    results_of,
    writing,
)
from mamtra_cli.engine.speaking.spread import spread_lines
from mamtra_cli.engine.speaking.workshop import sound_threads
from mamtra_cli.errors import MamtraError, OutputError, UsageError
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.part import part_of
from mamtra_cli.publish import write_whole
from mamtra_cli.ray_pool import Cluster
from mamtra_cli.recipes.knob import check_heeded
from mamtra_cli.recipes.lines import LineRecord, LinesResult
from mamtra_cli.recipes.synth import SynthRecipe, cut_words
from mamtra_cli.sink import speech_tags
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.signs import policy_of
from mamtra_cli.text.subtitles import subtitles
from mamtra_cli.text.written import read_written
from mamtra_cli.voices.voice import Voice

HEEDED = frozenset(
    "jsonl input_file column output_dir shard rows ray workers force model part voice voices "
    "format sample_rate speed volume sentence_silence carry temperature top_p top_k min_p greedy "
    "steps retries on_runaway verify asr max_wer max_seconds tags lexicon on_unreadable text_rules "
    "words seed device dtype backend quant threads".split()
)
"""Fields of the recipe that files of lines heed."""


def speak_file(
    recipe: SynthRecipe,
    report: Report = ignore,
    emit: Callable[[LineRecord], None] = lambda record: None,
) -> LinesResult:
    """Speak every line of `recipe.jsonl`, or every text of `recipe.input_file`.

    Args:
        recipe: files, folder, and how to speak.
        report: hears of progress and of lines that were refused.
        emit: hears each record as it is written.

    Raises:
        DataError: a file cannot be read as lines, or a line cannot be.
        UsageError: an option or a file that cannot be.
        OutputError: the folder cannot be written.
        OutOfMemoryError: so many rows do not fit.
    """
    if recipe.output_dir is None:
        raise UsageError("this writes many files", "name a folder for them: `-d out`")
    if recipe.srt is not None or recipe.vtt is not None:
        raise UsageError(
            "`--srt` and `--vtt` name one file, and these are many lines",
            'give lines a field: "subtitles": "a.vtt"; or add `--words`',
        )
    hint = f"leave it out: a line may say {', '.join(FIELDS)}"
    check_heeded(recipe, HEEDED, "does not go with many lines", hint)
    lexicon = None if recipe.lexicon is None else Respelling.read(recipe.lexicon)
    format = choose_format(recipe.format, "")
    part = part_of(recipe.shard)
    wanted = list(read_lines(recipe, format))[part.index - 1 :: part.count]
    folder = recipe.output_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make `{folder}`: {reason(error)}", "choose another") from error
    path = folder / results_of(part)
    with writing(path):
        done = read_others(folder, path) | read_records(path)
        left = [line for line in wanted if line.id not in done]
        heard = [one for line in wanted if line.id in done for one in done[line.id].heard]
        misheard = sum(not one.good for one in heard)
        result = _speak(recipe, left, len(wanted), path, format, lexicon, report, emit)
    return replace(result, misheard=result.misheard + misheard)


def _speak(
    recipe: SynthRecipe,
    left: list[Wanted],
    count: int,
    path: Path,
    format: str,
    lexicon: Respelling | None,
    report: Report,
    emit: Callable[[LineRecord], None],
) -> LinesResult:
    """Speak the lines that are left of so many, and add their records to a file."""
    folder = path.parent
    for line in left:
        (folder / line.output).parent.mkdir(parents=True, exist_ok=True)
    load = partial(_open, recipe)
    engine = load(threads=recipe.threads, report=report)
    if recipe.sample_rate is not None:
        check_rate(format, recipe.sample_rate)
    engine.speaker.ready()
    if left:
        check_room(engine, min(recipe.rows, len(left)))

    @cache
    def voice(name: str) -> Voice:
        return engine.voice(name, recipe.voices)

    for name in {line.voice for line in left}:
        voice(name)  # one that is not there is told before anything is spoken
    by_id = {line.id: line for line in left}
    started = time.perf_counter()
    report(Stage(name="speaking", total=len(left), unit="lines"))
    counts = {"made": 0, "failed": 0, "misheard": 0}
    seconds = 0.0
    with path.open("a", encoding="utf-8") as results:
        lines = [
            Line(
                id=line.id,
                text=line.text,
                voice=voice(line.voice),
                seed=line.seed,
                speed=line.speed,
                tags=recipe.tags,
                lexicon=lexicon,
                on_unreadable=policy_of(recipe.on_unreadable),
                words=recipe.words or bool(line.subtitles),
            )
            for line in left
        ]
        options = options_of(engine, recipe)
        hear = _hearing(recipe, left, lexicon) if recipe.verify and lines else None
        if hear is not None and not recipe.ray:
            options = replace(options, listen=hear(engine))
        cluster = Cluster(address=recipe.ray, workers=recipe.workers, threads=recipe.threads)
        for made in (
            spread_lines(
                cluster,
                load,
                lines,
                options,
                rows=recipe.rows,
                library=recipe.voices,
                hear=hear,
            )
            if recipe.ray and lines
            else speak_lines(
                engine,
                lines,
                options,
                rows=recipe.rows,
                voices=voice,
                sounders=sound_threads(engine, recipe.threads),
            )
        ):
            record = _write(engine, recipe, by_id[made.line.id], made, folder, format)
            results.write(dumped(record))
            results.flush()
            counts["failed" if record.error else "made"] += 1
            seconds += record.seconds
            for one in record.heard:
                if not one.good:
                    counts["misheard"] += 1
                    report(Note(text=f"line `{record.id}`: {one.warning}", warning=True))
            for piece in made.pieces:
                if piece.cut:
                    told = cut_words(piece.text, piece.tokens)
                    report(Note(text=f"line `{record.id}`: {told}", warning=True))
            if record.skipped:
                signs = ", ".join(record.skipped)
                report(Note(text=f"line `{record.id}`: left out {signs}", warning=True))
            if record.error:
                report(Note(text=f"line `{record.id}`: {record.error}", warning=True))
            emit(record)
            report(Advance())
    compute = time.perf_counter() - started
    return LinesResult(
        output_dir=str(folder),
        model=engine.name,
        lines=count,
        kept=count - len(left),
        seconds=round(seconds, 3),
        compute_seconds=round(compute, 3),
        rtf=round(compute / seconds, 4) if seconds else 0.0,
        **counts,
    )


def _open(recipe: SynthRecipe, *, threads: int, report: Report = ignore) -> Talker:
    """The model, here or in a worker."""
    wishes = replace(wishes_of(recipe), threads=threads)
    engine = open_talker(recipe.model, wishes, files=recipe.part, report=report)
    engine.use_rules(recipe.text_rules)
    return engine


def _hearing(
    recipe: SynthRecipe, lines: list[Wanted], lexicon: Respelling | None
) -> Callable[[Any], Listen]:
    """What opens the recogniser of `--verify` for some lines, here or in a worker."""
    from mamtra_cli.engine.judging.verifying import open_verifier

    texts: list[str] = []
    for line in lines:
        with suppress(MamtraError):  # told when the line is spoken
            script = read_written(line.text, tags=recipe.tags, lexicon=lexicon)
            texts += script.texts
    return partial(open_verifier, asr=recipe.asr, limit=recipe.max_wer / 100, texts=texts)


def _write(
    engine: Talker, recipe: SynthRecipe, line: Wanted, made: LineSound, folder: Path, format: str
) -> LineRecord:
    """Write the sound of a line; an earlier file of the same line is replaced."""
    error: MamtraError | None = made.error
    voice = made.line.voice.name
    if error is not None:
        return LineRecord(
            id=line.id, voice=voice, seed=line.seed, error=error.message, hint=error.hint or ""
        )
    with AudioWriter(
        folder / line.output,
        sample_rate=engine.sample_rate,
        format=format,
        output_rate=recipe.sample_rate,
        tags=speech_tags(engine.name, voice, line.seed),
        force=True,
    ) as writer:
        writer.write(np.asarray(made.audio))
    if line.subtitles:
        path = folder / line.subtitles
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, subtitles(made.spoken, path.suffix[1:]), replace=True)
    return LineRecord(
        id=line.id,
        output=line.output,
        voice=voice,
        seed=line.seed,
        seconds=round(len(made.audio) / engine.sample_rate, 3),
        tokens=sum(piece.tokens for piece in made.pieces),
        attempts=sum(piece.attempts for piece in made.pieces),
        skipped=made.skipped,
        cut=tuple(piece.text for piece in made.pieces if piece.cut),
        subtitles=line.subtitles,
        spoken=made.spoken if recipe.words else (),
        heard=tuple(heard_piece(piece) for piece in made.pieces if piece.heard is not None),
    )
