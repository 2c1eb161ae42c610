"""The judge of `benchmarks/cloning.py`: who is nearest, and what own sentences reach."""

import numpy as np
import pytest
from benchmarks.cloning import RATE, left_out, likeness, measures, split

CENTRES = np.array([[1.0, 0.0], [0.0, 2.0]])


def test_nearest_speaker_is_by_direction_not_by_length() -> None:
    found = [likeness(0, np.array([3.0, 1.0]), CENTRES), likeness(0, np.array([1.0, 1.1]), CENTRES)]
    assert found[0].own == pytest.approx(3 / 10**0.5)
    assert found[0].other == pytest.approx(1 / 10**0.5)
    right = measures(found, 2)["right"]
    assert right.above.tolist() == [1.0, 0.0]
    assert right.below.tolist() == [2.0, 0.0]


def test_a_true_sentence_is_not_compared_with_itself() -> None:
    odd = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    other = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert [f.own > f.other for f in left_out([odd, other])] == [True, True, False, True, True]


def test_a_clip_is_five_seconds_and_leaves_sentences_to_be_known_by() -> None:
    said = [(f"Part {i}.", np.zeros(2 * RATE, np.float32)) for i in range(6)]
    assert [len(part) for part in split(said)] == [3, 3]
    assert [len(part) for part in split(said[:3])] == [1, 2]
