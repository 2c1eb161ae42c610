"""`mamtra export`: flags to a recipe, the result to words."""

from mamtra_cli.cli.console import Console, facts, size
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.export import ExportRecipe, ExportResult


@command(ExportRecipe)
def export(recipe: ExportRecipe, console: Console) -> None:
    """Write a model as ONNX graphs beside its weights.

    The folder speaks here without torch, and its graphs run in any program that has ONNX Runtime:
    see examples/onnx_program.py.

    \b
    Examples:
      $ mamtra export mini -o mini-onnx
      $ mamtra export student --to onnx -o student-onnx --json
      $ mamtra export mini --quant int8 -o mini-int8
    """
    from mamtra_cli.tasks.export import export as run

    result = run(recipe, console.report)
    console.result(result, words(result))


def words(result: ExportResult) -> list[str]:
    """Return the graphs, and how close they come to the modules."""
    rows = {name: size(count) for name, count in result.graphs.items()}
    rows["folder"] = size(result.bytes)
    told = f"scores within {result.scores:.1e}, samples within {result.samples:.1e}"
    if result.quant != "none":
        told += f"; {result.quant}: same token {result.top1:.0%}, KL {result.kl:.1e}"
    rows["parity"] = told
    rows["next"] = f'mamtra synth "Hello there." -m {result.output} -o hello.wav'
    return [result.output, *facts(rows)]
