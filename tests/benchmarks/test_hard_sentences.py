"""The hard sentences are those of their rules, and what is counted of them is what was skipped."""

import importlib.util
import json
from pathlib import Path

import pytest
from tests.families.mvc.tiny import write_tiny_mvc

PATH = Path(__file__).parents[2] / "benchmarks" / "hard_sentences.py"
spec = importlib.util.spec_from_file_location("hard_sentences", PATH)
assert spec is not None
assert spec.loader is not None
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def test_the_file_holds_two_hundred_sentences_as_the_rules_make_them() -> None:
    texts = bench.TEXTS.read_text("utf-8").splitlines()
    assert texts == bench.sentences()
    assert len(set(texts)) == 200


@pytest.mark.parametrize(
    ("heard", "skipped", "repeated", "added"),
    [
        ("row row row your boat", 0, 0, 0),
        ("row row your boat", 1, 0, 0),
        ("row row row row your boat", 0, 1, 0),
        ("row row row your boat gently", 0, 0, 1),
        ("row row row your goat", 0, 0, 0),
    ],
)
def test_words_are_counted_as_heard(heard: str, skipped: int, repeated: int, added: int) -> None:
    found = bench.heard("row row row your boat".split(), heard.split())
    assert found == {"skipped": skipped, "repeated": repeated, "added": added}


def test_a_conditioner_gives_every_phone_its_frames_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "sentences", lambda: ["no no no", "a b a b a b"])
    found = bench.by_frames(str(write_tiny_mvc(tmp_path)))
    assert found["phones"] > 0
    assert (found["skipped"], found["repeated"]) == (0, 0)


def test_records_are_summed_by_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "whisper_words", str.lower)  # its package is not for tests
    rows = [
        {"model": name, "text": "no no no", "heard": words, "run_on": False}
        for name, words in (
            ("one", "no no"),
            ("one", "no no no"),
            ("other", "no no no no"),
            ("other", "no " * 12),  # a judge in a loop
        )
    ]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, other = bench.by_records(path)
    assert (one["sentences"], one["words"], one["skipped"], one["incomplete"]) == (2, 6, 1, 1)
    assert (other["repeated"], other["added"]) == (1, 0)
    assert (one["loops"], other["loops"], other["looped"]) == (0, 1, 12)
