"""The live line shows the loss and the speed of the last numbers."""

import pytest

from mamtra_cli.cli.progress import Progress, brief
from mamtra_cli.events import Advance, Metrics, Stage


def test_live_line_shows_loss_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(show=True, warn=True)
    shown.live = True
    shown.show_event(Stage(name="training", total=3, unit="steps"))
    shown.show_event(Metrics(step=1, values={"loss": 1.5, "tokens_per_second": 812.3}))
    shown.show_event(Advance())
    shown.close()
    assert "loss 1.5, 812 tokens/s" in capsys.readouterr().err


def test_numbers_of_other_tasks_add_nothing() -> None:
    assert brief({"wer": 0.1}) == ""
