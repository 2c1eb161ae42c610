"""How the command line asks for a field of a recipe: `Annotated[float, Knob("Its meaning.")]`.

One home for what a person is told of a knob and for its bounds; `cli.options` makes options of it.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from mamtra_cli.errors import UsageError

OUTPUT = "Output"


@dataclass(frozen=True)
class Knob:
    """What a field means, and how it is given.

    Attributes:
        help: its meaning, as a sentence.
        value: what its value is called, `N` or `FILE`.
        panel: the heading that it stands under; "" is the general one.
        names: its flags; () is the name of the field with dashes.
        positional: given by its place, without a flag.
        negative: a flag that has a `--no-` too, to overrule a recipe file.
        low, high: bounds, both included.
        default: the default in words; "" shows the value, where there is one.
        env: an environment variable that may hold it.
        words: values that a shell completes.
    """

    help: str
    value: str = ""
    panel: str = ""
    names: tuple[str, ...] = ()
    positional: bool = False
    negative: bool = False
    low: float | None = None
    high: float | None = None
    default: str = ""
    env: str = ""
    words: tuple[str, ...] = ()

    def flags(self, name: str) -> tuple[str, ...]:
        """Return the flags of the field called `name`."""
        flag = f"--{name.replace('_', '-')}"
        return self.names or ((f"{flag}/--no-{flag[2:]}",) if self.negative else (flag,))


def knobs(cls: type) -> dict[str, tuple[Any, Knob]]:
    """Return type and knob of every field of a recipe that has one, by name and in order."""
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for name, kind in hints.items():
        knob = next(
            (item for item in getattr(kind, "__metadata__", ()) if type(item) is Knob), None
        )
        if knob is not None:
            found[name] = (kind.__origin__, knob)
    return found


def check_heeded(recipe: Any, heeded: Collection[str], what: str, hint: str) -> None:
    """Refuse an option that was given and would be dropped.

    Args:
        recipe: every knob.
        heeded: fields that matter here.
        what: completes "`--option` ...", such as "cannot be asked of a server".
        hint: what to do.

    Raises:
        UsageError: a field that is not heeded has a value of its own.
    """
    options = knobs(type(recipe))
    for field in fields(recipe):
        if field.name not in heeded and getattr(recipe, field.name) != field.default:
            raise UsageError(f"`{options[field.name][1].flags(field.name)[0]}` {what}", hint)


def check_bounds(recipe: object, where: Mapping[str, str] | None = None) -> None:
    """Refuse a number that is not finite, or outside the bounds of its knob.

    Args:
        recipe: a dataclass of knobs.
        where: the file that a field was read from; the others were given by their flag.

    Raises:
        UsageError: the first such number, with the name under which it was given.
    """
    for name, (_, knob) in knobs(type(recipe)).items():
        value = getattr(recipe, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value):
            fact = "is not finite"
        elif knob.low is not None and value < knob.low:
            fact = f"is less than {knob.low:.15g}"
        elif knob.high is not None and value > knob.high:
            fact = f"is more than {knob.high:.15g}"
        else:
            continue
        source = (where or {}).get(name)
        given = f"{name} = {value:.15g}" if source else f"{knob.flags(name)[0]} {value:.15g}"
        raise UsageError(f"`{given}`{f' in {source}' if source else ''} {fact}")
