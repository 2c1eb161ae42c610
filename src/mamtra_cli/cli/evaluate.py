"""`mamtra eval`: flags to a recipe, the result to words."""

from pathlib import Path
from typing import Annotated

import typer

from mamtra_cli.cli.console import Console, facts, table
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
    read_recipe,
)
from mamtra_cli.recipes import EvalRecipe, EvalResult

SENTENCES = "Sentences"
JUDGES = "Judges"
LIMITS = "Limits (exit 3 where missed)"


def evaluate(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Model to score: a folder, org/name[@revision] or `mini`."
        ),
    ] = EvalRecipe.model,
    teacher: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            show_default="the model's own",
            help="Scored in the same run, and compared with; `none` for no teacher.",
            rich_help_panel=SENTENCES,
        ),
    ] = EvalRecipe.teacher,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "--texts",
            metavar="FILE",
            show_default="built-in sentences",
            help="Sentences: one a line, or JSONL with `text`.",
            rich_help_panel=SENTENCES,
        ),
    ] = EvalRecipe.data,
    sentences: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="How many of them.", rich_help_panel=SENTENCES),
    ] = EvalRecipe.sentences,
    list_file: Annotated[
        Path | None,
        typer.Option(
            "--list",
            metavar="FILE",
            show_default=False,
            help="A list of Seed-TTS-eval, name|prompt text|prompt wav|text: its rules, its "
            "voices, all of it.",
            rich_help_panel=SENTENCES,
        ),
    ] = EvalRecipe.list_file,
    limit: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            show_default="all",
            help="Only the first of the list.",
            rich_help_panel=SENTENCES,
        ),
    ] = EvalRecipe.limit,
    language: Annotated[
        str,
        typer.Option(
            "--lang",
            metavar="NAME",
            help="Of the list: en (words) or zh (characters).",
            rich_help_panel=SENTENCES,
        ),
    ] = EvalRecipe.language,
    voice: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="the model's first",
            help="A voice of the model, or a voice file.",
            rich_help_panel=SENTENCES,
        ),
    ] = EvalRecipe.voice,
    seeds: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Times each is spoken.", rich_help_panel=SENTENCES),
    ] = EvalRecipe.seeds,
    retries: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="New attempts for what a guard refused.",
            rich_help_panel=SENTENCES,
        ),
    ] = EvalRecipe.retries,
    rows: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Spoken together.", rich_help_panel=SENTENCES),
    ] = EvalRecipe.rows,
    asr: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Who listens: pocketsphinx, whisper:MODEL (a folder or org/name[@revision]) or "
            "command:CMD (WAV paths in, lines of text out).",
            rich_help_panel=JUDGES,
        ),
    ] = EvalRecipe.asr,
    similarity: Annotated[
        str,
        typer.Option(
            "--sim",
            metavar="NAME",
            help="Who compares voices: auto, own, campplus[:FILE], wavlm:MODEL or none.",
            rich_help_panel=JUDGES,
        ),
    ] = EvalRecipe.similarity,
    utmos: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Weights that guess opinions (extra `utmos`), auto or none.",
            rich_help_panel=JUDGES,
        ),
    ] = EvalRecipe.utmos,
    rounds: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Drawings of the bootstrap.", rich_help_panel=JUDGES),
    ] = EvalRecipe.rounds,
    max_wer: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            show_default=False,
            help="Word errors: of the set, or with --list the mean of its utterances.",
            rich_help_panel=LIMITS,
        ),
    ] = EvalRecipe.max_wer,
    max_wer_increase: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            show_default=False,
            help="Word errors above the teacher's.",
            rich_help_panel=LIMITS,
        ),
    ] = EvalRecipe.max_wer_increase,
    min_similarity: Annotated[
        float | None,
        typer.Option(
            metavar="COSINE",
            show_default=False,
            help="Mean similarity of the voice.",
            rich_help_panel=LIMITS,
        ),
    ] = EvalRecipe.min_similarity,
    max_failures: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            show_default=False,
            help="Sentences refused, or over half of whose words are wrong.",
            rich_help_panel=LIMITS,
        ),
    ] = EvalRecipe.max_failures,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Folder to write with tables, plots and sound; new or empty unless --force.",
            rich_help_panel=OUTPUT,
        ),
    ] = EvalRecipe.report,
    samples: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Sentences to hear in it.", rich_help_panel=OUTPUT),
    ] = EvalRecipe.samples,
    audio_format: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Their format: flac, opus, mp3 or wav.", rich_help_panel=OUTPUT
        ),
    ] = EvalRecipe.audio_format,
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="JSONL to write, one utterance a line.",
            rich_help_panel=OUTPUT,
        ),
    ] = EvalRecipe.records,
    force: Force = EvalRecipe.force,
    json: Json = False,
    config: Config = None,
    device: Device = EvalRecipe.device,
    dtype: DType = EvalRecipe.dtype,
    threads: Threads = EvalRecipe.threads,
    seed: Seed = EvalRecipe.seed,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a model: word errors, likeness of the voice, length, closeness to its teacher.

    The default recogniser knows only the words of the test. Its errors are for comparing models
    in one run; they are not those of people, nor those that papers report.

    \b
    Examples:
      $ mamtra eval mini --sentences 100
      $ mamtra eval student --teacher mini --max-wer-increase 2 --report scores
      $ mamtra eval student --list en/meta.lst --asr whisper:openai/whisper-large-v3
    """
    with Console.of(ctx) as console:
        recipe = read_recipe(EvalRecipe, ctx)
        from mamtra_cli.tasks.evaluate import evaluate as run
        from mamtra_cli.tasks.evaluate import missed

        result = run(recipe, console.report)
        console.result(result, words(result))
        error = missed(result)
        if error is not None:
            if json:
                raise typer.Exit(error.exit_code)
            raise error


def words(result: EvalResult) -> list[str]:
    """Return the scores as tables, the teacher's beside them."""
    from mamtra_cli.engine.judging.report import direct_rows, score_rows

    head: tuple[str, ...] = ("", result.model)
    if result.teacher is not None:
        head = ("", result.model, result.teacher_model, "difference")
    rows = score_rows(result.scores, result.teacher, result.difference, result.rules)
    values = result.scores.values
    about = {
        "sentences": f"{result.sentences}, {values['words']:.0f} words, "
        f"{values['audio_s']:.0f} s of speech",
        "recogniser": result.recogniser.get("name", ""),
        "intervals": "95 %, bootstrap over sentences",
    }
    if "name" in result.similarity:
        about["similarity"] = result.similarity["name"]
    lines = ["scores", *facts(about), "", *table(head, rows)]
    if result.difference is not None:
        lines += ["", *table(("student to teacher", ""), direct_rows(result.difference))]
    if result.absent:
        lines += ["", "not measured", *facts(result.absent)]
    if result.report is not None:
        lines += ["", f"report  {result.report}/report.md"]
    return lines
