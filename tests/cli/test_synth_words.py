"""`synth --words` at the command line."""

import pytest

from mamtra_cli.cli.app import run


def test_words_that_nobody_would_see_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["synth", "Hi.", "-o", "hi.wav", "--words"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "`--words`" in said.err
    assert "add `--json`, or give `--srt` instead" in said.err
