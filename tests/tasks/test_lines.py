"""Files of lines: the sound of each as alone, resuming, shares, wrong lines."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.command import mamtra

from mamtra_cli.engine.speaking import lines as speaking
from mamtra_cli.engine.speaking.records import RESULTS
from mamtra_cli.errors import DataError, MamtraError, UsageError
from mamtra_cli.recipes import SynthRecipe
from mamtra_cli.recipes.lines import LineRecord
from mamtra_cli.tasks.lines import FIELDS, read_lines, speak_file
from mamtra_cli.tasks.synth import synth

TEXTS = ["Hello.", "It is 5 p.m.", "Two pieces. They are said.", "Good evening to you all."]


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recipe(source: Path, folder: Path, **more: Any) -> SynthRecipe:
    return SynthRecipe(jsonl=source, output_dir=folder, **more)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]


def test_each_line_sounds_as_it_does_alone(tmp_path: Path) -> None:
    lines = [
        {"id": "a", "text": TEXTS[0]},
        {"text": TEXTS[2], "voice": "m1", "seed": 5, "output": "deep/two.flac"},
        {"id": "c", "text": TEXTS[1], "speed": 1.5},
    ]
    heard: list[LineRecord] = []
    result = speak_file(
        recipe(written(tmp_path / "in.jsonl", *lines), tmp_path / "out"), emit=heard.append
    )
    assert (result.made, result.failed, result.kept) == (3, 0, 0)
    assert sorted(record.id for record in heard) == ["000002", "a", "c"]
    alone = SynthRecipe(text=TEXTS[2], voice="m1", seed=5, output=str(tmp_path / "alone.flac"))
    synth(alone)
    found, _ = soundfile.read(tmp_path / "out" / "deep" / "two.flac")
    want, _ = soundfile.read(tmp_path / "alone.flac")
    assert len(found) == len(want)
    np.testing.assert_allclose(found, want, atol=2e-3)


def test_a_longest_length_holds_for_every_line(tmp_path: Path) -> None:
    long = "It is late, and all of us talk of the same old house near the cold river."
    source = written(tmp_path / "in.jsonl", {"text": "Hello."}, {"text": long})
    made = speak_file(recipe(source, tmp_path / "out", max_seconds=1.0))
    assert (made.made, made.failed) == (1, 1)
    (refused,) = [record["error"] for record in records(tmp_path / "out") if record["error"]]
    assert refused.startswith("`--max-seconds 1` is too short")


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"clip": Path("me.wav")}, "--clip"),
        ({"stream": True}, "--stream"),
        ({"settings": ("pitch=+2",)}, "--set"),
        ({"server": "http://127.0.0.1:1"}, "--server"),
    ],
)
def test_an_option_that_lines_do_not_heed_is_refused(
    tmp_path: Path, more: dict[str, Any], flag: str
) -> None:
    source = written(tmp_path / "in.jsonl", {"text": TEXTS[0]})
    with pytest.raises(UsageError, match=f"`{flag}` does not go with"):
        speak_file(recipe(source, tmp_path / "out", **more))
    assert not (tmp_path / "out").exists()


def test_text_rules_hold_for_lines(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", {"text": TEXTS[0]})
    with pytest.raises(UsageError, match="rules"):
        speak_file(recipe(source, tmp_path / "out", text_rules="published"))


def test_a_sign_that_cannot_be_read_costs_no_line_and_is_named(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", {"text": "Hello \U0001f600 there."})
    result = speak_file(recipe(source, tmp_path / "out"))
    assert (result.made, result.failed) == (1, 0)
    (record,) = records(tmp_path / "out")
    assert record["skipped"] == ["\U0001f600 (grinning face)"]


def test_parts_of_a_file_hold_every_line_once(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", *({"text": text} for text in TEXTS))
    parts = [replace(recipe(source, tmp_path / "out"), shard=f"{k}/3") for k in (1, 2, 3)]
    assert [speak_file(part).made for part in parts] == [2, 1, 1]
    whole = speak_file(recipe(source, tmp_path / "out"))
    assert (whole.kept, whole.made) == (4, 0)


def test_a_run_that_was_killed_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "in.jsonl", *({"text": text} for text in TEXTS))
    speak_file(recipe(source, tmp_path / "whole"))
    ended = speaking._ended
    count = 0

    def killed(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return ended(*given)

    monkeypatch.setattr(speaking, "_ended", killed)
    with pytest.raises(KeyboardInterrupt):
        speak_file(recipe(source, tmp_path / "out"))
    monkeypatch.undo()
    assert len(records(tmp_path / "out")) == 2
    with (tmp_path / "out" / RESULTS).open("a") as file:
        file.write('{"id": "cut')
    result = speak_file(recipe(source, tmp_path / "out"))
    assert (result.kept, result.made) == (2, 2)
    assert len(records(tmp_path / "out")) == 4
    for path in sorted((tmp_path / "whole").glob("*.wav")):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "has no `text`"),
        ('{"text": 3}', "has no `text`"),
        ('{"text": "a", "sped": 1}', "unknown field `sped`"),
        ('{"text": "a", "seed": "1"}', "`seed`"),
        ('{"text": "a", "speed": 100}', "out of range"),
        ('{"text": "a", "output": "../x.wav"}', "leads out"),
        ('{"text": "a", "output": "/x.wav"}', "leads out"),
        ('{"text": "a", "id": "1"}\n{"text": "b", "id": "1"}', "repeats the id"),
    ],
)
def test_wrong_lines_are_told_before_anything_is_spoken(
    tmp_path: Path, line: str, words: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(line + "\n")
    with pytest.raises(DataError, match=words):
        speak_file(recipe(source, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_record_a_line_and_fails_for_those_it_could_not_speak(
    tmp_path: Path,
) -> None:
    source = written(tmp_path / "in.jsonl", {"text": "Hello."}, {"text": " "})
    done = mamtra("synth", "--jsonl", str(source), "-d", str(tmp_path / "out"))
    assert done.rc == 1
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(bool(line["error"]) for line in lines) == [False, True]
    assert "1 of 2 lines" in done.err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
LINES = st.text(max_size=40) | st.dictionaries(st.sampled_from([*FIELDS, "x"]), JSON).map(
    json.dumps
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=4))
def test_no_file_of_lines_makes_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    source = tmp_path_factory.getbasetemp() / "any.jsonl"
    source.write_text("\n".join(lines), "utf-8", "surrogatepass")
    try:
        found = list(read_lines(recipe(source, source.parent), "wav"))
    except MamtraError:
        return  # told in a line
    assert len({line.id for line in found}) == len(found)
