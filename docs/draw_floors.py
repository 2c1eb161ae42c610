"""Draw the floors of the code from its own imports: `python docs/draw_floors.py`.

Floors and their order are those of the import contract in pyproject.toml, rooms are the folders on
them, and a line joins two rooms where one imports the other. Writes docs/figures/floors.svg; with
a path, there. Reads source text only: nothing of the package is imported.
"""

import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "mamtra_cli"
GROUND = "ground"
WIDTH, BAND, PAD, NAME = 1180, 96, 14, 120
SHADES = ("#f4f6f8", "#eaeef2")


@dataclass(frozen=True, kw_only=True)
class Room:
    """A folder of a floor, or the floor's own files."""

    floor: str
    name: str

    @property
    def label(self) -> str:
        """What is written on it."""
        return self.name or "(itself)"


def floors() -> list[str]:
    """Folders of the import contract, the highest first; single files are the ground."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(one for one in contracts["contracts"] if one["type"] == "layers")["layers"]
    named = [name.strip().removeprefix("mamtra_cli.") for row in layers for name in row.split("|")]
    return [name for name in named if len(list(SOURCE.glob(f"{name}/**/*.py"))) > 1] + [GROUND]


def room_of(module: str, known: list[str]) -> Room | None:
    """Where a module lives; `None` for those outside of the package."""
    names = module.split(".")
    if names[0] != "mamtra_cli" or len(names) == 1:
        return None
    floor = names[1] if names[1] in known else GROUND
    if floor == GROUND:
        return Room(floor=GROUND, name="")
    inner = len(names) > 2 and (SOURCE / names[1] / names[2]).is_dir()
    return Room(floor=floor, name=names[2] if inner else "")


def imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module.count(".") < 3:
                yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def survey() -> tuple[list[str], Counter[Room], set[tuple[Room, Room]]]:
    """Floors, lines of each room, and which room imports which."""
    known = floors()
    lines: Counter[Room] = Counter()
    arrows: set[tuple[Room, Room]] = set()
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        here = room_of(module, known)
        if here is None:
            continue
        lines[here] += len(path.read_text().splitlines())
        there = {room_of(name, known) for name in imports(path)} - {None, here}
        arrows |= {(here, room) for room in there if room is not None}
    return known, lines, {(a, b) for a, b in arrows if b in lines}


def draw() -> str:
    """The picture as SVG."""
    known, lines, arrows = survey()
    places: dict[Room, tuple[float, float, float]] = {}
    shapes = []
    for number, floor in enumerate(known):
        top = number * BAND
        band = f'y="{top}" width="{WIDTH}" height="{BAND}" fill="{SHADES[number % 2]}"'
        shapes.append(f"<rect {band}/>")
        shapes.append(f'<text x="{PAD}" y="{top + BAND / 2 + 5}" class="floor">{floor}</text>')
        rooms = sorted((room for room in lines if room.floor == floor), key=lambda room: room.name)
        each = (WIDTH - NAME - PAD) / max(1, len(rooms))
        for place, room in enumerate(rooms):
            places[room] = (NAME + place * each + 4, top + 24, each - 8)
    for one, other in sorted(arrows, key=str):
        (x, y, w), (u, v, s) = places[one], places[other]
        if one.floor != other.floor:
            path = f"M{x + w / 2:.0f} {y + 48} L{u + s / 2:.0f} {v}"
            shapes.append(f'<path d="{path}" class="down"/>')
    for room, (x, y, w) in places.items():
        shapes.append(f'<rect x="{x:.0f}" y="{y}" width="{w:.0f}" height="48" class="room"/>')
        middle = f'x="{x + w / 2:.0f}" text-anchor="middle"'
        shapes.append(f'<text {middle} y="{y + 21}" class="name">{room.label}</text>')
        shapes.append(f'<text {middle} y="{y + 38}" class="size">{lines[room]} lines</text>')
    style = (
        "text{font-family:sans-serif;fill:#1b2733}.floor{font-size:15px;font-weight:bold}"
        ".name{font-size:11px}.size{font-size:9px;fill:#5b6b7b}"
        ".room{fill:#fff;stroke:#8aa0b4}.down{stroke:#8aa0b4;stroke-opacity:.35;fill:none}"
    )
    size = f'width="{WIDTH}" height="{BAND * len(known)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, f"<style>{style}</style>", *shapes, "</svg>", ""])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures" / "floors.svg"
    target.write_text(draw())
