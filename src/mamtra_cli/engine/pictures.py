"""Pictures as files: refused before any work where they cannot be, whole or not at all.

SVG, PNG or PDF by the name of the file, with the optional package matplotlib. Knows not what is
drawn.
"""

from pathlib import Path
from typing import Any

from mamtra_cli.audio import check_output
from mamtra_cli.errors import MissingDependencyError, UsageError
from mamtra_cli.publish import written_whole

SUFFIXES = (".svg", ".png", ".pdf")


def check_picture(path: Path, *, force: bool = False) -> None:
    """Refuse, before anything is measured, what could not be drawn, or would replace a file.

    Raises:
        UsageError: its name does not end in one of `SUFFIXES`.
        MissingDependencyError: matplotlib is not installed.
        OutputError: a file is there and `force` is not given, or none can be.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"`{path}` is no picture that can be drawn", f"end it in {', '.join(SUFFIXES)}"
        )
    need_matplotlib()
    check_output(path, force=force)


def need_matplotlib() -> None:
    """Fail where nothing can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "drawing needs the package matplotlib", "pip install 'mamtra-cli[plot]'"
        ) from None


def save_picture(figure: Any, path: Path, *, force: bool = False) -> None:
    """Write a figure of matplotlib; what is drawn the same gives the same bytes."""
    import matplotlib

    # No date, no random ids; text stays text.
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else None
    with (
        matplotlib.rc_context({"svg.hashsalt": "mamtra", "svg.fonttype": "none"}),
        written_whole(path, replace=force) as partial,
    ):
        figure.savefig(partial, format=kind, metadata=metadata)
