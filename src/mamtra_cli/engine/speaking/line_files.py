"""The lines that a user wants spoken, from files: JSON lines, texts, folders of texts, tables.

All are checked before anything is spoken; ids and outputs are each line's own, and inside the
folder of the run. Knows no models.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mamtra_cli.errors import DataError, UsageError
from mamtra_cli.recipes.synth import SynthRecipe
from mamtra_cli.text.encoding import parse_unbroken, read_text, unbroken
from mamtra_cli.text.subtitles import FORMATS

FIELDS = ("id", "text", "voice", "seed", "speed", "output", "subtitles")
NUMBERS: dict[str, type[int] | type[float]] = {"seed": int, "speed": float}
TABLES = {".csv": ",", ".tsv": "\t"}
NAMES = re.compile(r"\.?results(-\d+-of-\d+)?\.jsonl(\.lock)?")  # of records
NAME = re.compile(r"[^\w.-]+")
LONGEST_NAME = 200  # bytes; file systems take 255, and a file has a longer name while it is written


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A line, checked."""

    id: str
    text: str
    voice: str
    seed: int
    speed: float
    output: str
    subtitles: str


def read_lines(recipe: SynthRecipe, format: str) -> Iterator[Wanted]:
    """The lines of `jsonl` or of every `input_file`, with ids and outputs of their own.

    Args:
        recipe: names them, and has what a line does not say.
        format: of the sounds.

    Raises:
        DataError: a line cannot be.
        UsageError: a file is not there, or holds none.
        TextError: a file is in a foreign encoding.
    """
    ids: set[str] = set()
    outputs: set[str] = set()
    for where, name, line in _given(recipe, format):
        _check(line, where)
        id = str(line.get("id", name))
        output = line.get("output") or f"{_name_of(id)}.{format}"
        subtitles = line.get("subtitles", "")
        if id in ids:
            raise DataError(f"{where} repeats the id `{id}`", "give every line its own")
        ids.add(id)
        for field, file in (("output", output), ("subtitles", subtitles)):
            place = PurePosixPath(file)
            if place.is_absolute() or ".." in place.parts or "\\" in file or NAMES.fullmatch(file):
                raise DataError(
                    f"`{field}` of {where} leads out of the folder", "name a file in it"
                )
            if not all(map(_can_be_a_name, place.parts)):
                raise DataError(f"`{field}` of {where} is no name of a file", "choose a short one")
            if file and file in outputs:
                raise DataError(f"{where} repeats the {field} `{file}`", "give every line its own")
            outputs.add(file)
        if subtitles and PurePosixPath(subtitles).suffix[1:] not in FORMATS:
            raise DataError(f"`subtitles` of {where} is no .srt or .vtt file")
        yield Wanted(
            id=id,
            text=line["text"],
            voice=line.get("voice", recipe.voice),
            seed=line.get("seed", recipe.seed),
            speed=float(line.get("speed", recipe.speed)),
            output=output,
            subtitles=subtitles,
        )


def _name_of(id: str) -> str:
    """A file name, without its ending, for a line of this id."""
    return NAME.sub("_", id)[:100].encode()[: LONGEST_NAME - 20].decode(errors="ignore")


def _can_be_a_name(part: str) -> bool:
    """Whether a file system takes a name, and its temporary form while it is written."""
    try:
        return "\0" not in part and len(part.encode()) <= LONGEST_NAME
    except UnicodeEncodeError:  # half of a pair of UTF-16
        return False


def _given(recipe: SynthRecipe, format: str) -> Iterator[tuple[str, str, Any]]:
    """Every line, after where it stands and the id that it has unless it says one."""
    if recipe.jsonl is not None:
        yield from _json_lines(recipe.jsonl)
    tables = 0
    for path in recipe.input_file:
        if path.is_dir():
            texts = sorted(path.rglob("*.txt"))
            if not texts:
                raise UsageError(f"`{path}` holds no .txt file", "name a folder of texts")
            for text in texts:
                yield _file(text, text.relative_to(path), format)
        elif path.suffix.lower() in TABLES:
            tables += 1
            yield from _rows(path, recipe.column)
        else:
            yield _file(path, Path(path.name), format)
    if not tables and recipe.column != SynthRecipe.column:
        raise UsageError("`--column` needs a table", "name one: -i table.csv")


def _file(path: Path, name: Path, format: str) -> tuple[str, str, dict[str, Any]]:
    """A file as one line; in a folder it keeps its place."""
    id = unbroken(name.with_suffix("").as_posix())
    return f"`{path}`", id, {"text": read_text(path), "output": f"{id}.{format}"}


def _rows(path: Path, column: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The rows of a table with a header; columns named as the fields of a line are fields."""
    rows = csv.DictReader(
        io.StringIO(read_text(path), newline=""), delimiter=TABLES[path.suffix.lower()]
    )
    try:
        if column not in (rows.fieldnames or ()):
            known = ", ".join(f"`{name}`" for name in rows.fieldnames or ())
            raise DataError(
                f"`{path}` has no column `{column}`", f"name one with `--column`: {known}"
            )
        for number, row in enumerate(rows, 1):
            where = f"line {rows.line_num} of `{path.name}`"
            line: dict[str, Any] = {name: row[name] for name in FIELDS if row.get(name)}
            for name, kind in NUMBERS.items():
                try:
                    line |= {name: kind(line[name])} if name in line else {}
                except ValueError as error:
                    raise DataError(f"`{name}` of {where} is of the wrong type") from error
            yield where, f"{path.stem}-{number:06d}", line | {"text": row[column] or ""}
    except csv.Error as error:
        raise DataError(f"cannot read `{path}`: {error}") from error


def _json_lines(path: Path) -> Iterator[tuple[str, str, Any]]:
    """The lines of a file of JSON lines, blank ones left out."""
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if text.strip():
            where = f"line {number} of `{path.name}`"
            try:
                line = parse_unbroken(text)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where} is no JSON", '{"text": "Hello."}') from error
            yield where, f"{number:06d}", line


def _check(line: Any, where: str) -> None:
    """Refuse a line that is no object of known fields of the right kinds."""
    if not isinstance(line, dict) or not isinstance(line.get("text"), str):
        raise DataError(f"{where} has no `text`", '{"text": "Hello."}')
    unknown = [name for name in line if name not in FIELDS]
    if unknown:
        known = f"known: {', '.join(FIELDS)}"
        raise DataError(f"{where} has an unknown field `{unknown[0]}`", known)
    kinds: dict[str, Any] = {name: str for name in ("voice", "output", "subtitles")}
    kinds |= {"seed": int, "speed": (int, float)}
    for name, kind in kinds.items():
        if name in line and (isinstance(line[name], bool) or not isinstance(line[name], kind)):
            raise DataError(f"`{name}` of {where} is of the wrong type")
    if not 0 <= line.get("seed", 0) < 2**32 or not 0.25 <= line.get("speed", 1.0) <= 4.0:
        raise DataError(f"seed or speed of {where} is out of range", "speed 0.25 to 4")
