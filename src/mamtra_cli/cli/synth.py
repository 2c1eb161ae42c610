"""`mamtra synth`: flags and stdin to a recipe, the result to words."""

import codecs
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mamtra_cli.cli.console import Console, facts
from mamtra_cli.cli.help import OUTPUT
from mamtra_cli.cli.options import (
    Config,
    Device,
    DType,
    Force,
    Json,
    Quiet,
    Seed,
    Threads,
    Verbose,
    Voices,
    read_recipe,
)
from mamtra_cli.config import reason
from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.events import Note
from mamtra_cli.recipes import SynthRecipe, SynthResult

VOICE = "Voice"
CHOICE = "Choosing tokens"
STDOUT = "-"
READ = 1 << 16  # bytes of stdin at once
NOT_UTF8 = "convert it first, `iconv -f LATIN1 -t UTF-8` for example"


def complete_format() -> list[str]:
    """Return the names `--format` takes."""
    return ["wav", "flac", "mp3", "opus"]


def synth(
    ctx: typer.Context,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            show_default=False,
            help="Text to speak; - or nothing reads stdin.",
        ),
    ] = SynthRecipe.text,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default=False,
            help="File to write; - is stdout.",
            rich_help_panel=OUTPUT,
        ),
    ] = SynthRecipe.output,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input-file",
            "-i",
            metavar="FILE",
            show_default=False,
            help="Read the text from a file.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="MAMTRA_MODEL",
            show_envvar=True,
            help="A folder, org/name[@revision] or `mini`.",
            rich_help_panel=VOICE,
        ),
    ] = SynthRecipe.model,
    voice: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="the model's first",
            help="A voice of the model, one of yours, or a voice file.",
            rich_help_panel=VOICE,
        ),
    ] = SynthRecipe.voice,
    voices: Voices = SynthRecipe.voices,
    clip: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Speak as this recording does; nothing of it is kept.",
            rich_help_panel=VOICE,
        ),
    ] = SynthRecipe.clip,
    clip_text: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            show_default=False,
            help="What the recording says, word for word.",
            rich_help_panel=VOICE,
        ),
    ] = SynthRecipe.clip_text,
    zero_shot: Annotated[
        bool,
        typer.Option(
            "--zero-shot",
            help="Copy the way of speaking too, even with a model that did not learn it.",
            rich_help_panel=VOICE,
        ),
    ] = SynthRecipe.zero_shot,
    cross_lingual: Annotated[
        bool,
        typer.Option(
            "--cross-lingual",
            help="Copy the sound of the voice, not its way of speaking.",
            rich_help_panel=VOICE,
        ),
    ] = SynthRecipe.cross_lingual,
    instruct: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            show_default=False,
            help="How to speak, for models that follow instructions.",
            rich_help_panel=VOICE,
        ),
    ] = SynthRecipe.instruct,
    speaker_only: Annotated[
        bool,
        typer.Option(
            "--speaker-only",
            help="Use the vector of the voice alone, none of its clip.",
            rich_help_panel=VOICE,
        ),
    ] = SynthRecipe.speaker_only,
    speed: Annotated[
        float,
        typer.Option(metavar="X", help="2 speaks twice as fast.", rich_help_panel=VOICE),
    ] = SynthRecipe.speed,
    volume: Annotated[
        float,
        typer.Option(metavar="X", help="Factor on the loudness.", rich_help_panel=VOICE),
    ] = SynthRecipe.volume,
    sentence_silence: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Pause between pieces.", rich_help_panel=VOICE),
    ] = SynthRecipe.sentence_silence,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            show_default="the model's own",
            help="Above 1 flattens the choice, below sharpens it.",
            rich_help_panel=CHOICE,
        ),
    ] = SynthRecipe.temperature,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            show_default="the model's own",
            help="Choose among the likeliest that hold this share.",
            rich_help_panel=CHOICE,
        ),
    ] = SynthRecipe.top_p,
    top_k: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            show_default="the model's own",
            help="Choose among this many.",
            rich_help_panel=CHOICE,
        ),
    ] = SynthRecipe.top_k,
    min_p: Annotated[
        float,
        typer.Option(
            metavar="P",
            help="Leave out what is below this share of the likeliest.",
            rich_help_panel=CHOICE,
        ),
    ] = SynthRecipe.min_p,
    greedy: Annotated[
        bool,
        typer.Option("--greedy", help="Always take the likeliest.", rich_help_panel=CHOICE),
    ] = SynthRecipe.greedy,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default="the model's own",
            help="Solver steps from tokens to sound.",
            rich_help_panel=CHOICE,
        ),
    ] = SynthRecipe.steps,
    retries: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="New attempts when a guard refuses the speech.",
            rich_help_panel=CHOICE,
        ),
    ] = SynthRecipe.retries,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            show_default="by the length of the text",
            help="Longest piece.",
            rich_help_panel=CHOICE,
        ),
    ] = SynthRecipe.max_seconds,
    format: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="by the file name",
            help="wav, flac, mp3 or opus.",
            autocompletion=complete_format,
            rich_help_panel=OUTPUT,
        ),
    ] = SynthRecipe.format,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ",
            min=4000,
            max=192_000,
            show_default="the model's own",
            help="Samples a second.",
            rich_help_panel=OUTPUT,
        ),
    ] = SynthRecipe.sample_rate,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Headerless 16-bit little-endian samples.", rich_help_panel=OUTPUT
        ),
    ] = SynthRecipe.raw,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Write sound while the model still speaks.", rich_help_panel=OUTPUT
        ),
    ] = SynthRecipe.stream,
    text_stream: Annotated[
        bool,
        typer.Option(
            "--text-stream",
            help="Speak stdin while it arrives, each sentence as soon as it is complete.",
            rich_help_panel=OUTPUT,
        ),
    ] = SynthRecipe.text_stream,
    force: Force = SynthRecipe.force,
    json: Json = False,
    config: Config = None,
    device: Device = SynthRecipe.device,
    dtype: DType = SynthRecipe.dtype,
    threads: Threads = SynthRecipe.threads,
    seed: Seed = SynthRecipe.seed,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Speak a text.

    Long texts are cut at sentences. Speech that cannot be right (no end, silence, the prompt
    spoken again) is thrown away and tried again with another seed.

    \b
    Examples:
      $ mamtra synth "Hello there." -o hello.wav
      $ mamtra synth -i letter.txt -m student --voice m1 -o letter.mp3
      $ mamtra synth "It is me." --clip me.wav --clip-text "What I said." -o me-too.wav
      $ echo "Good morning." | mamtra synth -o - --raw | aplay -f S16_LE -r 24000
      $ llm Hi | mamtra synth --text-stream --raw -o - | aplay -f S16_LE -r 24000
    """
    with Console.of(ctx) as console:
        recipe = read_recipe(SynthRecipe, ctx)
        if recipe.output == STDOUT and json:
            raise UsageError("`-o -` and `--json` both want stdout", "write the audio to a file")
        if recipe.output == STDOUT and sys.stdout.isatty():
            raise UsageError("audio does not belong on a terminal", "use a file or a pipe")
        arriving: Iterator[str] | None = None
        if recipe.text_stream:
            if input_file is not None or text not in ("", STDOUT):
                raise UsageError("`--text-stream` reads stdin", "leave out the text or the file")
            arriving = read_arriving()
        elif input_file is not None or text or not recipe.text:
            recipe = replace(recipe, text=read_text(text, input_file))
        from mamtra_cli.tasks.synth import synth as run

        result = run(recipe, console.report, arriving)
        if recipe.output == STDOUT:
            for line in words(result):
                console.report(Note(text=line))
        else:
            console.result(result, words(result))


def read_text(text: str, file: Path | None) -> str:
    """Return the text of the argument, of a file, or of stdin where it is a pipe."""
    if file is not None:
        if text:
            raise UsageError("a text and `--input-file` are both given", "give one of them")
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise TextError(f"`{file}` is not UTF-8 text", NOT_UTF8) from error
        except OSError as error:
            raise UsageError(f"cannot read `{file}`: {reason(error)}") from error
    if text and text != STDOUT:
        return text
    if not text and sys.stdin.isatty():
        raise UsageError("no text", 'give one: mamtra synth "Hello there." -o hello.wav')
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError("stdin is not UTF-8 text", NOT_UTF8) from error


def read_arriving() -> Iterator[str]:
    """Yield what arrives on stdin, as it arrives."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    stdin: Any = sys.stdin.buffer
    try:
        while data := stdin.read1(READ):
            yield decoder.decode(data)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise TextError("stdin is not UTF-8 text", NOT_UTF8) from error


def words(result: SynthResult) -> list[str]:
    """Return what was made, where, and the numbers."""
    rows = {
        "audio": f"{result.seconds:.2f} s at {result.sample_rate} Hz, voice {result.voice} "
        f"({result.mode}), seed {result.seed}",
        "speed": f"RTF {result.rtf:.2f} ({result.compute_seconds:.2f} s), first audio after "
        f"{result.first_audio_seconds:.2f} s, loading {result.load_seconds:.2f} s",
    }
    if result.rejected:
        rows["guards"] = f"{len(result.rejected)} attempts refused: {', '.join(result.rejected)}"
    return [result.output, *facts(rows)]
