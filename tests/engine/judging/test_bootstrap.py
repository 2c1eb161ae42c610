"""Intervals cover what they should, pair what belongs together, and repeat."""

import numpy as np
import pytest

from mamtra_cli.engine.judging.bootstrap import Ratio, interval


def ratio(above: list[float], below: list[float] | None = None) -> Ratio:
    top = np.array(above, np.float64)
    return Ratio(above=top, below=np.ones_like(top) if below is None else np.array(below, float))


def test_ratio_pools_its_sums() -> None:
    assert ratio([1, 0, 3], [10, 10, 20]).value == pytest.approx(0.1)
    assert np.isnan(ratio([0.0], [0.0]).value)


def test_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    found = interval(ratio(list(values)))
    assert found is not None
    half = 1.96 * values.std() / 20
    assert found[0] == pytest.approx(values.mean() - half, abs=0.05)
    assert found[1] == pytest.approx(values.mean() + half, abs=0.05)


def test_interval_covers_the_true_rate_in_about_95_of_100_sets() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        found = interval(ratio(list(generator.normal(0.0, 1.0, 40))), rounds=400, seed=seed)
        assert found is not None
        covered += found[0] <= 0.0 <= found[1]
    assert 178 <= covered <= 198


def test_paired_difference_of_models_that_err_together_is_narrow() -> None:
    generator = np.random.default_rng(3)
    hard = generator.uniform(0, 10, 60)
    one, other = ratio(list(hard + generator.uniform(0, 0.1, 60))), ratio(list(hard))
    alone, paired = interval(one), interval(one, other)
    assert alone is not None
    assert paired is not None
    assert paired[1] - paired[0] < 0.05 * (alone[1] - alone[0])
    assert paired[0] <= one.value - other.value <= paired[1]
    assert paired[0] > 0


def test_equal_seeds_draw_equal_sentences_in_any_portion(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = ratio([0, 1, 2, 5, 1], [3, 4, 5, 6, 7])
    first = interval(sums, rounds=100, seed=4)
    assert first == interval(sums, rounds=100, seed=4)
    assert first != interval(sums, rounds=100, seed=5)
    monkeypatch.setattr("mamtra_cli.engine.judging.bootstrap.CELLS", 50)
    assert first == interval(sums, rounds=100, seed=4)


@pytest.mark.parametrize("below", [[1.0], [1.0, 0.0, 0.0]], ids=["one", "one-counts"])
def test_fewer_than_two_sentences_have_no_interval(below: list[float]) -> None:
    assert interval(ratio([1.0] * len(below), below)) is None


def test_drawings_without_a_sentence_that_counts_have_no_interval() -> None:
    sums = ratio([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0])
    found = {interval(sums, rounds=1, seed=seed) for seed in range(100)}
    assert found == {None, (1.0, 1.0)}


def test_sets_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="against"):
        interval(ratio([1, 2]), ratio([1, 2, 3]))
    with pytest.raises(ValueError, match=r"\(N,\)"):
        Ratio(above=np.zeros(2), below=np.zeros(3))
