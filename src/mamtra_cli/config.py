"""Dataclasses from and to plain data, JSON and TOML.

One strict loader for recipes and model configurations: unknown keys are errors that name the
nearest key, values are checked against the annotated types, nested dataclasses and tuples are
rebuilt. It knows nothing of what the fields mean, and imports no torch.
"""

import dataclasses
import errno
import json
import reprlib
import stat
import tomllib
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from mamtra_cli.errors import UsageError

SHOWN = 60  # characters of a value in a message
LARGEST = 32 << 20  # bytes of a text that is read as one table
T = TypeVar("T")


def brief(value: object) -> str:
    """Return what a value looks like, in a few characters whatever its size."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN else f"{value[: SHOWN - 3]}...")
    shape = reprlib.Repr()
    shape.maxlevel = shape.maxlist = shape.maxtuple = shape.maxdict = 3
    shape.maxstring = shape.maxother = shape.maxlong = SHOWN
    return shape.repr(value)


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text from elsewhere holds.

    Raises:
        ValueError: it is none, or nested too deep to be meant.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_small(path: Path, largest: int = LARGEST) -> str:
    """Return a text file in UTF-8, with or without a mark at its start.

    Raises:
        OSError: it cannot be read, or is a pipe or a device.
        ValueError: it is larger than such a file can be, or is not UTF-8.
    """
    told = path.stat()
    if not stat.S_ISREG(told.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if told.st_size > largest:
        raise ValueError(f"it has {told.st_size:,} bytes, more than {largest:,}")
    return path.read_text(encoding="utf-8-sig")


def nearest(word: str, known: typing.Iterable[str]) -> str | None:
    """Return the known word most like `word`, whatever its capitals, or None."""
    words = {name.casefold(): name for name in known}
    found = get_close_matches(word.casefold()[:SHOWN], words, n=1, cutoff=0.6)
    return words[found[0]] if found else None


def to_dict(value: Any) -> Any:
    """Return a dataclass (or any value inside one) as plain JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def field_types(cls: type) -> dict[str, Any]:
    """Return the resolved annotation of every field of a dataclass."""
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def from_dict(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Build dataclass `cls` from plain data.

    Args:
        cls: a dataclass.
        data: its fields; missing ones take their defaults.
        where: what the data came from, for the error text (a file name).

    Raises:
        UsageError: an unknown key, a missing key or a value of another type.
    """
    kinds = field_types(cls)
    for key in data:
        if key not in kinds:
            near = nearest(str(key), kinds)
            hint = f"did you mean `{near}`?" if near else f"known keys: {', '.join(kinds)}"
            raise UsageError(f"unknown key `{str(key)[:SHOWN]}` in {where}", hint)
    values = {key: convert(kinds[key], value, key, where) for key, value in data.items()}
    required = [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise UsageError(f"missing key `{missing[0]}` in {where}")
    return cls(**values)


def convert(kind: Any, value: Any, key: str, where: str) -> Any:
    """Return `value` as `kind`, a type annotation of a config field."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, key, where)
    if origin is typing.Literal:
        if isinstance(value, str | int) and value in args:
            return value
        near = nearest(str(value), [str(arg) for arg in args])
        hint = f"did you mean `{near}`?" if near else f"one of: {', '.join(map(str, args))}"
        raise UsageError(f"`{key} = {brief(value)}` in {where} is none of the known values", hint)
    if dataclasses.is_dataclass(kind):
        if isinstance(value, Mapping):
            return from_dict(typing.cast(type, kind), value, f"`{key}` of {where}")
    elif origin in (tuple, list):
        if isinstance(value, list | tuple):
            return _convert_sequence(origin, args, value, key, where)
    elif origin is dict or kind is dict:
        if isinstance(value, Mapping):
            inner = args[1] if args else Any
            return {str(k): convert(inner, v, f"{key}.{k}", where) for k, v in value.items()}
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                pass
    elif kind is Path:
        if isinstance(value, str | Path):
            return Path(value)
    elif kind is type(None):
        if value is None:
            return None
    elif isinstance(kind, type) and isinstance(value, kind) and not _is_flag(kind, value):
        return value
    raise UsageError(f"`{key} = {brief(value)}` in {where} is not {_words(kind)}")


def _is_flag(kind: Any, value: Any) -> bool:
    """Whether a truth value stands where a whole number is wanted (Python lets it pass)."""
    return kind is int and isinstance(value, bool)


def _convert_union(args: tuple[Any, ...], value: Any, key: str, where: str) -> Any:
    for arg in args:
        if isinstance(arg, type) and type(value) is arg:
            return value
    for arg in args:
        try:
            return convert(arg, value, key, where)
        except UsageError:
            continue
    words = " or ".join(_words(arg) for arg in args if arg is not type(None))
    raise UsageError(f"`{key} = {brief(value)}` in {where} is not {words}")


def _convert_sequence(origin: Any, args: Any, value: Any, key: str, where: str) -> Any:
    if not args or (len(args) == 2 and args[1] is Ellipsis) or origin is list:
        inner = args[0] if args else Any
        return origin(convert(inner, item, f"{key}[{i}]", where) for i, item in enumerate(value))
    if len(args) != len(value):
        raise UsageError(f"`{key}` in {where} has {len(value)} items, not {len(args)}")
    pairs = zip(args, value, strict=True)
    return tuple(convert(arg, v, f"{key}[{i}]", where) for i, (arg, v) in enumerate(pairs))


def _words(kind: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        Path: "a path",
        dict: "a table",
    }
    if kind in names:
        return names[kind]
    origin = typing.get_origin(kind)
    if origin in (tuple, list):
        return "a list"
    if origin is dict or dataclasses.is_dataclass(kind):
        return "a table"
    return str(kind)


def read_data(path: Path) -> dict[str, Any]:
    """Read a `.toml` or `.json` file to plain data.

    Raises:
        UsageError: the file is missing, unreadable, of another kind or not valid.
    """
    kind = path.suffix.lower()
    if kind not in {".toml", ".json"}:
        raise UsageError(f"`{path}` is neither .toml nor .json", "recipes are TOML or JSON files")
    try:
        text = read_small(path)
        data = tomllib.loads(text) if kind == ".toml" else parse_json(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read `{path}`: {reason(error)}") from error
    except RecursionError as error:
        raise UsageError(f"`{path}` is nested too deep") from error
    except ValueError as error:
        raise UsageError(f"`{path}` is not valid {kind[1:].upper()}: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"`{path}` does not hold a table of keys")
    return data


def reason(error: Exception) -> str:
    """Return the cause of an operating-system error in a few lower-case words."""
    text = getattr(error, "strerror", None) or str(error)
    return str(text)[:1].lower() + str(text)[1:]


def dump_json(data: Any) -> str:
    """Return plain data or a dataclass as indented JSON with a final newline."""
    return json.dumps(to_dict(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
