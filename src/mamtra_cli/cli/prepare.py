"""`mamtra prepare`: flags to a recipe, the result to words."""

import typer

from mamtra_cli.cli.console import Console, amount, facts, size, table
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.prepare import PrepareRecipe, PrepareResult


@command(PrepareRecipe)
def prepare(recipe: PrepareRecipe, console: Console) -> None:
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
    from mamtra_cli.tasks.prepare import missed
    from mamtra_cli.tasks.prepare import prepare as run

    result = run(recipe, console.report)
    console.result(result, words(result))
    if result.problems:
        raise typer.Exit(1)
    console.missed(missed(recipe, result))


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
