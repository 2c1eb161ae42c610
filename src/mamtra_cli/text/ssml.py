"""A subset of SSML 1.1: speak, p, s, break, sub, say-as, phoneme, prosody rate, voice, emphasis.

What is not in the subset is an error that names it: a document that asks for a sound file must not
be spoken without it. Documents that define entities are refused. Source: W3C, Speech Synthesis
Markup Language 1.1, sections 3.1 and 3.2.
"""

import re
from collections.abc import Iterator
from xml.etree import ElementTree as etree

from mamtra_cli.errors import TextError
from mamtra_cli.text.number_words import ordinal
from mamtra_cli.text.segments import Given, Script, Segment, joined, pause_of

DEEPEST = 50  # elements inside each other
ELEMENTS = "speak, p, s, break, sub, say-as, phoneme, prosody, voice, emphasis"
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6}
_AS_WRITTEN = ("date", "time", "currency", "unit", "address", "name", "number", "cardinal",
"fraction",
               "measure", "duration")  # fmt: skip


def parse_ssml(text: str) -> Script:
    """Read an SSML document.

    Raises:
        TextError: it is not well formed, or asks for what is not in the subset.
    """
    if re.search(r"<!\s*(?:DOCTYPE|ENTITY)", text, re.I):
        raise TextError("SSML with a DOCTYPE is not read", "leave the `<!DOCTYPE ...>` out")
    try:
        root = etree.fromstring(text.strip())
    except (etree.ParseError, ValueError) as error:
        raise TextError(
            f"the SSML is not well formed: {error}",
            "close every element, and write `&` as `&amp;`, `<` as `&lt;`",
        ) from error
    if _name(root) != "speak":
        raise TextError(f"SSML begins with `<speak>`, not `<{_name(root)[:40]}>`")
    given = Given()
    segments = list(_inside(root, Segment(), given, 0))
    return Script(segments=joined(segments), given=given)


def _name(element: etree.Element) -> str:
    tag = element.tag if isinstance(element.tag, str) else "?"
    return tag.rpartition("}")[2].lower()


def _inside(element: etree.Element, manner: Segment, given: Given, depth: int) -> Iterator[Segment]:
    """Segments of what an element holds; `manner` has the voice and the rate."""
    if depth > DEEPEST:
        raise TextError(f"the SSML is nested more than {DEEPEST} deep")
    if element.text:
        yield _words(element.text, manner)
    for child in element:
        if isinstance(child.tag, str):
            yield from _element(child, manner, given, depth)
        if child.tail:
            yield _words(child.tail, manner)


def _words(text: str, manner: Segment) -> Segment:
    return Segment(text=text, voice=manner.voice, rate=manner.rate)


def _element(child: etree.Element, manner: Segment, given: Given, depth: int) -> Iterator[Segment]:
    name, inner = _name(child), "".join(child.itertext())
    where = f"`<{name[:40]}>`"
    if name == "break":
        pause = pause_of(child.get("time"), child.get("strength"), where)
        if pause:
            yield Segment(pause=pause)
    elif name in ("p", "s"):
        yield _words("\n", manner)
        yield from _inside(child, manner, given, depth + 1)
        yield _words("\n" if name == "s" else "\n\n", manner)
    elif name in ("speak", "emphasis"):
        yield from _inside(child, manner, given, depth + 1)
    elif name == "sub":
        yield _words(_needed(child, "alias", where), manner)
    elif name == "say-as":
        yield _words(_said_as(inner, _needed(child, "interpret-as", where), where), manner)
    elif name == "phoneme":
        phones = tuple(_needed(child, "ph", where).split())
        if not phones:
            raise TextError(f"{where} holds no phones in `ph`")
        yield _words(given.add(phones, inner.strip() or " ".join(phones)), manner)
    elif name == "prosody":
        rate = manner.rate * _rate(child.get("rate", "medium"), where)
        yield from _inside(child, Segment(voice=manner.voice, rate=rate), given, depth + 1)
    elif name == "voice":
        voice = Segment(voice=_needed(child, "name", where), rate=manner.rate)
        yield from _inside(child, voice, given, depth + 1)
    else:
        raise TextError(f"SSML {where} is not read here", f"the elements are {ELEMENTS}")


def _needed(child: etree.Element, attribute: str, where: str) -> str:
    value = child.get(attribute)
    if value is None or not value.strip():
        raise TextError(f"SSML {where} needs `{attribute}`")
    return value


def _rate(written: str, where: str) -> float:
    written = written.strip()
    percent = re.fullmatch(r"([+-]?)(\d{1,4}(?:\.\d{1,4})?)%", written, re.ASCII)
    if written in _RATES:
        rate = _RATES[written]
    elif percent:
        value = float(percent[2]) / 100
        rate = value if not percent[1] else 1 + (value if percent[1] == "+" else -value)
    elif re.fullmatch(r"\d{1,2}(?:\.\d{1,4})?", written, re.ASCII):
        rate = float(written)
    else:
        raise TextError(f"SSML {where}: `{written[:40]}` is no rate", "write 1.2, 120% or slow")
    if not 0.25 <= rate <= 4:
        raise TextError(f"SSML {where}: a rate of {rate:g} is outside 0.25 to 4")
    return rate


def _said_as(text: str, kind: str, where: str) -> str:
    """A text written so that it is read as `say-as` asks."""
    kind = kind.strip().lower()
    if kind in ("characters", "spell-out", "letters", "verbatim"):
        return " ".join(letter.upper() for letter in text if not letter.isspace())
    if kind in ("digits", "telephone", "phone"):
        return " ".join(re.findall(r"\d|[^\d\s]+", text))
    if kind == "ordinal" and re.fullmatch(r"\s*\d{1,15}\s*", text, re.ASCII):
        return ordinal(text.strip())
    if kind == "ordinal" or kind in _AS_WRITTEN:
        return text
    kinds = "characters, digits, telephone, cardinal, ordinal, date, time"
    raise TextError(f"SSML {where}: nothing is read as `{kind[:40]}`", f"it is one of {kinds}")
