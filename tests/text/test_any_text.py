"""Whatever is written: no traceback, and nothing but words, letters and pauses comes out."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.text.said import lexicon, said

from mamtra_cli.text.cutting import sentences
from mamtra_cli.text.english import written_out
from mamtra_cli.text.signs import Sieve, unreadable

WRITTEN = "0123456789.,:;/-–+x$€%°'\"()[]*_#&<>=^~ abkmMVXIJDrStpaAé²½ \n"
SPOKEN = re.compile(r"(?:(?:[a-z']+|\^[a-z](?:'s)?|[,.?])(?: |$))*")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=WRITTEN, max_size=60))
@example("5kg-10kg of $3-$5 on 12/24")
def test_signs_of_every_trade(text: str) -> None:
    spoken = said(text)
    assert SPOKEN.fullmatch(spoken), spoken
    written_out(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_characters(text: str) -> None:
    sieve = Sieve(unreadable)
    clear = sieve.take(text) + sieve.finish()
    assert SPOKEN.fullmatch(said(clear)), said(clear)
    written_out(text)
    assert " ".join(sentences(text)).split() == text.split()


def test_no_word_beside_a_number_is_taken_for_a_unit_or_a_date() -> None:
    words = sorted(word for word in lexicon().words() if len(word) > 3 and word.isalpha())[::23]
    known = {"sept", "gals"}
    for word in words:
        assert f" {word} " in said(f"They saw 3 {word} today.") or word in known
        assert f" {word} " in said(f"Nobody met {word.capitalize()} there.")
