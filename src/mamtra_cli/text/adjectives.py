"""Whether a number with its unit stands for itself or before what it measures: `a 5 km run`."""

import re

from mamtra_cli.text.rules import after, before, compiled, word_after

# Words that no noun phrase goes on with: after these a measure stands alone.
NO_NOUN = frozenset(
    "a an the and or but of in on at to for from by with without as than that this is are was were "
    "be been has have had will would can could may might must do does did not no if when while "
    "per each every away ago later tall long wide deep high thick old off up down out over under "
    "into onto across apart above below more less it he she they we you i who which there here "
    "then so because before after until since during between through around about left right "
    "total altogether only just also too again north south east west today yesterday tomorrow "
    "against along toward towards behind near via plus minus times equals and/or heavier lighter "
    "bigger smaller faster slower hotter colder warmer cooler nearer farther further closer "
    "longer shorter taller wider higher lower deeper thicker".split()
)
# What is named by its measure, with an article or without: `9 V battery`, `15 lb. bags`.
_MEASURED = frozenset(
    "apartment bag banknote battery bill bottle box bulb cable camera can charger circuit coin "
    "condo cup dash dumbbell fence film freestyle fuse grid heater hike home house hurdles jar "
    "kettle ladder lamp laser lens lot motor note office outlet pack panel pipe plug pole race "
    "rail relay resistor run screen sensor socket speaker sprint supply tank tray turn weight "
    "wire".split()
)
DETERMINERS = frozenset(
    "a an the this that his her my our their your its each every any another one no same".split()
)
# Directly before a measure they count what it describes: `two 500 GB drives`.
_COUNTS = frozenset(
    "two three four five six seven eight nine ten twelve several many few these those".split()
)
_CONTRACTED = frozenset("it's he's she's that's there's what's here's who's let's".split())


def _alone(match: re.Match[str]) -> bool:
    """Whether a measure stands for itself and not before what it measures."""
    following = word_after(match)
    if not following or not following[0].islower() or following in NO_NOUN:
        return True
    if compiled(r"\s*[,.;:!?)(–-]").match(after(match)):
        return True
    return following.endswith("ly")


def is_measured(noun: str) -> bool:
    """Whether a noun is named by its measure, `battery`, `bags`."""
    return bool({noun, noun.removesuffix("s"), noun.removesuffix("es")} & _MEASURED) or (
        noun.endswith("ies") and noun[:-3] + "y" in _MEASURED
    )


def is_adjective(match: re.Match[str]) -> bool:
    """Whether a measure stands before a noun that it describes: `a 5 km run`, `9 V battery`."""
    if _alone(match):
        return False
    if is_measured(word_after(match)):
        return True
    near = [word.lower().strip("\"'(") for word in before(match)[-3:]]
    owner = bool(near) and near[-1] not in _CONTRACTED and near[-1].endswith(("'s", "s'"))
    if owner or (near and near[-1] in _COUNTS):
        return True
    for word in reversed(near):
        if word in DETERMINERS:
            return True
        if word[-1:] in ",.;:!?" or word in NO_NOUN:
            return False
    return False
