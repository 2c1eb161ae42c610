"""Bytes of a file or a pipe as text: UTF-8, or UTF-16 that says so with its first two bytes.

Anything else is told with the command that converts it; a guess would be read aloud wrongly.
"""

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path

from mamtra_cli.config import reason
from mamtra_cli.errors import TextError, UsageError

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
LONGEST = max(map(len, MARKS))


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        TextError: its encoding is neither of the two.
        UsageError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {reason(error)}") from error
    return "".join(decode([data], str(path)))


def decode(parts: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the text of bytes as they arrive; where they are cut does not matter.

    Args:
        parts: the bytes, in any pieces.
        name: of the file, or `stdin`.

    Raises:
        TextError: the encoding is neither of the two.
    """
    head, decoder = b"", None
    for part in parts:
        head += part
        if decoder is None:
            if len(head) < LONGEST:
                continue
            decoder = _decoder(head)
        yield _text(decoder, head, name)
        head = b""
    yield _text(decoder or _decoder(head), head, name, final=True)


def _decoder(head: bytes) -> codecs.IncrementalDecoder:
    kind = next((kind for mark, kind in MARKS.items() if head.startswith(mark)), "utf-8")
    return codecs.getincrementaldecoder(kind)()


def _text(decoder: codecs.IncrementalDecoder, data: bytes, name: str, final: bool = False) -> str:
    try:
        text = decoder.decode(data, final)
    except UnicodeDecodeError as error:
        raise _unknown(data, name) from error
    if "\0" in text:
        raise _unknown(data, name)
    return text


def _unknown(data: bytes, name: str) -> TextError:
    """Return the error for bytes of another encoding; zeros among them are those of UTF-16."""
    given = "WINDOWS-1252"
    if b"\0" in data:
        given = "UTF-16LE" if data[1::2].count(0) >= data[::2].count(0) else "UTF-16BE"
    source = "" if name == "stdin" else f" {name}"
    return TextError(
        f"`{name}` is not UTF-8 text",
        f"convert it first, most likely with `iconv -f {given} -t UTF-8{source}`",
    )
