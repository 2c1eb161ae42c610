"""Bodies of requests as values: every field checked, every problem told with its name.

The names are those of OpenAI's speech endpoint; what is ours beside them is `seed`, `volume`, and
what a text may ask for: `tags`, `lexicon`, `on_unreadable`, `timestamps`, `whole`.
Nothing in a body is ever used as a path.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from mamtra_cli.config import nearest
from mamtra_cli.engine.speaking.studio import Order
from mamtra_cli.errors import DataError, UsageError
from mamtra_cli.serving.encoding import MEDIA
from mamtra_cli.text.encoding import parse_unbroken
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.signs import OnUnreadable

FIELDS = {
    "model": str,
    "input": str,
    "voice": (str, dict),
    "response_format": str,
    "speed": (int, float),
    "stream_format": str,
    "instructions": str,
    "seed": int,
    "volume": (int, float),
    "tags": bool,
    "lexicon": (str, dict),
    "on_unreadable": str,
    "timestamps": bool,
    "whole": bool,
}
STAND_INS = frozenset(
    "alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()
)
"""Voices of OpenAI, which many clients ask for and cannot be told otherwise."""
STREAM_FORMATS = ("audio", "sse")
MOST_ITEMS = 256
MOST_WORDS = 2000  # of a lexicon
MOST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class SpeechRequest:
    """A checked body of the speech endpoint.

    Attributes:
        order: what to say and how.
        format: of the sound.
        stream: `audio` (bytes as they are made) or `sse` (events).
        model: the name that was asked for; "" for the one there is.
    """

    order: Order
    format: str = "mp3"
    stream: str = "audio"
    model: str = ""


def read_json(body: bytes) -> Any:
    """A body as JSON.

    Raises:
        UsageError: it is none, or nested beyond reason.
    """
    try:
        return parse_unbroken(body.decode("utf-8"), parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UsageError(
            "the body is no JSON in UTF-8",
            'send {"input": "Hello."} with the header Content-Type: application/json',
        ) from error


def _no_constant(name: str) -> float:
    raise ValueError(name)


def read_speech(value: Any, *, most: int, where: str = "the body") -> SpeechRequest:
    """Check the body of a speech request.

    Args:
        value: parsed JSON.
        most: characters of text allowed.
        where: what to call it in messages.

    Raises:
        UsageError: names the field and what is wrong with it.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{where} is no JSON object", 'send {"input": "Hello."}')
    for name, held in value.items():
        if name not in FIELDS:
            near = nearest(name, FIELDS)
            hint = f"did you mean `{near}`?" if near else f"known: {', '.join(FIELDS)}"
            raise UsageError(f"{where} has an unknown field `{name[:40]}`", hint)
        check_kind(name, held, where)
    given = {name: held for name, held in value.items() if held is not None}
    text = given.get("input")
    if text is None:
        raise UsageError(f"{where} has no `input`", 'send {"input": "Hello."}')
    if len(text) > most:
        raise UsageError(
            f"`input` of {where} has {len(text):,} characters, more than {most:,}",
            "send it in parts, or start the server with a larger --max-characters",
        )
    return SpeechRequest(
        order=Order(text=text, **order_fields(given, where)),
        format=_one_of(given, "response_format", tuple(MEDIA), "mp3", where),
        stream=_one_of(given, "stream_format", STREAM_FORMATS, "audio", where),
        model=given.get("model", ""),
    )


def check_kind(name: str, held: Any, where: str) -> None:
    """Refuse a field that is of the wrong type; `None` is as good as no field.

    Raises:
        UsageError: names the field.
    """
    kinds: Any = FIELDS[name]
    if held is None or (isinstance(held, kinds) and isinstance(held, bool) == (kinds is bool)):
        return
    raise UsageError(f"`{name}` of {where} is of the wrong type", f"give {_kind(kinds)}")


