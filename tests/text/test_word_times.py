import pytest

from mamtra_cli.recipes.times import TimedWord
from mamtra_cli.text.word_times import later, timed


def test_words_stand_where_their_ids_are_spoken() -> None:
    words = timed([("", 1), ("a", 1), ("cat", 3), ("", 1)], [2, 1, 1, 0, 2, 4], 1.0)
    assert words == (
        TimedWord(word="a", start=0.2, end=0.3),
        TimedWord(word="cat", start=0.3, end=0.6),
    )
    assert later(words, 1.5)[1] == TimedWord(word="cat", start=1.8, end=2.1)


def test_counts_of_other_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="2 ids and 3 counts"):
        timed([("a", 2)], [1, 2, 3], 1.0)
