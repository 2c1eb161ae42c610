"""Nothing that was written is dropped in silence: sentences in, sentences out."""

from pathlib import Path

import pytest

from benchmarks import reading
from mamtra_cli import models
from mamtra_cli.families.phones import PhoneFrontEnd
from mamtra_cli.text import greek
from mamtra_cli.text.cutting import sentences
from mamtra_cli.text.english import normalise
from mamtra_cli.text.signs import Sieve

TEXTS = [row["input"] for row in reading.rows()]
JOINED = [". ".join(TEXTS[start : start + 20]) + "." for start in range(0, len(TEXTS), 20)]


@pytest.fixture(scope="module")
def front() -> PhoneFrontEnd:
    return PhoneFrontEnd.load(Path(models.__file__).parent / "mini")


def test_every_sentence_is_spoken_or_named(front: PhoneFrontEnd) -> None:
    known = front.lexicon.__contains__
    for text in [*TEXTS, *JOINED]:
        sieve = Sieve(front.unreadable)
        clear = sieve.take(text) + sieve.finish()
        wanted = [sentence for sentence in sentences(clear) if normalise(sentence, known)]
        if not wanted:
            assert sieve.skipped() or not any(map(str.isalnum, text))
            continue
        spoken = [normalise(piece, known) for piece in front.split(clear, 400)]
        assert spoken == [normalise(sentence, known) for sentence in wanted]


def test_pieces_hold_every_word_of_a_text() -> None:
    for text in [*TEXTS, *JOINED]:
        assert " ".join(sentences(text)).split() == text.split()


def test_every_sign_that_goes_is_named(front: PhoneFrontEnd) -> None:
    for text in TEXTS:
        sieve, said = Sieve(front.unreadable), greek.named(text)
        gone = [s for place, s in enumerate(text) if front.unreadable(s) and not said.get(place)]
        sieve.take(text)
        sieve.finish()
        assert [letter for found in sieve.skipped() for letter in found.sign] == gone
