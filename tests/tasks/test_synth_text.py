"""`synth` and its text: signs that cannot be read, other rules, and the reading without speech."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from tests.tiny_model import write_tiny_model

from mamtra_cli.cli.app import run
from mamtra_cli.errors import MamtraError, TextError, UsageError
from mamtra_cli.events import Event, Note
from mamtra_cli.recipes import SynthRecipe
from mamtra_cli.tasks.synth import show, synth

TEXT = "Great job! 🎉 Keep going 👍 and have fun. The end."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("text") / "tiny", source_filter=True)


def recipe(folder: Path, target: Path, **changes: object) -> SynthRecipe:
    given = {"text": TEXT, "model": str(folder), "output": str(target), "retries": 60, **changes}
    return SynthRecipe(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("arriving", [None, [TEXT[:12], TEXT[12:15], TEXT[15:]]])
def test_a_sign_costs_no_sentence_and_is_named(
    model: Path, tmp_path: Path, arriving: list[str] | None
) -> None:
    told: list[Event] = []
    wanted = recipe(model, tmp_path / "a.wav", text_stream=arriving is not None)
    result = synth(wanted, told.append, arriving)
    assert result.pieces == 3
    assert [sign["sign"] for sign in result.skipped] == ["🎉", "👍"]
    assert result.skipped[1]["sentence"] == "🎉 Keep going 👍 and have fun."
    warnings = [event.text for event in told if isinstance(event, Note) and event.warning]
    assert list(result.warnings) == warnings
    assert "`👍` (thumbs up sign)" in " ".join(warnings)


def test_signs_may_be_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="🎉 👍"):
        synth(recipe(model, tmp_path / "a.wav", on_unreadable="refuse"))
    assert not (tmp_path / "a.wav").exists()
    with pytest.raises(UsageError, match="on-unreadable"):
        show(recipe(model, tmp_path / "a.wav", on_unreadable="drop"))


def test_a_text_mostly_of_another_script_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="Cyrillic"):
        show(recipe(model, tmp_path / "a.wav", text="привет, John"))
    reading = show(recipe(model, tmp_path / "a.wav", text="John said привет to us"))
    assert [(sign.sign, sign.name) for sign in reading.skipped] == [("привет", "Cyrillic letters")]


def test_the_reading_shows_words_and_phones(model: Path) -> None:
    reading = show(recipe(model, Path("-"), text="I read 3 ❤.", on_unreadable="spell", output=""))
    assert [piece.spoken for piece in reading.pieces] == ["i read three heavy black heart ."]
    assert reading.pieces[0].phones.startswith("ay1  r iy1 d  th r iy1")
    assert reading.skipped == ()


def test_other_rules_are_refused_by_a_model_of_phones(model: Path) -> None:
    with pytest.raises(UsageError, match="--text published"):
        show(recipe(model, Path("-"), text_rules="published"))


def test_show_text_prints_and_speaks_nothing(
    capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    assert run(["synth", "May 5.", "--show-text", "-m", str(model)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "may fifth ."
    assert run(["synth", "May 5.", "--show-text", "-m", str(model), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [word["word"] for word in said["pieces"][0]["words"]] == ["may", "fifth", "."]


def test_pauses_voices_and_a_lexicon_are_heard(model: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("mamtra\tmum tra\nGIF\t/jh ih1 f/\n")
    text = "Mamtra [pause:1.5s] [voice:bob] has a GIF. [[ k ae1 t ]]"
    wanted = recipe(
        model, tmp_path / "a.wav", text=text, lexicon=tmp_path / "words.txt", sentence_silence=0.0
    )
    assert [piece.phones for piece in show(wanted).pieces] == [
        "m ah1 m  t r aa1  .",
        "hh ae1 z  ax  jh ih1 f  .",
        "k ae1 t  .",
    ]
    assert synth(wanted).seconds > 1.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a [pause:soon]", "no length of time"),
        ("[[ k xx ]]", "no phone `xx`"),
        ("<speak>a", "not well formed"),
        ("[voice:nobody] Hi.", "nobody"),
    ],
)
def test_a_tag_that_cannot_be_is_told(model: Path, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MamtraError, match=message):
        synth(recipe(model, tmp_path / "a.wav", text=text))
    assert not (tmp_path / "a.wav").exists()


def test_tags_may_be_read_as_text(model: Path) -> None:
    reading = show(recipe(model, Path("-"), text="a [pause:1s]", tags=False))
    assert reading.pieces[0].spoken == "a , pause , one second ."


@pytest.mark.parametrize("arriving", [None, ["One two. [pause:1s] ", "Three."]])
def test_words_and_subtitles_stand_where_they_are_said(
    model: Path, tmp_path: Path, arriving: list[str] | None
) -> None:
    wanted = recipe(
        model,
        tmp_path / "a.wav",
        text="One two. [pause:1s] Three.",
        srt=tmp_path / "a.srt",
        vtt=tmp_path / "a.vtt",
        text_stream=arriving is not None,
    )
    result = synth(wanted, arriving=arriving)
    assert [piece.text.strip() for piece in result.spoken] == ["One two.", "Three."]
    words = [word for piece in result.spoken for word in piece.words]
    assert [word.word for word in words] == ["one", "two", "three"]
    assert all(one.end <= two.start for one, two in pairwise(words))
    first, second = result.spoken
    assert second.start - first.end == pytest.approx(1.0, abs=0.01)
    assert second.end == pytest.approx(result.seconds, abs=0.01)
    assert (tmp_path / "a.srt").read_text().count("-->") == 2
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT")
