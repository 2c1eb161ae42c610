"""Draw `docs/figures/terminal.svg`: what a terminal shows of a few commands, as they ran.

python docs/draw_terminal.py
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

FIGURE = Path(__file__).parent / "figures" / "terminal.svg"
COLUMNS = 92
RUNS: tuple[list[str], ...] = (
    ["synth", "It is 5 p.m., and I still talk.", "-o", "hello.wav"],
    ["convert", "mini", "--ratio", "1:1", "-o", "student"],
    ["synth", "Half of me is a state-space model now.", "-m", "student", "-o", "student.wav"],
)
FONT_FROM_ELSEWHERE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def shown(arguments: list[str]) -> str:
    """A command as it is typed."""
    words = [f'"{word}"' if " " in word else word for word in arguments]
    return " ".join(["mamtra", *words])


def main() -> None:
    """Run the commands in an empty folder, nothing measured before, and draw what they said."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
    with tempfile.TemporaryDirectory() as folder:
        for arguments in RUNS:
            console.print(Text(f"$ {shown(arguments)}", style="bold"))
            done = subprocess.run(
                [sys.executable, "-m", "mamtra_cli", *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "COLUMNS": str(COLUMNS), "MAMTRA_CACHE": f"{folder}/.cache"},
            )
            console.print(Text(done.stdout))
    drawn = console.export_svg(title="mamtra", theme=MONOKAI)
    # The template names a font on the web; a picture fetches nothing.
    FIGURE.write_text(FONT_FROM_ELSEWHERE.sub("", drawn), encoding="utf-8")


if __name__ == "__main__":
    main()
