"""Speak a text into a file or a pipe, chunk by chunk."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mamtra_cli.audio import RAW
from mamtra_cli.engine.loading.light import LightEngine, wishes_of
from mamtra_cli.engine.loading.opening import open_talker
from mamtra_cli.engine.speaking.arrival import speak_arriving
from mamtra_cli.engine.speaking.options import options_of
from mamtra_cli.engine.speaking.pieces import PieceReport, heard_piece, piece_at
from mamtra_cli.engine.speaking.reading import reading_of
from mamtra_cli.engine.speaking.scripted import Reader, speak_read
from mamtra_cli.errors import (
    AudioRejectedError,
    CheckpointError,
    OutputError,
    UsageError,
)
from mamtra_cli.events import Note, Report, ignore, remembering
from mamtra_cli.recipes.heard import HeardPiece
from mamtra_cli.recipes.knob import check_bounds, check_heeded, knobs
from mamtra_cli.recipes.synth import SynthRecipe, SynthResult, Verified, cut_words
from mamtra_cli.recipes.times import TimedPiece
from mamtra_cli.sink import (
    STDOUT,
    check_files,
    check_source,
    sound_sink,
    text_of,
    write_subtitles,
)
from mamtra_cli.text.reading import Reading
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.segments import Script
from mamtra_cli.text.signs import Sieve, policy_of
from mamtra_cli.text.written import read_written, readable
from mamtra_cli.voices.voice import Manner, Mode, Voice

if TYPE_CHECKING:
    from mamtra_cli.engine.judging.verifying import Verifier
    from mamtra_cli.engine.model import Engine
    from mamtra_cli.voices.clip import Clip

EXACT = 4  # bytes of a float32
OF_MANY = frozenset({"column", "shard", "ray", "workers"})  # fields that only many lines heed
MOST_TOLD = 8  # different signs of one part of a text that are told one by one


def synth(
    recipe: SynthRecipe, report: Report = ignore, arriving: Iterable[str] | None = None
) -> SynthResult:
    """Speak the text of a recipe, or the one that arrives.

    Args:
        recipe: what to speak and how.
        report: hears of progress.
        arriving: parts of the text, with `text_stream`; `None` for the recipe's own.

    Raises:
        TextError: the text is empty, holds what the model cannot speak, or does not fit the clip.
        AudioError: the clip is no usable prompt.
        OutputError: the output exists or cannot be written.
        AudioRejectedError: a guard refused every attempt; no file is left.
    """
    check(recipe)
    text = text_of(recipe)
    lexicon = None if recipe.lexicon is None else Respelling.read(recipe.lexicon)
    script = read_written("" if recipe.text_stream else text, tags=recipe.tags, lexicon=lexicon)
    if recipe.clip is not None and Path(recipe.output).resolve() == recipe.clip.resolve():
        raise OutputError("the output is the clip itself", "name another file with `-o`")
    format = check_files(recipe)  # told before the model is loaded
    clip = None if recipe.clip is None else _read(recipe.clip, recipe.clip_text, report)
    started = time.perf_counter()
    report, warnings = remembering(report)
    wishes = wishes_of(recipe, *(["times of words"] if recipe.timed else []))
    engine = open_talker(recipe.model, wishes, files=recipe.part, report=report)
    engine.use_rules(recipe.text_rules)
    sieve = Sieve(engine.front_end.unreadable, policy_of(recipe.on_unreadable))
    script = readable(script, sieve)
    _tell(sieve, report)
    voice = _voice(engine, recipe, clip)
    asked = manner_of(engine, recipe)
    manner = engine.speaker.settings(voice, asked)
    mode: Mode = manner.mode
    if asked.mode is None and mode != voice.mode:
        told = f"this model did not learn to go on from a clip: {mode}; `--zero-shot` asks it to"
        report(Note(text=told))
    engine.speaker.ready()
    loaded = time.perf_counter()
    options = options_of(engine, recipe)
    reader = Reader(
        engine,
        lambda name: (engine.voice(name, recipe.voices) if name else voice, asked),
        speed=recipe.speed,
        tags=recipe.tags,
        lexicon=lexicon,
        words=recipe.timed,
    )
    verifier = _verifier(recipe, engine, script) if recipe.verify else None
    options = replace(options, manner=asked, listen=verifier)
    first: float | None = None
    pieces: list[PieceReport] = []
    spoken: list[TimedPiece] = []
    heard: list[HeardPiece] = []
    samples = 0
    with sound_sink(
        recipe, rate=engine.sample_rate, format=format, model=engine.name, voice=voice.name
    ) as write:
        if recipe.text_stream:
            parts = [text] if arriving is None else arriving
            clear = _sieved(parts, sieve, report)
            chunks = speak_arriving(engine, clear, voice, options, report, reader)
        else:
            rows = _rows(engine, recipe)
            chunks = speak_read(reader, reader.pieces(script), options, report, rows=rows)
        try:
            for chunk in chunks:
                if first is None:
                    first = time.perf_counter()
                write(np.asarray(chunk.audio))
                samples += len(chunk.audio)
                if chunk.piece is not None:
                    pieces.append(chunk.piece)
                    if chunk.piece.cut:
                        told = cut_words(chunk.piece.text, chunk.piece.tokens)
                        report(Note(text=told, warning=True))
                    if chunk.piece.heard is not None:
                        heard.append(heard_piece(chunk.piece))
                        if not heard[-1].good:
                            report(Note(text=heard[-1].warning, warning=True))
                    spoken.append(piece_at(chunk.piece, samples / engine.sample_rate))
        except AudioRejectedError as error:
            # No seed mends a weight; looked for only where speech was refused.
            weight = engine.broken_weight()
            if weight is None:
                raise
            raise CheckpointError(
                f"`{engine.name}` holds values that are not finite, in `{weight}`",
                "make the model again, or fetch it again",
            ) from error
    ended = time.perf_counter()
    write_subtitles(recipe, spoken)
    seconds = samples / engine.sample_rate
    return SynthResult(
        output=recipe.output,
        model=engine.name,
        voice=voice.name,
        mode=mode,
        seed=recipe.seed,
        seconds=seconds,
        sample_rate=recipe.sample_rate or engine.sample_rate,
        pieces=len(pieces),
        tokens=sum(piece.tokens for piece in pieces),
        attempts=sum(piece.attempts for piece in pieces),
        load_seconds=loaded - started,
        first_audio_seconds=(first or ended) - loaded,
        compute_seconds=ended - loaded,
        rtf=(ended - loaded) / seconds if seconds else 0.0,
        rejected=tuple(cause for piece in pieces for cause in piece.rejected),
        skipped=tuple(asdict(sign) for sign in sieve.skipped()),
        warnings=tuple(warnings),
        device=str(engine.device),
        spoken=tuple(spoken),
        verified=None
        if verifier is None
        else Verified(recogniser=dict(verifier.about), pieces=tuple(heard)),
    )


def _verifier(recipe: SynthRecipe, engine: "Engine | LightEngine", script: Script) -> "Verifier":
    """Who hears the pieces of a script."""
    from mamtra_cli.engine.judging.verifying import open_verifier
    from mamtra_cli.engine.model import Engine

    assert isinstance(engine, Engine)
    limit = recipe.max_wer / 100
    return open_verifier(engine, asr=recipe.asr, limit=limit, texts=script.texts)


def _rows(engine: "Engine | LightEngine", recipe: SynthRecipe) -> int:
    """Pieces to speak together: many where nobody listens before the end, and where a row says in
    company what it says alone, which holds to the last bits of float32."""
    listening = recipe.stream or recipe.play or recipe.output == STDOUT
    alone = listening or engine.itemsize < EXACT or engine.speaker.tokens is None
    return 1 if alone else recipe.rows


def show(recipe: SynthRecipe, report: Report = ignore) -> Reading:
    """What would be said for the text of a recipe; nothing is spoken and no weights are read.

    Raises:
        TextError: the text is empty, or holds what the model cannot speak.
    """
    check(replace(recipe, output=recipe.output or STDOUT))
    text = text_of(replace(recipe, text_stream=False))
    from mamtra_cli.engine.model import Engine

    engine = Engine.load(recipe.model, device="cpu", lean=True, report=report)
    engine.use_rules(recipe.text_rules)
    sieve = Sieve(engine.front_end.unreadable, policy_of(recipe.on_unreadable))
    lexicon = None if recipe.lexicon is None else Respelling.read(recipe.lexicon)
    script = readable(read_written(text, tags=recipe.tags, lexicon=lexicon), sieve)
    _tell(sieve, report)
    return reading_of(engine, script, sieve.skipped())


def _sieved(parts: Iterable[str], sieve: Sieve, report: Report) -> Iterator[str]:
    """Parts of a text without its unreadable signs, each of which is told."""
    for part in parts:
        clear = sieve.take(part)
        _tell(sieve, report)
        yield clear
    clear = sieve.finish()
    _tell(sieve, report)
    yield clear


def _tell(sieve: Sieve, report: Report) -> None:
    """Warn of the signs that were left out since the last time."""
    told: dict[str, list[str]] = {}
    for sign, name, before in sieve.news():
        shown = sign if sign.isprintable() else f"U+{ord(sign):04X}"
        told.setdefault(f"`{shown}` ({name})", []).append(before)
    for sign, places in list(told.items())[:MOST_TOLD]:
        where = f" after `{places[0]}`" if places[0] else ""
        times = f", {len(places)} times" if len(places) > 1 else ""
        report(Note(text=f"not read: {sign}{where}{times}", warning=True))
    if len(told) > MOST_TOLD:
        report(Note(text=f"not read: {len(told) - MOST_TOLD} more signs", warning=True))


def check(recipe: SynthRecipe) -> None:
    """Refuse what cannot be, before anything is loaded."""
    check_source(recipe)
    asked = {
        "--zero-shot": recipe.zero_shot,
        "--cross-lingual": recipe.cross_lingual,
        "--instruct": bool(recipe.instruct),
        "--speaker-only": recipe.speaker_only,
    }
    if sum(asked.values()) > 1:
        names = " and ".join(f"`{name}`" for name, given in asked.items() if given)
        raise UsageError(f"{names} contradict each other", "a voice speaks in one mode at a time")
    if recipe.clip is not None and recipe.voice:
        raise UsageError("`--clip` and `--voice` are both given", "give one of them")
    if recipe.clip_text and recipe.clip is None:
        raise UsageError("`--clip-text` says what a clip says; there is none", "add `--clip FILE`")
    if recipe.raw and recipe.format not in ("", RAW):
        raise UsageError(f"`--raw` and `--format {recipe.format}` contradict each other")
    if recipe.verify and (recipe.stream or recipe.text_stream):
        raise UsageError(
            "`--verify` hears what is whole, and what is streamed has left by then",
            "leave out the streaming",
        )
    if not recipe.verify and (
        recipe.asr != SynthRecipe.asr or recipe.max_wer != SynthRecipe.max_wer
    ):
        raise UsageError("`--asr` and `--max-wer` are about hearing", "add `--verify`")
    if recipe.lookahead is not None and not recipe.stream:
        raise UsageError("`--lookahead` is about what is streamed", "add `--stream`")
    single = knobs(SynthRecipe).keys() - OF_MANY
    check_heeded(recipe, single, "is about many lines", "add `-d DIR`, and `--jsonl` or `-i`")
    check_bounds(recipe)


def manner_of(engine: "Engine | LightEngine", recipe: SynthRecipe) -> Manner:
    """How the voice is asked to speak."""
    told = recipe.settings
    if recipe.lookahead is not None:
        told = (*told, f"lookahead={recipe.lookahead}")
    if recipe.instruct:
        ids = engine.front_end.instruction_ids(recipe.instruct)
        return Manner(mode="instruct", instruction=tuple(ids), told=told)
    mode: Mode | None = "cross-lingual" if recipe.cross_lingual else None
    if recipe.zero_shot:
        mode = "zero-shot"
    return Manner(mode="speaker" if recipe.speaker_only else mode, told=told)


def _read(path: Path, text: str, report: Report) -> "Clip":
    """Read and judge a clip before the model is loaded."""
    from mamtra_cli.recipes.voice import ClipLimits
    from mamtra_cli.voices.clip import check_transcript, read_clip

    limits = ClipLimits()
    clip = read_clip(path, limits)
    advice = clip.advice + (check_transcript(text, clip.facts, limits) if text.strip() else ())
    for line in advice:
        report(Note(text=line, warning=True))
    return clip


def _voice(engine: "Engine | LightEngine", recipe: SynthRecipe, clip: "Clip | None") -> Voice:
    if clip is None or recipe.clip is None:
        return engine.voice(recipe.voice, recipe.voices)
    return engine.speaker.clone(clip, recipe.clip.stem, transcript=recipe.clip_text)
