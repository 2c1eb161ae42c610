"""Word and character errors against cases that can be counted by hand."""

import pytest

from mamtra_cli.engine.judging.metrics import plain_words, score

pytest.importorskip("jiwer")


def test_score_of_equal_texts_is_zero_whatever_case_and_punctuation() -> None:
    found = score(["Hello, there!", "It's two."], ["hello there", "it's two"])
    assert (found.wer, found.cer, found.ci_low, found.ci_high) == (0.0, 0.0, 0.0, 0.0)
    assert (found.n_words, found.n_sentences) == (4, 2)


@pytest.mark.parametrize(
    ("said", "heard", "wer"),
    [
        pytest.param("a b c d", "a x c d", 1 / 4, id="one-replaced"),
        pytest.param("a b c d", "a c d", 1 / 4, id="one-left-out"),
        pytest.param("a b c d", "a b b c d", 1 / 4, id="one-put-in"),
        pytest.param("a b c d", "", 1.0, id="nothing-heard"),
        pytest.param("a", "x y z", 3.0, id="more-errors-than-words"),
    ],
)
def test_word_errors_count(said: str, heard: str, wer: float) -> None:
    assert score([said], [heard]).wer == pytest.approx(wer)


def test_character_errors_count_spaces() -> None:
    assert score(["ab cd"], ["abcd"]).cer == pytest.approx(1 / 5)


def test_score_pools_words_over_sentences() -> None:
    found = score(["a b c d e f g h i", "j"], ["a b c d e f g h i", "x"])
    assert found.wer == pytest.approx(0.1)


def test_interval_holds_the_rate_and_repeats() -> None:
    said = [f"word{i} and more of it" for i in range(40)]
    heard = [text if i % 4 else text.replace("more", "less") for i, text in enumerate(said)]
    found = score(said, heard)
    assert found.ci_low < found.wer < found.ci_high
    assert found == score(said, heard)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        pytest.param(["a"], [], id="lengths-differ"),
        pytest.param([], [], id="empty"),
        pytest.param(["..."], ["a"], id="no-words"),
    ],
)
def test_score_refuses(said: list[str], heard: list[str]) -> None:
    with pytest.raises(ValueError, match=r"reference|hypotheses"):
        score(said, heard)


def test_plain_words_keep_inner_apostrophes_only() -> None:
    assert plain_words("'Don’t' stop -- the dogs' bowl_2!") == "don't stop the dogs bowl 2"
