"""Files of lines: the sound of each as alone, resuming, shares, wrong lines."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.command import mamtra

from mamtra_cli.engine.speaking import lines as speaking
from mamtra_cli.engine.speaking.records import RESULTS
from mamtra_cli.errors import DataError, UsageError
from mamtra_cli.events import Note
from mamtra_cli.recipes import SynthRecipe
from mamtra_cli.recipes.lines import LineRecord
from mamtra_cli.tasks.lines import speak_file
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
        {"text": TEXTS[2], "voice": "ben", "seed": 5, "output": "deep/two.flac"},
        {"id": "c", "text": TEXTS[1], "speed": 1.5},
    ]
    heard: list[LineRecord] = []
    result = speak_file(
        recipe(written(tmp_path / "in.jsonl", *lines), tmp_path / "out"), emit=heard.append
    )
    assert (result.made, result.failed, result.kept) == (3, 0, 0)
    assert sorted(record.id for record in heard) == ["000002", "a", "c"]
    alone = SynthRecipe(text=TEXTS[2], voice="ben", seed=5, output=str(tmp_path / "alone.flac"))
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


def test_a_wrong_line_is_told_before_anything_is_made(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", {"text": "Hello."}, {"text": 3})
    with pytest.raises(DataError, match="line 2"):
        speak_file(recipe(source, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_files_become_lines(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"Number {name}.")
    given = ["-i", str(tmp_path / "one.txt"), "-i", str(tmp_path / "two.txt")]
    done = mamtra("synth", *given, "-d", str(tmp_path / "out"))
    assert done.rc == 0
    made = [json.loads(line) for line in done.out.splitlines()]
    assert {line["id"]: line["output"] for line in made} == {"one": "one.wav", "two": "two.wav"}
    assert soundfile.info(tmp_path / "out" / "two.wav").frames > 0


def test_a_line_that_found_no_end_says_so(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", {"text": TEXTS[3]}, {"text": "Hello."})
    events: list[Any] = []
    asked = recipe(source, tmp_path / "out", max_seconds=0.8, on_runaway="keep")
    made = speak_file(asked, events.append)
    assert made.failed == 0
    cut = {record["id"]: record["cut"] for record in records(tmp_path / "out")}
    assert cut["000001"] == [TEXTS[3]]
    told = [event.text for event in events if isinstance(event, Note) and event.warning]
    assert any("line `000001`: `Good evening" in text and "cut at" in text for text in told)


def test_the_command_writes_a_record_a_line_and_fails_for_those_it_could_not_speak(
    tmp_path: Path,
) -> None:
    source = written(tmp_path / "in.jsonl", {"text": "Hello."}, {"text": " "})
    done = mamtra("synth", "--jsonl", str(source), "-d", str(tmp_path / "out"))
    assert done.rc == 1
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(bool(line["error"]) for line in lines) == [False, True]
    assert "1 of 2 lines" in done.err
