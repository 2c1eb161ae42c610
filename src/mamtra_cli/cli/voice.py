"""`mamtra voice add|list|show|remove`: flags to recipes, results to words."""

import typer

from mamtra_cli.cli.console import Console, facts, size, table, write_line
from mamtra_cli.cli.help import CONTEXT, HeadedCommand, OrderedGroup
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.voice import (
    VoiceAddRecipe,
    VoiceAddResult,
    VoiceEntry,
    VoiceListRecipe,
    VoiceListResult,
    VoiceRemoveRecipe,
    VoiceShowRecipe,
)

voice = typer.Typer(
    name="voice",
    cls=OrderedGroup,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=CONTEXT,
)


@voice.callback(invoke_without_command=True)
def group(ctx: typer.Context) -> None:
    """Copy voices from clips, and keep them as files.

    \b
    Examples:
      $ mamtra voice add ann ann.wav --text "What Ann says." --consent "Ann agreed today."
      $ mamtra synth "In Ann's voice." --voice ann -o hello.wav
    """
    if ctx.invoked_subcommand is None:
        write_line(ctx.get_help())


@voice.command("add", cls=HeadedCommand, context_settings=CONTEXT)
@command(VoiceAddRecipe)
def add(recipe: VoiceAddRecipe, console: Console) -> None:
    """Copy a voice from a clip.

    The clip must be 1 to 30 s long, at least 8 kHz, neither silent nor clipped, and say the
    text; docs/voices.md lists the limits. The voice works with models that share the tokenizer,
    speaker encoder and text front end of --model: a hybrid converted from it, for example.

    \b
    Examples:
      $ mamtra voice add ann ann.wav --text "What Ann says." --consent "Ann agreed today."
      $ mamtra synth "In Ann's voice." --voice ann -o hello.wav
    """
    from mamtra_cli.tasks.voice import add_voice

    result = add_voice(recipe, console.report)
    console.result(result, words_of_add(result))


@voice.command("list", cls=HeadedCommand, context_settings=CONTEXT)
@command(VoiceListRecipe, config=False)
def list_voices(recipe: VoiceListRecipe, console: Console) -> None:
    """List your voices.

    \b
    Examples:
      $ mamtra voice list
      $ mamtra voice list -m mini --samples voices
    """
    from mamtra_cli.tasks.voice import list_all

    result = list_all(recipe, console.report)
    console.result(result, words_of_list(result))


@voice.command("show", cls=HeadedCommand, context_settings=CONTEXT)
@command(VoiceShowRecipe, config=False)
def show(recipe: VoiceShowRecipe, console: Console) -> None:
    """Show what is in a voice.

    Transcript, consent, facts of the clip, and the model it belongs to.

    \b
    Examples:
      $ mamtra voice show ann
      $ mamtra voice show ./ann.safetensors --json
    """
    from mamtra_cli.tasks.voice import show as run

    result = run(recipe, console.report)
    console.result(result, words_of_voice(result.voice))


@voice.command("remove", cls=HeadedCommand, context_settings=CONTEXT)
@command(VoiceRemoveRecipe, config=False)
def remove(recipe: VoiceRemoveRecipe, console: Console) -> None:
    """Delete one of your voices.

    \b
    Examples:
      $ mamtra voice remove ann
    """
    from mamtra_cli.tasks.voice import remove_voice

    result = remove_voice(recipe, console.report)
    console.result(result, [f"removed {result.path}"])


def words_of_add(result: VoiceAddResult) -> list[str]:
    """Return what was written, and what to do with it."""
    name = result.voice.name
    return [
        *words_of_voice(result.voice),
        *facts({"next": f'mamtra synth "Hello there." --voice {name} -o hello.wav'}),
    ]


def words_of_list(result: VoiceListResult) -> list[str]:
    """Return a table of voices."""
    rows = [
        (
            entry.name,
            entry.mode,
            f"{entry.facts.clip.seconds:.1f} s" if entry.facts else "-",
            entry.facts.model if entry.facts else "-",
            size(entry.bytes),
        )
        for entry in result.voices
    ]
    head = ("voice", "mode", "clip", "made with", "size")
    lines = table(head, rows, left=4) if rows else [f"no voices in {result.folder}"]
    if result.model_voices:
        lines.append(f"of the model: {', '.join(result.model_voices)}")
    lines += [f"sample: {path}" for path in result.samples]
    return [*lines, *(f"unusable: {message}" for message in result.damaged)]


def words_of_voice(entry: VoiceEntry) -> list[str]:
    """Return the facts of a voice."""
    rows = {"mode": entry.mode, "size": size(entry.bytes)}
    if entry.prompt_tokens:
        rows["prompt"] = f"{entry.prompt_tokens} tokens"
    if entry.facts is not None:
        known, clip = entry.facts, entry.facts.clip
        rows |= {
            "clip": f"{clip.seconds:.2f} s at {clip.sample_rate} Hz, {clip.channels} "
            f"{'channel' if clip.channels == 1 else 'channels'}, peak {clip.peak:.1f} dB, "
            f"loudness {clip.loudness:.1f} dB",
            "says": known.transcript or "(no transcript)",
            "consent": f"{known.consent} (stated {known.consent_date})",
            "made with": f"{known.model}, mamtra {known.mamtra}, text rules `{known.normalizer}`",
            "hashes": f"speech tokenizer {known.speech_tokenizer[:12]}, speaker encoder "
            f"{known.speaker_encoder[:12]}, text front end {known.front_end[:12]}",
        }
        if known.language_model:
            rows["prefilled"] = (
                f"for language model {known.language_model[:12]} in {known.language_model_dtype}"
            )
    return [entry.path, *facts(rows)]
