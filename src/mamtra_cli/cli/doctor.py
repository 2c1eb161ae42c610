"""`mamtra doctor`: what is installed here, what runs, and why."""

from mamtra_cli.cli.console import Console, facts
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.doctor import DoctorRecipe, DoctorResult


@command(DoctorRecipe, config=False)
def doctor(recipe: DoctorRecipe, console: Console) -> None:
    """Show what is installed, which device and kernels run, and why.

    \b
    Examples:
      $ mamtra doctor
      $ mamtra doctor --device cuda:1 --json
    """
    from mamtra_cli.tasks.doctor import doctor as run

    result = run(recipe)
    console.result(result, words(result))


def words(result: DoctorResult) -> list[str]:
    """Return the versions, the device and the implementations as columns."""
    rows = {
        "python": f"{result.python} on {result.platform}",
        "device": f"{result.device} {result.dtype}, {result.threads} threads",
        "": result.reason,
    }
    packages = {name: version or "not installed" for name, version in result.packages.items()}
    return [
        f"mamtra {result.mamtra}",
        *facts(rows),
        "models built in" if result.models else "no model is built in",
        *facts(result.models),
        "packages",
        *facts(packages),
        "implementations",
        *facts(result.ops),
    ]
