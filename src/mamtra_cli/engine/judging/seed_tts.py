"""Seed-TTS-eval's list of sentences and its rules for comparing words.

A list has one utterance a line, `name|prompt text|prompt wav|text`, and may have the wav of the
real recording as a fifth field; the wav paths are relative to the list. The rules: punctuation
goes, but the ASCII apostrophe stays; English is lower-cased and split at spaces, Chinese is split
into characters; numbers are not spelled out; the score is the mean of the utterances' rates.
Source: BytedanceSpeech/seed-tts-eval (`run_wer.py`, `average_wer.py`). Knows text, not models.
"""

import string
from dataclasses import dataclass
from pathlib import Path

from mamtra_cli.errors import DataError, MissingDependencyError
from mamtra_cli.text.encoding import read_text

FIELDS = (4, 5)
# The characters of zhon.hanzi.punctuation, which the rules strip, as ranges of code points.
_CJK = (
    "FF02-FF0F FF1A-FF20 FF3B-FF40 FF5B-FF60 FF62-FF64 3000-3001 3003 3008-3011 3014-301F 3030 "
    "303E-303F 2013-2014 2018-2019 201B-201F 2026-2027 FE4F FE51 FE54 B7 FF01 FF61 3002"
)


def _expand(ranges: str) -> str:
    """Return the characters of hexadecimal ranges."""
    found = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        found += [chr(code) for code in range(int(first, 16), int(last or first, 16) + 1)]
    return "".join(found)


STRIPPED = frozenset((_expand(_CJK) + string.punctuation).replace("'", ""))
_STRIP = {ord(letter): None for letter in STRIPPED}


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Something to say in a test, and whose voice to say it in.

    Attributes:
        id: its name in records and files.
        text: what is said.
        prompt_audio: clip of the voice to copy; `None` for a voice of the model.
        prompt_text: what the clip says.
    """

    id: str
    text: str
    prompt_audio: Path | None = None
    prompt_text: str = ""


def english_words(text: str) -> list[str]:
    """The words of an English text under the rules."""
    return text.translate(_STRIP).lower().split()


def chinese_characters(text: str) -> list[str]:
    """The characters of a Chinese text under the rules; letters of other scripts are single too."""
    return list("".join(text.translate(_STRIP).split()))


def simplified(text: str) -> str:
    """A Chinese text in simplified characters, as the rules want what was heard."""
    try:
        import zhconv
    except ImportError:
        raise MissingDependencyError(
            "Chinese scores need the package zhconv", "pip install 'mamtra-cli[eval]'"
        ) from None
    found: str = zhconv.convert(text, "zh-cn")
    return found


def read_list(path: Path, limit: int = 0) -> list[Sentence]:
    """Read a list.

    Args:
        path: the list; clips are found beside it.
        limit: take the first so many lines; 0 for all.

    Raises:
        DataError: the file, a line of it or a clip cannot be used; names the line.
    """
    lines = read_text(path, absent=DataError, foreign=DataError).split("\n")
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise DataError(f"`{path}` holds no utterances", "one a line: name|prompt text|wav|text")
    found = [_sentence(line, number, path) for number, line in numbered[: limit or None]]
    names = [sentence.id for sentence in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"`{path}` has two utterances `{twice}`")
    return found


def _sentence(line: str, number: int, path: Path) -> Sentence:
    parts = [part.strip() for part in line.split("|")]
    if len(parts) not in FIELDS:
        raise DataError(
            f"line {number} of `{path}` has {len(parts)} fields",
            "write it as name|prompt text|prompt wav|text",
        )
    name, prompt_text, wav, text = parts[:4]
    if not name or not text:
        raise DataError(f"line {number} of `{path}` has no {'text' if name else 'name'}")
    clip = path.parent / wav if wav else None
    if clip is not None and not clip.is_file():
        raise DataError(f"line {number} of `{path}`: there is no clip `{clip}`")
    return Sentence(id=name, text=text, prompt_audio=clip, prompt_text=prompt_text)
