"""Every knob of `push`, and what it returns."""

from dataclasses import dataclass
from pathlib import Path

from mamtra_cli.recipes.shared import FileEntry


@dataclass(frozen=True, kw_only=True)
class PushRecipe:
    """Upload a model folder and its card."""

    folder: Path | None = None
    repo: str = ""  # org/name
    revision: str = "main"  # branch to write
    private: bool = False
    tag: str = ""  # name for the commit; "" makes none
    message: str = ""  # commit subject; "" is made from the card
    voices: tuple[str, ...] = ()  # voices to include; none goes unnamed
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """What `push` uploaded, or would upload."""

    repo: str
    url: str
    license: str
    dry_run: bool
    files: tuple[FileEntry, ...]
    bytes: int
    commit: str | None  # None on a dry run
    unchanged: bool  # the hub already had exactly these files
    tag: str