def order_fields(given: dict[str, Any], where: str) -> dict[str, Any]:
    """All that an order says beside its text, checked; `given` are fields of the right kinds."""
    voice = given.get("voice", "")
    if isinstance(voice, dict):
        voice = voice.get("id", "")
    if not isinstance(voice, str) or any(sign in voice for sign in "/\\\0") or len(voice) > 200:
        raise UsageError(
            f"`voice` of {where} is no name of a voice", "see GET /v1/audio/voices for the names"
        )
    seed = given.get("seed", 0)
    if not 0 <= seed <= MOST_SEED:
        raise UsageError(f"`seed` of {where} is outside 0..{MOST_SEED}", "give a whole number")
    return {
        "voice": voice,
        "seed": seed,
        "speed": _number(given, "speed", 0.25, 4.0, where),
        "volume": _number(given, "volume", 0.0, 10.0, where),
        "instructions": given.get("instructions", ""),
        "tags": given.get("tags", True),
        "lexicon": _lexicon(given.get("lexicon"), where),
        "on_unreadable": _one_of(given, "on_unreadable", get_args(OnUnreadable), "skip", where),
        "words": given.get("timestamps", False),
        "whole": given.get("whole", False),
    }


def placed(order: Order, voices: Callable[[], Sequence[str]]) -> Order:
    """The order by a voice that is here, where it asks for one of OpenAI's that is not."""
    known = voices() if order.voice in STAND_INS else ()
    return replace(order, voice=known[0]) if known and order.voice not in known else order


def _lexicon(value: str | dict[str, Any] | None, where: str) -> Respelling | None:
    """A lexicon, as the lines of a file or as words and what is said for them."""
    if value is None:
        return None
    if isinstance(value, dict):
        if not all(isinstance(said, str) for said in value.values()):
            raise UsageError(f"`lexicon` of {where} has a word that is said by no text")
        value = "\n".join(f"{_line(word)}\t{_line(said)}" for word, said in value.items())
    if value.count("\n") > MOST_WORDS:
        raise UsageError(f"`lexicon` of {where} has more than {MOST_WORDS} words")
    try:
        return Respelling.parse(value)
    except DataError as error:
        raise UsageError(error.message, error.hint) from error


def _line(text: str) -> str:
    """A text without what ends a line or a word of a lexicon."""
    return " ".join(text.replace("=", " ").split())


def read_batch(value: Any, *, most: int) -> list[SpeechRequest | UsageError]:
    """Check the body of a batch: each item is a request, or the error that it has alone.

    Raises:
        UsageError: the batch itself is none.
    """
    items = value.get("items") if isinstance(value, dict) else value
    if not isinstance(items, list) or not items:
        raise UsageError(
            "the body holds no batch", 'send {"items": [{"input": "One."}, {"input": "Two."}]}'
        )
    if len(items) > MOST_ITEMS:
        raise UsageError(
            f"the batch has {len(items):,} items, more than {MOST_ITEMS}", "send it in parts"
        )
    found: list[SpeechRequest | UsageError] = []
    for number, item in enumerate(items):
        try:
            found.append(read_speech(item, most=most, where=f"item {number}"))
        except UsageError as error:
            found.append(error)
    return found


def _number(given: dict[str, Any], name: str, low: float, high: float, where: str) -> float:
    value = given.get(name, 1.0)
    if not math.isfinite(value) or not low <= value <= high:
        raise UsageError(f"`{name}` of {where} is outside {low:g}..{high:g}", "1 is as usual")
    return float(value)


def _one_of(
    given: dict[str, Any], name: str, known: tuple[str, ...], default: str, where: str
) -> str:
    value: str = given.get(name, default)
    if value not in known:
        near = nearest(value, known)
        hint = f"did you mean `{near}`?" if near else f"one of: {', '.join(known)}"
        raise UsageError(f"`{name}` of {where} cannot be `{value[:40]}`", hint)
    return value


def _kind(kinds: Any) -> str:
    names = {
        bool: "true or false",
        str: "a text",
        int: "a whole number",
        float: "a number",
        dict: "an object",
    }
    listed = kinds if isinstance(kinds, tuple) else (kinds,)
    return " or ".join(names[kind] for kind in listed)
