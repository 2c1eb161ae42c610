"""`mamtra synth`: flags and stdin to a recipe, the result to words."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mamtra_cli.cli.console import Console, facts, write_line
from mamtra_cli.cli.options import command
from mamtra_cli.config import to_dict
from mamtra_cli.errors import DataError, UsageError
from mamtra_cli.events import Note
from mamtra_cli.recipes.heard import missed
from mamtra_cli.recipes.lines import LineRecord
from mamtra_cli.recipes.synth import SynthRecipe, SynthResult
from mamtra_cli.text.encoding import decode

STDOUT = "-"
STDIN = "-"
READ = 1 << 16  # bytes of stdin at once


@command(SynthRecipe)
def synth(recipe: SynthRecipe, console: Console) -> None:
    """Speak a text.

    Long texts are cut at sentences. Speech that cannot be right (no end, silence, the prompt
    spoken again) is thrown away and tried again with another seed.

    \b
    Examples:
      $ mamtra synth "Hello there." -o hello.wav
      $ mamtra synth -i letter.txt -m student --voice ben -o letter.mp3
      $ mamtra synth "It is me." --clip me.wav --clip-text "What I said." -o me-too.wav
      $ echo "Good morning." | mamtra synth -o - --raw | aplay -f S16_LE -r 24000
      $ mamtra synth "At once." --server http://127.0.0.1:8880 --play
      $ mamtra synth -i talk.txt -o talk.mp3 --srt talk.srt --verify
      $ mamtra synth --jsonl lines.jsonl -d spoken
      $ mamtra synth -i chapters -i table.csv --column sentence -d spoken
      $ llm Hi | mamtra synth --text-stream --raw -o - | aplay -f S16_LE -r 24000
    """
    if recipe.show_text:
        show_text(recipe, console)
        return
    from mamtra_cli.audio import descriptor

    if descriptor(Path(recipe.output)) == 1:
        recipe = replace(recipe, output=STDOUT)
    if recipe.jsonl is not None or recipe.output_dir is not None:
        _lines(recipe, console)
        return
    if recipe.words and not console.as_json:
        raise UsageError(
            "`--words` are told in the result", "add `--json`, or give `--srt` instead"
        )
    if recipe.output == STDOUT and console.as_json:
        raise UsageError("`-o -` and `--json` both want stdout", "write the audio to a file")
    if recipe.output == STDOUT and getattr(sys.stdout, "name", "") == os.devnull:
        raise UsageError("stdout is closed", "name a file, `-o out.wav`")
    if recipe.output == STDOUT and sys.stdout.isatty():
        raise UsageError("audio does not belong on a terminal", "use a file or a pipe")
    arriving: Iterator[str] | None = None
    if recipe.text_stream:
        if recipe.input_file or recipe.text not in ("", STDIN):
            raise UsageError("`--text-stream` reads stdin", "leave out the text or the file")
        arriving = read_arriving()
    elif not recipe.input_file and recipe.text in ("", STDIN):
        recipe = replace(recipe, text=read_stdin(wanted=recipe.text == STDIN))
    result = _run(recipe, console, arriving)
    if recipe.output == STDOUT:
        for line in words(result):
            console.report(Note(text=line))
    else:
        console.result(result, words(result))
    if result.verified is not None:
        console.missed(missed(recipe.max_wer, result.verified.misheard))


def _run(recipe: SynthRecipe, console: Console, arriving: Iterator[str] | None) -> SynthResult:
    """Speak here, or by a server."""
    if recipe.server:
        if arriving is not None:
            raise UsageError("`--text-stream` and `--server` are both given", "give one of them")
        from mamtra_cli.tasks.remote import synth_remote

        return synth_remote(recipe, console.report)
    from mamtra_cli.tasks.synth import synth as run

    return run(recipe, console.report, arriving)


def show_text(recipe: SynthRecipe, console: Console) -> None:
    """Print what would be said."""
    if not recipe.input_file and recipe.text in ("", STDIN):
        recipe = replace(recipe, text=read_stdin(wanted=recipe.text == STDIN))
    from mamtra_cli.tasks.synth import show

    reading = show(recipe, console.report)
    lines = [line for piece in reading.pieces for line in (piece.spoken, piece.phones) if line]
    console.result(reading, lines)


def _lines(recipe: SynthRecipe, console: Console) -> None:
    """Speak many lines; each record is a line on stdout as soon as it is there."""
    if recipe.text or recipe.output or recipe.text_stream:
        raise UsageError(
            "many lines bring their own texts and outputs", "leave out text, `-o` and streaming"
        )
    if (recipe.jsonl is None) == (not recipe.input_file):
        raise UsageError("`-d` takes lines of `--jsonl`, or files of `-i`", "give one of them")
    from mamtra_cli.tasks.lines import speak_file

    def emit(record: LineRecord) -> None:
        if not console.as_json:
            write_line(json.dumps(to_dict(record), ensure_ascii=False))

    result = speak_file(recipe, console.report, emit)
    if console.as_json:
        console.result(result, [])
    else:
        kept = f", {result.kept} were there" if result.kept else ""
        told = f"{result.made} of {result.lines} lines spoken{kept}, RTF {result.rtf:.3f}"
        console.report(Note(text=told))
    if result.failed:
        raise DataError(
            f"{result.failed} of {result.lines} lines could not be spoken",
            f"see `error` in {result.output_dir}/results.jsonl; the same command tries them again",
        )
    where = f"see `heard` in {result.output_dir}/results.jsonl"
    console.missed(missed(recipe.max_wer, result.misheard, where))


def read_stdin(*, wanted: bool) -> str:
    """Return the text on stdin; a terminal is read only where that is `wanted`."""
    if not wanted and sys.stdin.isatty():
        raise UsageError("no text", 'give one: mamtra synth "Hello there." -o hello.wav')
    return "".join(decode([sys.stdin.buffer.read()], "stdin"))


def read_arriving() -> Iterator[str]:
    """Yield what arrives on stdin, as it arrives."""
    stdin: Any = sys.stdin.buffer
    return decode(iter(lambda: stdin.read1(READ), b""), "stdin")


def words(result: SynthResult) -> list[str]:
    """Return what was made, where, and the numbers."""
    rows = {
        "audio": f"{result.seconds:.2f} s at {result.sample_rate} Hz, voice {result.voice} "
        f"({result.mode or result.device}), seed {result.seed}",
        "speed": f"RTF {result.rtf:.2f} ({result.compute_seconds:.2f} s), first audio after "
        f"{result.first_audio_seconds:.2f} s, loading {result.load_seconds:.2f} s",
    }
    if result.rejected:
        counts = ", ".join(f"{cause} {n}x" for cause, n in Counter(result.rejected).items())
        rows["guards"] = f"{len(result.rejected)} attempts refused: {counts}"
    if result.verified is not None:
        pieces = result.verified.pieces
        good = len(pieces) - result.verified.misheard
        rows["heard"] = (
            f"{good} of {len(pieces)} pieces understood by {result.verified.recogniser['name']}"
        )
    return [*filter(None, [result.output]), *facts(rows)]
