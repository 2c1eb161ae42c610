"""Text that arrives in parts: when a sentence or a word is complete."""

from collections.abc import Iterator

import pytest

from mamtra_cli.text.arriving import LONGEST_WAIT, whole_sentences, whole_words

TEXT = "It was late. Dr. Brown had gone home, i.e. out of town! Was it $3.50?\nYes\n\nit was."


@pytest.mark.parametrize("size", [1, 3, 7, 200])
def test_sentences_do_not_depend_on_how_the_text_arrives(size: int) -> None:
    parts = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    assert list(whole_sentences(parts)) == [
        "It was late.",
        "Dr. Brown had gone home, i.e. out of town!",
        "Was it $3.50?",
        "Yes",
        "it was.",
    ]


def arriving(parts: list[str], seen: list[str]) -> Iterator[str]:
    """Parts, each noted when it is asked for."""
    for part in parts:
        seen.append(part)
        yield part


@pytest.mark.parametrize(
    ("parts", "needed"),
    [
        pytest.param(["One two. ", "Three", " four."], 2, id="another-begins"),
        pytest.param(["One two.\n", "Three", " four."], 1, id="the-line-ends"),
        pytest.param(["One two\n\n", "Three", " four."], 1, id="the-paragraph-ends"),
        pytest.param(["\u4f60\u597d\u3002", "\u597d"], 1, id="full-width-mark"),
        pytest.param(["one, " * 100, "two"], 1, id="no-end-in-sight"),
    ],
)
def test_sentence_comes_as_soon_as_it_is_complete(parts: list[str], needed: int) -> None:
    seen: list[str] = []
    first = next(whole_sentences(arriving(parts, seen)))
    assert first
    assert len(first) <= LONGEST_WAIT
    assert seen == parts[:needed]


@pytest.mark.parametrize("size", [1, 4, 100])
def test_words_arrive_whole_and_lose_nothing(size: int) -> None:
    text = "  The  old\nclock was slow. "
    words = list(whole_words([text[i : i + size] for i in range(0, len(text), size)]))
    assert "".join(words) == "The old clock was slow."
    assert all(word.startswith(" ") for word in words[1:])
