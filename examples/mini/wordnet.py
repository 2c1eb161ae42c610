"""Everyday and rare English in whole phrases: the example sentences of WordNet's glosses.

Needs the Debian package wordnet-base. 32,839 phrases of 4 to 22 words with 26,700 word types; what
has digits, abbreviations or brackets is left out, for nobody checked how it would be read.
"""

import random
import re
from pathlib import Path

FOLDER = Path("/usr/share/wordnet")
FEWEST, MOST = 4, 22  # words
HELD_OUT = 200  # phrases that nothing is trained on


def phrases(folder: Path = FOLDER) -> list[str]:
    """Return all usable phrases as sentences, in one fixed random order."""
    found: dict[str, str] = {}
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text("utf-8").splitlines():
            if line.startswith("  "):
                continue  # the licence
            for quoted in re.findall(r'"([^"]+)"', line.partition(" | ")[2]):
                text = quoted.strip().rstrip(";,.").strip()
                if usable(text):
                    text = text[0].upper() + text[1:].replace("!", "").rstrip()
                    end = "" if text.endswith("?") else "."
                    found.setdefault(text.lower(), text + end)
    texts = sorted(found.values())
    random.Random(0).shuffle(texts)
    return texts


def usable(text: str) -> bool:
    """Whether a phrase is plain words with plain punctuation."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z',?! -]*", text) is not None
    odd = re.search(r"\b[A-Z]{2,}\b|--|''|\b'(?!s|t|re|ve|ll|d|m)", text) is not None
    return plain and not odd and FEWEST <= len(text.split()) <= MOST


def held_out() -> list[str]:
    """Return the phrases kept for tests."""
    return phrases()[:HELD_OUT]


def known() -> list[str]:
    """Return the phrases to train on."""
    return phrases()[HELD_OUT:]
