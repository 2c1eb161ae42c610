"""The live line shows the loss and the speed of the last numbers."""

import pytest

from mamtra_cli.cli.progress import Progress, brief, duration
from mamtra_cli.events import Advance, Metrics, Stage


def test_live_line_shows_loss_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(show=True, warn=True)
    shown.live = True
    shown.show_event(Stage(name="training", total=3, unit="steps"))
    shown.show_event(Metrics(step=1, values={"loss": 1.5, "tokens_per_second": 812.3}))
    shown.show_event(Advance())
    shown.close()
    assert "loss 1.5, 812 tokens/s" in capsys.readouterr().err


def test_time_left_is_told_from_the_first_of_many_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("mamtra_cli.cli.progress.time.monotonic", lambda: clock[0])
    shown = Progress(show=True, warn=True)
    shown.show_event(Stage(name="speaking", total=64, unit="sentences"))
    for seconds in (5.0, 5.0, 25.0):
        clock[0] += seconds
        shown.show_event(Advance())
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "speaking 64 sentences",
        "speaking 1/64 sentences, about 5 min left",
        "speaking 3/64 sentences, about 12 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(12.2, "12 s"), (100, "2 min"), (5400, "1 h 30 min")]
)
def test_durations_are_told_in_a_word_or_two(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_of_other_tasks_add_nothing() -> None:
    assert brief({"wer": 0.1}) == ""
