"""`mamtra eval`: flags to a recipe, the result to words."""

from pathlib import Path
from typing import Annotated

import typer

from mamtra_cli.cli.console import Console, facts, table
from mamtra_cli.cli.options import (
    Config,
    Device,
    DType,
    Json,
    Quiet,
    Seed,
    Threads,
    Verbose,
    read_recipe,
)
from mamtra_cli.recipes import EvalRecipe, EvalResult

SENTENCES = "Sentences"


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
            help="Scored in the same run, and compared with.",
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
        typer.Option(metavar="N", min=1, help="How many.", rich_help_panel=SENTENCES),
    ] = EvalRecipe.sentences,
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
    max_wer: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            show_default=False,
            help="Exit 3 above so many word errors.",
            rich_help_panel=SENTENCES,
        ),
    ] = EvalRecipe.max_wer,
    json: Json = False,
    config: Config = None,
    device: Device = EvalRecipe.device,
    dtype: DType = EvalRecipe.dtype,
    threads: Threads = EvalRecipe.threads,
    seed: Seed = EvalRecipe.seed,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a model: word errors, loss against its teacher, length.

    A recogniser that knows only the words of the test writes down what it hears. Its errors are
    for comparing models in one run; they are not those of people.

    \b
    Examples:
      $ mamtra eval mini --sentences 100
      $ mamtra eval student --teacher mini --max-wer 15
      $ mamtra eval student --texts sentences.txt --json
    """
    with Console.of(ctx) as console:
        recipe = read_recipe(EvalRecipe, ctx)
        from mamtra_cli.tasks.evaluate import evaluate as run
        from mamtra_cli.tasks.evaluate import missed

        result = run(recipe, console.report)
        console.result(result, words(result))
        limit = missed(recipe, result)
        if limit is not None:
            if json:
                raise typer.Exit(limit.exit_code)
            raise limit


def percent(value: float) -> str:
    """Return a share in words."""
    return f"{100 * value:.1f} %"


ROWS = {
    "wer": ("word errors", percent),
    "wer_low": ("  95 % from", percent),
    "wer_high": ("  95 % to", percent),
    "cer": ("character errors", percent),
    "refused": ("refused by guards", percent),
    "length_ratio": ("length to expected", "{:.2f}".format),
    "length_to_teacher": ("length to teacher", "{:.2f}".format),
    "rtf": ("real-time factor", "{:.3f}".format),
    "ce": ("CE on teacher's speech", "{:.3f}".format),
    "teacher_ce": ("  teacher's own", "{:.3f}".format),
    "kl": ("KL to teacher", "{:.3f}".format),
    "agreement": ("same likeliest token", percent),
}


def words(result: EvalResult) -> list[str]:
    """Return the scores as a table, the teacher's beside them."""
    columns = [result.scores, *([result.teacher_scores] if result.teacher_scores else [])]
    names = [result.model, *([f"{result.environment.get('teacher')}"] if columns[1:] else [])]
    lines = [
        (label, *(show(column[key]) if key in column else "-" for column in columns))
        for key, (label, show) in ROWS.items()
        if any(key in column for column in columns)
    ]
    about = {
        "sentences": f"{result.sentences}, {result.scores['words']:.0f} words, "
        f"{result.scores['audio_s']:.0f} s of speech",
        "recogniser": str(result.environment.get("recogniser")),
    }
    return ["scores", *facts(about), "", *table(("", *names), lines)]
