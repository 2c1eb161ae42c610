"""Told codes skip no phone, move its borders little, and say what they were made of."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "mini"))

import supervised_codes
from dataset import TOKEN_SAMPLES, Corpus, Sentence
from sizes import TOKENIZER
from supervised_codes import CLASS, LEVELS, borders, heights, join, owners, phones, rests

# 40 ms tokens: three phones of 25 ms share two tokens, so that one has to come from a neighbour.
SPOKEN = [("pau", 0, 0.1), ("dh", 0, 0.125), ("ax", 0, 0.15), ("t", 0, 0.175), ("s", 0, 0.4)]


def sentence(spoken: list[tuple[str, int, float]] = SPOKEN) -> Sentence:
    samples = round(spoken[-1][2] * 24_000)
    return Sentence(
        id="n1-natural-00000-000", text="The.", voice="n1", kind="natural", batch=Path(), start=0,
        samples=samples, phones=spoken, words=[],
    )  # fmt: skip


def nearest(ends: np.ndarray, tokens: int) -> float:
    """Squared moves of the best whole borders, by dynamic programming."""
    cost = {0: 0.0}
    for i, end in enumerate(ends, 1):
        last = i == len(ends)
        cost = {
            b: min(cost[a] for a in cost if a < b) + (0 if last else (b - end) ** 2)
            for b in range(i, tokens + 1)
            if any(a < b for a in cost) and (not last or b == tokens)
        }
    return cost[tokens]


def test_borders_move_as_little_as_lets_every_phone_have_a_token() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        frames = rng.integers(1, 6, rng.integers(1, 12))
        ends = np.cumsum(frames) * 0.625  # 25 ms in tokens
        tokens = int(ends[-1])
        if tokens < len(ends):
            continue
        found = borders(ends, tokens)
        assert found[-1] == tokens
        assert (np.diff(found, prepend=0) >= 1).all()
        moves = ((found - ends)[:-1] ** 2).sum()
        assert moves <= nearest(ends, tokens) + 0.5  # what rounding costs


def test_more_phones_than_tokens_keep_their_order() -> None:
    found = borders(np.array([0.6, 1.2, 1.9, 2.5]), 2)
    assert found[-1] == 2
    assert (np.diff(found, prepend=0) >= 0).all()


def test_each_phone_of_a_sentence_owns_a_token() -> None:
    s = sentence()
    assert len(owners(s)) == s.tokens
    assert set(owners(s)) == set(range(len(SPOKEN)))
    assert phones(s)[-1] == CLASS["s"]


def test_a_phone_that_is_said_twice_ends_twice() -> None:
    s = sentence([("pau", 0, 0.08), ("s", 0, 0.16), ("s", 0, 0.24)])
    assert rests(s).tolist() == [2, 1] * 3


def test_a_long_phone_is_counted_down_from_where_three_tokens_follow() -> None:
    s = sentence([("pau", 0, 0.04), ("s", 0, 0.32)])
    assert rests(s).tolist() == [1, 4, 4, 4, 4, 3, 2, 1]


@pytest.mark.parametrize(("late", "told"), [(-0.4, 0), (-0.1, 0), (0.1, 1), (0.4, 1)])
def test_the_last_token_of_a_phone_tells_whether_the_next_begins_in_it(
    late: float, told: int
) -> None:
    s = sentence([("pau", 0, 0.16 + 0.04 * late), ("s", 0, 0.4)])
    assert rests(s)[:4].tolist() == [4, 3, 2, told]


def test_pitch_is_carried_through_what_is_unvoiced() -> None:
    hertz = np.array([0, 0, 100, 100, 0, 0, 200, 200, 0, 0])
    assert np.allclose(np.exp2(heights(hertz)), [100, 100, np.sqrt(2e4), 200, 200], rtol=0.01)
    assert np.isnan(heights(np.zeros(4))).all()


def test_codes_are_of_mini_and_hold_their_digits() -> None:
    assert np.prod(LEVELS) == TOKENIZER.codebook_size
    assert len(set(CLASS.values())) == 41
    code = int(join(np.array(CLASS["pau"]), np.array(2), np.array(4)))
    assert (code % 49, code // 49 % 5, code // 245) == (CLASS["pau"], 2, 4)


def test_codes_lie_beside_the_batch(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    spoken = [*SPOKEN, ("aa", 1, 0.8)]
    s = sentence(spoken)
    row = {"id": s.id, "text": s.text, "start": 0, "samples": s.samples, "phones": spoken}
    (folder / "n1-natural-00000.jsonl").write_text(json.dumps(row | {"words": []}) + "\n")
    np.save(folder / "n1-natural-00000.npy", np.zeros(s.tokens * TOKEN_SAMPLES, np.int16))
    pitch = np.linspace(100, 200, 2 * s.tokens).astype(np.float16)
    np.save(folder / "n1-natural-00000.pitch.npy", pitch)
    told = supervised_codes.write_codes(Corpus(tmp_path))
    corpus = Corpus(tmp_path)
    codes = corpus.codes(corpus.sentences[0])
    assert told["phones_without_token"] == 0
    assert (codes % 49).tolist() == phones(s).tolist()
    assert (codes // 49 % 5).tolist() == sorted((codes // 49 % 5).tolist())  # a rising pitch
    assert (codes // 245).tolist() == rests(s).tolist()
