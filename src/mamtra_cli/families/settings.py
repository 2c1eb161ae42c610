"""`NAME=VALUE` words to the fields of a dataclass whose fields carry knobs.

What a family's models can be told beside text and voice is one frozen dataclass; a field is a
number, some numbers, a switch or a text, and one that may be `None` can be left unsaid with `none`.
Knows no family and no torch.
"""

import types
import typing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from mamtra_cli.config import nearest
from mamtra_cli.errors import UsageError
from mamtra_cli.recipes.knob import Knob, check_bounds, knobs

T = TypeVar("T")

UNSAID = "none"
SWITCHES = {"true": True, "yes": True, "on": True, "1": True}
SWITCHES |= {"false": False, "no": False, "off": False, "0": False}


def told(defaults: T, words: Sequence[str]) -> T:
    """Return settings with those of the words in place of their defaults.

    Args:
        defaults: a frozen dataclass whose fields carry a `Knob`.
        words: each `NAME=VALUE`.

    Raises:
        UsageError: an unknown name, or a value that is none of its field.
    """
    fields = knobs(type(defaults))
    values: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not sign:
            raise UsageError(f"`--set {word}` has no value", f"write `--set {name}=VALUE`")
        if name not in fields:
            near = nearest(name, fields)
            hint = f"did you mean `{near}`?" if near else f"it can be told: {', '.join(fields)}"
            raise UsageError(f"this model cannot be told `{name}`", hint)
        kind, knob = fields[name]
        values[name] = _value(kind, text.strip(), name)
        check_number(values[name], knob, name)
    settings = replace(defaults, **values)  # type: ignore[type-var]
    check_bounds(settings)
    return settings


def check_number(value: Any, knob: Knob, name: str) -> None:
    """Refuse a number, or one of several, outside the bounds of its knob."""
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        low, high = knob.low, knob.high
        below = low is not None and not number >= low
        if below or (high is not None and not number <= high):
            ends = [f"from {low:g}" if low is not None else "", f"to {high:g}" if high else ""]
            span = " ".join(end for end in ends if end)
            raise UsageError(f"`{name}` cannot be {number:g}", f"use a number {span}")


def _value(kind: Any, text: str, name: str) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [each for each in typing.get_args(kind) if each is not type(None)]
        if text.casefold() == UNSAID and type(None) in typing.get_args(kind):
            return None
        return _value(kinds[0], text, name)
    try:
        if typing.get_origin(kind) is tuple:
            return tuple(float(part) for part in text.split(","))
        if kind is bool:
            return SWITCHES[text.casefold()]
        return kind(text)
    except (ValueError, KeyError) as error:
        wanted = "numbers with commas between" if typing.get_origin(kind) is tuple else _word(kind)
        raise UsageError(f"`{name}={text}` is not {wanted}") from error


def _word(kind: Any) -> str:
    return {float: "a number", int: "a whole number", bool: "on or off"}.get(kind, "a text")
