"""Where the sound of a recipe goes while it is made, and the subtitles beside it.

A file or a pipe, the ears of who sits here, or both; whoever makes the sound.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mamtra_cli import __version__
from mamtra_cli.audio import RAW, AudioWriter, Samples, check_output, check_rate, choose_format
from mamtra_cli.errors import OutputError, TextError, UsageError
from mamtra_cli.playing import open_player
from mamtra_cli.publish import write_whole
from mamtra_cli.recipes.synth import SynthRecipe
from mamtra_cli.recipes.times import TimedPiece
from mamtra_cli.text.encoding import read_text

STDOUT = "-"


def check_source(recipe: SynthRecipe) -> None:
    """Refuse a recipe without an output, or with two texts."""
    if not recipe.output and not recipe.play:
        raise UsageError("no output", "name a file, `-o out.wav`, or `-o -` for a pipe")
    if recipe.input_file and recipe.text:
        raise UsageError("a text and `--input-file` are both given", "give one of them")
    if len(recipe.input_file) > 1 or any(map(Path.is_dir, recipe.input_file)):
        raise UsageError("many texts become many files", "name a folder for them: `-d out`")


def text_of(recipe: SynthRecipe) -> str:
    """The text of a recipe, or of the file that it names.

    Raises:
        TextError: it is empty, and none arrives later.
    """
    text = read_text(recipe.input_file[0]) if recipe.input_file else recipe.text
    if not text.strip() and not recipe.text_stream:
        raise TextError("the text is empty", "give a sentence to speak")
    return text


def check_files(recipe: SynthRecipe) -> str:
    """Look at every file that is to be written; returns the format of the sound.

    Raises:
        OutputError: one is there, or cannot be.
        UsageError: the format is unknown, or does not have the rate.
    """
    if recipe.output.endswith(("/", os.sep)):
        raise OutputError(f"output `{recipe.output}` is a folder", "name a file in it")
    format = RAW if recipe.raw else choose_format(recipe.format, recipe.output)
    output = Path(recipe.output) if recipe.output not in ("", STDOUT) else None
    for path in (output, recipe.srt, recipe.vtt):
        if path is not None:
            check_output(path, force=recipe.force)
    if recipe.sample_rate is not None:
        check_rate(format, recipe.sample_rate)
    return format


def write_subtitles(recipe: SynthRecipe, spoken: Sequence[TimedPiece]) -> None:
    """Write the subtitles that a recipe asks for."""
    for path, format in ((recipe.srt, "srt"), (recipe.vtt, "vtt")):
        if path is not None:
            from mamtra_cli.text.subtitles import subtitles

            write_whole(path, subtitles(spoken, format), replace=recipe.force)


def speech_tags(model: str, voice: str, seed: int) -> dict[str, str]:
    """What a file of speech says of itself; a voice that was not named is left out."""
    who = f"model {model}; voice {voice}" if voice else f"model {model}"
    comment = f"synthetic speech; {who}; seed {seed}"
    return {"ISFT": f"mamtra {__version__}", "ICMT": comment}


@contextmanager
def sound_sink(
    recipe: SynthRecipe, *, rate: int, format: str, model: str, voice: str
) -> Iterator[Callable[[Samples], None]]:
    """Takes samples (S,) float32 until it is left; a file appears whole then, or not at all.

    Args:
        recipe: where it goes: a file, `-` for stdout, "" for none; and whether it is played.
        rate: samples a second of what comes.
        format: of the file, as `check_files` gave it.
        model, voice: who speaks, which the file says of itself.
    """
    with ExitStack() as stack:
        taken: list[Callable[[Samples], None]] = []
        if recipe.output:
            writer = AudioWriter(
                sys.stdout.buffer if recipe.output == STDOUT else Path(recipe.output),
                sample_rate=rate,
                format=format,
                output_rate=recipe.sample_rate,
                tags=speech_tags(model, voice, recipe.seed),
                force=recipe.force,
            )
            taken.append(stack.enter_context(writer).write)
        if recipe.play:
            player = open_player(rate)
            stack.callback(player.close)
            taken.append(player.write)

        def take(samples: Samples) -> None:
            for one in taken:
                one(samples)

        yield take
