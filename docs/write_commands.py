"""Write `docs/commands/`: a page for each command, its help as it is.

    python docs/write_commands.py

`tests/cli/test_help.py` holds the pages in step with the help, and writes them with
`MAMTRA_WRITE_HELP=1` as well.
"""

import contextlib
import io
import os
from pathlib import Path

from mamtra_cli.cli.app import COMMANDS, run

PAGES = Path(__file__).parent / "commands"
GROUPS = {"voice": ("add", "list", "show", "remove")}
INNER = [f"{group} {name}" for group, names in GROUPS.items() for name in names]
ALL = ("", *COMMANDS, *INNER)


def name_of(command: str) -> str:
    """File name of a command's page, without its ending."""
    return command.replace(" ", "-") or "mamtra"


def page(command: str, help: str) -> str:
    """The page of a command: a title, where to read more, and its help."""
    title = f"mamtra {command}".strip()
    parts = [f"# {title}"]
    if not command:
        links = [f"[`{name}`]({name_of(name)}.md)" for name in ALL if name]
        parts.append(f"Each command has a page: {', '.join(links)}.")
    parts.append(f"```text\n{help.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write all pages, and remove those of commands that are gone."""
    os.environ["COLUMNS"] = "100"
    PAGES.mkdir(exist_ok=True)
    for path in PAGES.glob("*.md"):
        path.unlink()
    for command in ALL:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            run([*command.split(), "--help"])
        path = PAGES / f"{name_of(command)}.md"
        path.write_text(page(command, out.getvalue()), encoding="utf-8")


if __name__ == "__main__":
    main()
