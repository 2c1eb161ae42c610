"""Do the floors of pyproject.toml admit a version with a known hole? Exit code 1 where one does.

The holes are those of `holes.txt`: a list that is kept, so that the answer needs no network.
"""

import re
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def version(text: str) -> tuple[int, ...]:
    """The numbers of a version, without zeros at its end."""
    numbers = [int(part) for part in re.findall(r"\d+", text)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def floors(project: dict[str, object]) -> dict[str, set[str]]:
    """Every package that is named, with its lowest versions; "" where it has none."""
    told = project["project"]
    assert isinstance(told, dict)
    named = [*told["dependencies"]]
    for extra in told["optional-dependencies"].values():
        named += extra
    found: dict[str, set[str]] = {}
    for line in named:
        name = re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
        least = re.search(r">=\s*([\w.]+)", line)
        found.setdefault(name, set()).add(least[1] if least else "")
    return found


def main() -> int:
    """Compare and tell."""
    known = floors(tomllib.loads((HERE.parent / "pyproject.toml").read_text()))
    wrong = 0
    for line in (HERE / "holes.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, fixed, hole, what = line.split(maxsplit=3)
        for least in known.get(name, ()):
            if version(least) < version(fixed):
                sys.stderr.write(f"{name}>={least} admits {hole} ({what}): use >={fixed}\n")
                wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
