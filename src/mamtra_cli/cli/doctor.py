"""`mamtra doctor`: what is installed here, what runs, and why."""

import typer

from mamtra_cli.cli.console import Console, facts
from mamtra_cli.cli.options import Device, DType, Json, Quiet, Threads, Verbose
from mamtra_cli.recipes import DoctorRecipe, DoctorResult


def doctor(
    ctx: typer.Context,
    json: Json = False,
    device: Device = DoctorRecipe.device,
    dtype: DType = DoctorRecipe.dtype,
    threads: Threads = DoctorRecipe.threads,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what is installed, which device and kernels run, and why.

    \b
    Examples:
      $ mamtra doctor
      $ mamtra doctor --device cuda:1 --json
    """
    with Console.of(ctx) as console:
        from mamtra_cli.tasks.doctor import doctor as run

        result = run(DoctorRecipe(device=device, dtype=dtype, threads=threads))
        console.result(result, words(result))


def words(result: DoctorResult) -> list[str]:
    """Return the versions, the device and the implementations as columns."""
    rows = {
        "python": f"{result.python} on {result.platform}",
        "device": f"{result.device} {result.dtype}, {result.threads} threads",
        "": result.reason,
        "models": ", ".join(result.models) or "none built in",
    }
    packages = {name: version or "not installed" for name, version in result.packages.items()}
    return [
        f"mamtra {result.mamtra}",
        *facts(rows),
        "packages",
        *facts(packages),
        "implementations",
        *facts(result.ops),
    ]
