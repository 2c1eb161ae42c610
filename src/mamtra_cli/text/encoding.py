"""Bytes of a file or a pipe as text: UTF-8, or UTF-16 or UTF-32 that says so with its first bytes.

Anything else is told with the command that converts it; a guess would be read aloud wrongly.
"""

import codecs
import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mamtra_cli.config import reason
from mamtra_cli.errors import MamtraError, TextError, UsageError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, which it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LONGEST = max(map(len, MARKS))
LARGEST = 64 << 20  # bytes of a text that is read at once


def read_text(
    path: Path,
    *,
    absent: type[MamtraError] = UsageError,
    foreign: type[MamtraError] = TextError,
) -> str:
    """Return the text of a file.

    Args:
        path: the file.
        absent: raised where it cannot be read.
        foreign: raised where its encoding is none of these.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise absent(f"cannot read `{path}`: {reason(error)}") from error
    if len(data) > LARGEST:
        raise absent(f"`{path}` has more than {LARGEST >> 20} MB of text", "cut it into files")
    return "".join(decode([data], str(path), foreign))


def unbroken(text: str) -> str:
    """Return a text whose halves of UTF-16 pairs, which no file can hold, are U+FFFD.

    They come of an escape in JSON (a program cut its text in the middle of an emoji), and of bytes
    of a command line or a file name that are no UTF-8. Halves that stand together become one sign.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def parse_unbroken(text: str, **options: Any) -> Any:
    """Return JSON as data whose every text is unbroken; `options` as of `json.loads`.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested beyond reason.
    """
    value = json.loads(text, **options)
    if "\\u" in text:
        value = json.loads(unbroken(json.dumps(value, ensure_ascii=False)), **options)
    return value


def encoding_of(head: bytes) -> str:
    """Return the encoding that the first bytes of a text tell; UTF-8 where they are no mark."""
    return next((kind for mark, kind in MARKS.items() if head.startswith(mark)), "utf-8")


def decode(
    parts: Iterable[bytes], name: str, foreign: type[MamtraError] = TextError
) -> Iterator[str]:
    """Yield the text of bytes as they arrive; where they are cut does not matter.

    Args:
        parts: the bytes, in any pieces.
        name: of the file, or `stdin`.
        foreign: raised where the encoding is none of these.
    """
    head, decoder = b"", None
    for part in parts:
        head += part
        if decoder is None:
            if len(head) < LONGEST:
                continue
            decoder = _decoder(head)
        yield _text(decoder, head, name, foreign)
        head = b""
    yield _text(decoder or _decoder(head), head, name, foreign, final=True)


def _decoder(head: bytes) -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder(encoding_of(head))()


def _text(
    decoder: codecs.IncrementalDecoder,
    data: bytes,
    name: str,
    foreign: type[MamtraError],
    final: bool = False,
) -> str:
    try:
        text = decoder.decode(data, final)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return text
    # Zeros are those of UTF-16 without a mark.
    likely = "WINDOWS-1252"
    if b"\0" in data:
        likely = "UTF-16LE" if data[1::2].count(0) >= data[::2].count(0) else "UTF-16BE"
    source = "" if name == "stdin" else f" {shlex.quote(name)}"
    raise foreign(
        f"`{name}` is not UTF-8 text",
        f"convert it first, most likely with `iconv -f {likely} -t UTF-8{source}`",
    )
