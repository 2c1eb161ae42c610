"""Text to phones by the user's own espeak.

espeak is looked up, never brought along; any phone string can be given in its place. Words are
pronounced one at a time, because the published front end counts the space as punctuation and so
hands its phonemizer single words. The library pronounces as the model heard it in training; the
program, taken where there is no library, also stresses words such as "the". Other versions of
espeak pronounce some words differently; 1.51 gives the stored examples. Knows no model.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from ctypes.util import find_library
from difflib import get_close_matches
from pathlib import Path

from mamtra_cli.errors import MissingDependencyError, TextError, UsageError
from mamtra_cli.families.zonos import normalise
from mamtra_cli.families.zonos.symbols import LANGUAGES, PUNCTUATION, ROWS

ESPEAK = "MAMTRA_ESPEAK"
PHONEMIZER = "PHONEMIZER_ESPEAK_LIBRARY"
LIBRARY = re.compile(r"\.(so(\.\d+)*|dylib|dll)$")
PROGRAMS = ("espeak-ng", "espeak")
MARKS = re.compile(rf"((?:\s*[{re.escape(PUNCTUATION)}]+\s*)+)")
KEPT = 50_000
SWITCH = re.compile(r"\([a-z-]+\)")
NO_LIBRARY = 2  # how `espeak_library.py` ends where the library does not start

log = logging.getLogger(__name__)
_SPOKEN: dict[tuple[str, str], str] = {}
_TOLD: set[tuple[str, str]] = set()

Pronounce = Callable[[Sequence[str], str], list[str]]
"""Words and a language code to the phones of each word."""


def check_language(code: str) -> str:
    """Return a language code that the model knows.

    Raises:
        UsageError: it is none of the 109.
    """
    if code in LANGUAGES:
        return code
    near = get_close_matches(code.lower(), LANGUAGES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(f'`{word}`' for word in near)}?" if near else ""
    raise UsageError(
        f"the model knows no language `{code}`", hint or f"one of: {', '.join(LANGUAGES)}"
    )


def espeak(words: Sequence[str], language: str) -> list[str]:
    """Pronounce each word alone, by `run_espeak`; words of this process are kept.

    What the model was hardly taught is told, once: words that espeak read in another language, and
    symbols that the table of phones lacks.
    """
    source = f"{os.environ.get(ESPEAK)} {os.environ.get(PHONEMIZER)} {language}"
    if len(_SPOKEN) > KEPT:
        _SPOKEN.clear()
    unknown = [word for word in dict.fromkeys(words) if (source, word) not in _SPOKEN]
    if unknown:
        spoken = dict(zip(unknown, run_espeak(unknown, language), strict=True))
        tell(spoken, language)
        _SPOKEN.update({(source, word): said for word, said in spoken.items()})
    return [_SPOKEN[source, word] for word in words]


def run_espeak(words: Sequence[str], language: str) -> list[str]:
    """Pronounce each word alone, by the espeak library or else by the program.

    `MAMTRA_ESPEAK` names either; so does `PHONEMIZER_ESPEAK_LIBRARY` the library. The library runs
    in a process of its own.

    Raises:
        MissingDependencyError: there is neither, or what was named does not start.
        TextError: it failed, or lacks the language.
    """
    named = os.environ.get(ESPEAK)
    library = named or os.environ.get(PHONEMIZER) or find_library("espeak-ng")
    if library and (named is None or LIBRARY.search(named)):
        source = str(Path(__file__).with_name("espeak_library.py"))
        command = [sys.executable, "-I", source, library, language]
        lines = _run(command, "\n".join(words), language, library)
        return lines[: len(words)]
    command = [program(), "-q", "--ipa", "-v", language, "--stdin"]
    lines = [line for line in _run(command, "\n\n".join(words), language) if line]
    if len(lines) == len(words):
        return lines
    return [" ".join(_run(command, word, language)) for word in words]


def program() -> str:
    """Path of the espeak program: `MAMTRA_ESPEAK`, or one found on the path.

    Raises:
        MissingDependencyError: there is none.
    """
    named = os.environ.get(ESPEAK)
    for name in (named,) if named else PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    raise MissingDependencyError(
        f"{ESPEAK} names `{named}`, which is no program" if named else "espeak is not installed",
        f"install espeak-ng, name its program or library in {ESPEAK} or its library in "
        f"{PHONEMIZER}, or give the phones yourself",
    )


def _run(command: Sequence[str], text: str, language: str, library: str = "") -> list[str]:
    done = subprocess.run(
        command, input=f"{text}\n\n", capture_output=True, encoding="utf-8", check=False
    )
    if library and done.returncode == NO_LIBRARY:
        raise MissingDependencyError(
            f"the espeak library `{library}` does not start: {done.stderr.strip()}",
            f"name another in {ESPEAK} or {PHONEMIZER}, or give the phones yourself",
        )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it has no such voice"])[-1]
        raise TextError(
            f"espeak cannot pronounce `{language}`: {said}",
            f"name another espeak in {ESPEAK}, or give the phones yourself",
        )
    return [line.strip() for line in done.stdout.splitlines()]


def phones(text: str, language: str, pronounce: Pronounce = espeak) -> str:
    """Pronounce a text; its punctuation and spaces stay where they are.

    Args:
        text: any text of the language.
        language: one of `LANGUAGES`.
        pronounce: the program.

    Raises:
        UsageError: unknown language.
        TextError: there is nothing to say.
    """
    check_language(language)
    read = normalise.japanese if "ja" in language else normalise.english
    pieces = MARKS.split(read(text).strip())
    words = [word for word in pieces[::2] if word]
    if not words:
        raise TextError("there is nothing to speak", "give a text with words")
    spoken = iter(pronounce(words, language))
    joined = [
        piece if place % 2 else (next(spoken) if piece else "")
        for place, piece in enumerate(pieces)
    ]
    return "".join(joined)


def tell(spoken: Mapping[str, str], language: str) -> None:
    """Warn of words whose phones the model was hardly taught, once a symbol or language.

    Args:
        spoken: words and their phones.
        language: of the text.
    """
    for word, phones in spoken.items():
        for found, what in (
            *((each, f"in another language, {each}") for each in switched(phones)),
            *((each, f"with `{each}`, which the model has no row for") for each in unread(phones)),
        ):
            if (language, found) not in _TOLD:
                _TOLD.add((language, found))
                log.warning("espeak reads `%s` %s", word, what)


def unread(phones: str) -> str:
    """Symbols of a phone string that the model has no row for, each once."""
    return "".join(dict.fromkeys(symbol for symbol in phones if symbol not in ROWS))


def switched(phones: str) -> tuple[str, ...]:
    """Languages that espeak changed to inside a text, such as `(en)` for a foreign word."""
    return tuple(dict.fromkeys(SWITCH.findall(phones)))
