"""`mamtra push`: flags to a recipe, the result to words."""

from mamtra_cli.cli.console import Console, facts, size, table
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.push import PushRecipe, PushResult


@command(PushRecipe)
def push(recipe: PushRecipe, console: Console) -> None:
    """Upload a model and its card to the Hugging Face Hub.

    The token comes from `HF_TOKEN` or from `hf auth login`. Voices go along only when named.

    \b
    Examples:
      $ mamtra push student org/name --dry-run
      $ mamtra push student org/name --tag v1
    """
    from mamtra_cli.tasks.push import push as run

    result = run(recipe, console.report)
    console.result(result, words(result))


def words(result: PushResult) -> list[str]:
    """Return the table of a dry run, or where the files are now."""
    total = f"{len(result.files)}, {size(result.bytes)}"
    rows = {"files": total, "license": result.license}
    if result.dry_run:
        lines = table(("file", "size"), [(f.name, size(f.bytes)) for f in result.files])
        return [*lines, f"would push to {result.url}", *facts(rows)]
    rows["commit"] = f"{result.commit} (unchanged)" if result.unchanged else str(result.commit)
    if result.tag:
        rows["tag"] = result.tag
    rows["next"] = f'mamtra synth "Hello there." -m {result.repo} -o hello.wav'
    return [result.url, *facts(rows)]
