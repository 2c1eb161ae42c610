"""A program around the user's own espeak-ng library: words in, phones out, one a line.

Run as `python espeak_library.py LIBRARY LANGUAGE` in a process of its own, so that nothing of the
library enters ours. The library gives what the published front end was trained with; the espeak
program stresses the last word of what it is given, single words therefore always.
Interface: espeak-ng, speak_lib.h.
"""

import ctypes
import sys
from collections.abc import Iterator
from typing import ClassVar

SYNCHRONOUS = 2
UTF8 = 1
IPA = 2
SEPARATOR = ord("_") << 8


class Voice(ctypes.Structure):
    """`espeak_VOICE`, of which a language is asked for."""

    _fields_: ClassVar = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        *((field, ctypes.c_ubyte) for field in ("gender", "age", "variant", "xx1")),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


def main(path: str, language: str) -> int:
    """Pronounce every line of stdin; 2 where the library does not start, 3 without the voice."""
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if library.espeak_Initialize(SYNCHRONOUS, 0, None, 0) <= 0:
        return 2
    wanted = Voice(languages=language.encode())
    if (
        library.espeak_SetVoiceByName(language.encode()) != 0
        and library.espeak_SetVoiceByProperties(ctypes.byref(wanted)) != 0
    ):
        return 3
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    for line in sys.stdin.buffer:
        spoken = " ".join(clauses(library, line.strip()))
        sys.stdout.buffer.write(f"{spoken}\n".encode())
    return 0


def clauses(library: ctypes.CDLL, text: bytes) -> Iterator[str]:
    """Phones of each clause that the library finds in a text."""
    rest = ctypes.pointer(ctypes.c_char_p(text))
    while rest.contents.value is not None:
        spoken = library.espeak_TextToPhonemes(rest, UTF8, IPA | SEPARATOR)
        phones = (spoken or b"").decode("utf-8", "replace").replace("_", "").strip()
        if phones:
            yield phones


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
