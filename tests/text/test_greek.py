"""Greek letters: names of those that stand for themselves, and words that stay unread."""

import pytest
from tests.text.said import said

from mamtra_cli.text.signs import Sieve, unreadable


def read(text: str) -> tuple[str, list[str]]:
    """What is said for a text, and what was left out."""
    sieve = Sieve(unreadable)
    clear = sieve.take(text) + sieve.finish()
    return said(clear).rstrip(" ."), [found.sign for found in sieve.skipped()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("α and β-blockers", "alpha and beta blockers", id="before-a-word"),
        pytest.param("Δx over 2θ", "delta x over two theta", id="against-letters-and-digits"),
        pytest.param("ΔΔG, ΦΒΚ", "delta delta ^g , phi beta kappa", id="several-that-are-no-word"),
        pytest.param("λ₁ and χ²", "lambda one and chi squared", id="with-figures"),
        pytest.param("μ of 3 μm", "mu of three micrometers", id="units-stay-units"),
        pytest.param("Ω is 5 Ω", "omega is five ohms", id="ohms-are-counted"),
    ],
)
def test_letters_that_stand_for_themselves_are_named(text: str, words: str) -> None:
    assert read(text) == (words, [])


@pytest.mark.parametrize("word", ["γειά", "μου", "ή", "Αθήνα", "το"])
def test_words_of_greek_are_left_out_whole(word: str) -> None:
    assert read(f"Say {word} now.") == ("say now", [word])


def test_a_model_that_reads_greek_gets_it_as_it_is() -> None:
    sieve = Sieve(lambda character: False)
    assert sieve.take("α γειά") + sieve.finish() == "α γειά"
