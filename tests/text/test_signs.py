"""Signs: what English can read, what is refused by name, and what is taken out and remembered."""

import pytest

from mamtra_cli.errors import TextError
from mamtra_cli.text.signs import Sieve, fold, unreadable


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("привет", "Cyrillic", id="cyrillic"),
        pytest.param("say 你好", "Chinese", id="chinese-among-words"),
        pytest.param("안녕", "Korean", id="korean"),
        pytest.param("γειά", "Greek", id="greek"),
        pytest.param("hi 😀", "emoji", id="emoji-among-words"),
        pytest.param("₿5", "symbol", id="currency-without-a-name"),
        pytest.param("a\x07b", "U\\+0007", id="control-character"),
    ],
)
def test_other_scripts_are_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(TextError, match=named):
        fold(text)


def test_refusal_shows_the_characters() -> None:
    with pytest.raises(TextError, match="ж"):
        fold("a ж b")


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        pytest.param("x² 10⁻⁶ H₂O", "x^2 10^-6 H2O", id="raised-and-lowered"),
        pytest.param("1ˢᵗ ➀", "1st 1", id="raised-letters-and-circles"),
        pytest.param("1\u202f000\u00a0km", "1,000 km", id="blanks-between-thousands"),
        pytest.param("5–6 “no”", '5–6 "no"', id="ranges-keep-their-dash"),
        pytest.param("5 μm 3 \u2126", "5 µm 3 Ω", id="one-sign-for-each-unit"),
    ],
)
def test_signs_are_written_so_that_rules_read_them(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_sieve_leaves_signs_out_and_remembers_each_with_its_sentence() -> None:
    sieve = Sieve(unreadable)
    assert sieve.take("Well done! 🎉 Go on 👍 now.").split() == "Well done! Go on now.".split()
    assert [(s.sign, s.name, s.sentence) for s in sieve.skipped()] == [
        ("🎉", "party popper", "🎉 Go on 👍 now."),
        ("👍", "thumbs up sign", "🎉 Go on 👍 now."),
    ]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_sieve_does_not_depend_on_how_the_text_arrives(size: int) -> None:
    text = "One 🎉 two.\nЖ three ✓ four, Δt of γειά and α"
    parts, whole = Sieve(unreadable), Sieve(unreadable)
    kept = "".join(parts.take(text[i : i + size]) for i in range(0, len(text), size))
    assert (kept + parts.finish()).split() == (whole.take(text) + whole.finish()).split()
    assert parts.skipped() == whole.skipped()


def test_sieve_spells_signs_by_name() -> None:
    assert Sieve(unreadable, "spell").take("I ❤ it 👍").split() == [
        "I", "heavy", "black", "heart", "it", "thumbs", "up",
    ]  # fmt: skip


def test_sieve_refuses_naming_every_sign() -> None:
    with pytest.raises(TextError, match="🎉 Ж"):
        Sieve(unreadable, "refuse").take("a 🎉 b Ж")
