"""`mamtra prepare`: flags to a recipe, the result to words."""

from pathlib import Path
from typing import Annotated

import typer

from mamtra_cli.cli.console import Console, amount, facts, size, table
from mamtra_cli.cli.options import (
    Config,
    Device,
    DryRun,
    DType,
    Json,
    Quiet,
    Seed,
    Threads,
    Verbose,
    read_recipe,
)
from mamtra_cli.recipes import PrepareRecipe, PrepareResult

INPUT = "Input"
SPEECH = "Synthetic speech"
JOBS = "Jobs"
OUTPUT = "Output"
FORMATS = "jsonl, csv, libritts, ljspeech, folder, hf, lhotse or webdataset"


def complete_format() -> list[str]:
    """Return the names `--format` takes."""
    return FORMATS.replace(" or ", ", ").split(", ")


def prepare(
    ctx: typer.Context,
    input: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Corpus: a file, a folder or org/name[@revision]; texts with --synthetic.",
        ),
    ] = PrepareRecipe.input,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="MAMTRA_MODEL",
            show_envvar=True,
            show_default="mini",
            help="Model whose tokens to write: a folder or org/name[@revision].",
            rich_help_panel=INPUT,
        ),
    ] = PrepareRecipe.model,
    format: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="found by looking",
            help=f"Kind of the input: {FORMATS}.",
            autocompletion=complete_format,
            rich_help_panel=INPUT,
        ),
    ] = PrepareRecipe.format,
    files: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            show_default=False,
            help="Only such files of a folder or repository, as '*dev*'.",
            rich_help_panel=INPUT,
        ),
    ] = PrepareRecipe.files,
    text_key: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="the usual one",
            help="Key or column of the text; LibriTTS: normalized or original.",
            rich_help_panel=INPUT,
        ),
    ] = PrepareRecipe.text_key,
    audio_key: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="the usual one",
            help="Column of the audio.",
            rich_help_panel=INPUT,
        ),
    ] = PrepareRecipe.audio_key,
    min_seconds: Annotated[
        float,
        typer.Option(metavar="S", min=0, help="Shortest clip to use.", rich_help_panel=INPUT),
    ] = PrepareRecipe.min_seconds,
    max_seconds: Annotated[
        float,
        typer.Option(metavar="S", min=0, help="Longest clip to use.", rich_help_panel=INPUT),
    ] = PrepareRecipe.max_seconds,
    max_bad: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            min=0,
            show_default=False,
            help="Exit 3 where more of the input cannot be used.",
            rich_help_panel=INPUT,
        ),
    ] = PrepareRecipe.max_bad,
    synthetic: Annotated[
        bool,
        typer.Option(
            "--synthetic",
            help="Let the model speak texts (one a line, or JSONL) in place of recordings.",
            rich_help_panel=SPEECH,
        ),
    ] = PrepareRecipe.synthetic,
    tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Speech tokens to make of built-in sentences, where no texts are given.",
            rich_help_panel=SPEECH,
        ),
    ] = PrepareRecipe.tokens,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            min=0,
            show_default="the model's own",
            help="Sampling temperature; 0 is greedy.",
            rich_help_panel=SPEECH,
        ),
    ] = PrepareRecipe.temperature,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            show_default="the model's own",
            help="Probability mass to draw from.",
            rich_help_panel=SPEECH,
        ),
    ] = PrepareRecipe.top_p,
    top_k: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            show_default="the model's own",
            help="Most candidates to draw from; 0 is all.",
            rich_help_panel=SPEECH,
        ),
    ] = PrepareRecipe.top_k,
    retries: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="New attempts for a sentence that a guard refused.",
            rich_help_panel=SPEECH,
        ),
    ] = PrepareRecipe.retries,
    shard: Annotated[
        str,
        typer.Option(
            metavar="K/N",
            show_default="SLURM's array task, else all",
            help="Do the K-th of N parts, 1/N to N/N.",
            rich_help_panel=JOBS,
        ),
    ] = PrepareRecipe.shard,
    shard_rows: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Rows of a file at most.", rich_help_panel=JOBS),
    ] = PrepareRecipe.shard_rows,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            show_default=False,
            help="Folder to write, or to add to.",
            rich_help_panel=OUTPUT,
        ),
    ] = PrepareRecipe.output,
    plot: Annotated[
        bool,
        typer.Option(help="Draw lengths.svg (extra `plot`).", rich_help_panel=OUTPUT),
    ] = PrepareRecipe.plot,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Verify a prepared folder, INPUT, and show its numbers.",
            rich_help_panel=OUTPUT,
        ),
    ] = PrepareRecipe.check,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Remove the prepared data that are there.", rich_help_panel=OUTPUT
        ),
    ] = PrepareRecipe.force,
    dry_run: DryRun = PrepareRecipe.dry_run,
    json: Json = False,
    config: Config = None,
    device: Device = PrepareRecipe.device,
    dtype: DType = PrepareRecipe.dtype,
    threads: Threads = PrepareRecipe.threads,
    seed: Seed = PrepareRecipe.seed,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn speech, or texts the model speaks, into data for `mamtra distill`.

    Writes Parquet files of text ids, speech tokens and speaker vectors. Running it again goes on
    where it was stopped, and redoes what changed. What cannot be used is listed in bad.jsonl.

    \b
    Examples:
      $ mamtra prepare LibriTTS_R/train-clean-100 -o prepared
      $ mamtra prepare corpus.jsonl -o prepared --shard 2/8
      $ mamtra prepare --synthetic --tokens 100000 -o spoken
      $ mamtra prepare --check prepared
    """
    with Console.of(ctx) as console:
        recipe = read_recipe(PrepareRecipe, ctx)
        from mamtra_cli.tasks.prepare import missed
        from mamtra_cli.tasks.prepare import prepare as run

        result = run(recipe, console.report)
        console.result(result, words(result))
        if result.problems:
            raise typer.Exit(1)
        limit = missed(recipe, result)
        if limit is not None:
            if json:
                raise typer.Exit(limit.exit_code)
            raise limit


def words(result: PrepareResult) -> list[str]:
    """Return what was made, where, its numbers and the next command."""
    causes = ", ".join(f"{count} {cause}" for cause, count in result.causes.items())
    bad = f"{result.bad} ({causes})" if causes else f"{result.bad}"
    if result.dry_run:
        rows = {"format": result.format, "part": result.part, "entries": f"{result.entries}"}
        return [f"would write {result.output}", *facts({**rows, "bad": bad})]
    found = result.statistics
    rows = {}
    if result.format != "prepared":
        rows["entries"] = f"{result.entries} of part {result.part} ({result.format})"
        rows["rows"] = (
            f"{result.written} new, {result.kept} there already, {result.replaced} replaced"
        )
        rows["bad"] = bad
    if found:
        rows["holds"] = (
            f"{found['rows']} rows, {found['hours']:.2f} h, {amount(found['tokens'])} tokens"
        )
        rows["files"] = f"{found['shards']}, {size(found['bytes'])}"
        rows["tokenizer"] = ", ".join(
            value[:12] or "unknown" for value in found["speech_tokenizer"]
        )
    lines = [str(result.output), *facts(rows)]
    if found:
        head = ("", "least", "5 %", "median", "95 %", "most")
        names = ("p0", "p5", "p50", "p95", "p100")
        shown = [
            (name.replace("_", " "), *(f"{values[q]:.4g}" for q in names))
            for name, values in found["quantiles"].items()
        ]
        lines += ["", *table(head, shown)]
    if result.problems:
        return [*lines, "", f"{len(result.problems)} problems", *result.problems]
    if result.format != "prepared" and found:
        lines += ["", *facts({"next": f"mamtra distill STUDENT --data {result.output} -o tuned"})]
    return lines
