"""Forced cuts: at phrase borders, within the limit, with no word lost."""

import random

import pytest

from mamtra_cli.text.phrases import border, parted

RUN = (
    "our guide counted the garden walls and told us that nobody had ever climbed over them because "
    "the old gardener who lived in the house behind the hill kept a large dog with a loud voice"
).split()


@pytest.mark.parametrize("most", [8, 10, 12, 20])
def test_cuts_are_borders_of_phrases(most: int) -> None:
    pieces = parted(RUN, [1] * len(RUN), most)
    assert [RUN[i] for piece in pieces for i in piece] == RUN
    assert max(map(len, pieces)) <= most
    assert all(border(RUN[piece[0] - 1], RUN[piece[0]]) > -4 for piece in pieces[1:])


@pytest.mark.parametrize("seed", range(5))
def test_no_word_is_lost_whatever_the_lengths(seed: int) -> None:
    draw = random.Random(seed)
    words = [draw.choice(["the", "and", "dog", "in", "^a"]) for _ in range(60)]
    lengths = [draw.randrange(1, 15) for _ in words]
    pieces = parted(words, lengths, 30)
    assert [i for piece in pieces for i in piece] == list(range(60))
    assert all(sum(lengths[i] for i in piece) <= 30 for piece in pieces)


def test_a_word_longer_than_the_limit_stands_alone() -> None:
    assert parted(["a", "long", "b"], [1, 50, 1], 10) == [range(1), range(1, 2), range(2, 3)]
