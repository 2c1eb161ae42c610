"""What goes where: results on stdout, talk on stderr, errors in two lines, exit codes."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.command import environment, mamtra, python

from mamtra_cli import __version__
from mamtra_cli.cli import progress
from mamtra_cli.cli.app import run
from mamtra_cli.cli.console import REPORT, Console, amount, facts, size, table
from mamtra_cli.errors import LimitMissedError, MamtraError, PlanError, UsageError
from mamtra_cli.events import Advance, Metrics, Note, Stage


@dataclass(frozen=True, kw_only=True)
class Result:
    path: Path
    value: float


RESULT = Result(path=Path("out"), value=0.5)


def test_result_for_people_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Console("x").result(RESULT, ["out", "  value  0.5"])
    assert capsys.readouterr() == ("out\n  value  0.5\n", "")


def test_result_for_programs_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    Console("x", as_json=True).result(RESULT, ["never shown"])
    out, err = capsys.readouterr()
    wanted = {"mamtra": __version__, "command": "x", "path": "out", "value": 0.5}
    assert json.loads(out) == wanted
    assert out.count("\n") == 1
    assert err == ""


def test_numbers_that_are_not_finite_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    Console("x", as_json=True).result(Result(path=Path("out"), value=float("nan")))
    assert json.loads(capsys.readouterr().out)["value"] is None


def leave(error: BaseException, **options: bool) -> int:
    """Return the exit code of a command that fails."""
    with pytest.raises(typer.Exit) as left, Console("x", **options):
        raise error
    return left.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MamtraError("it did not work"), 1),
        (UsageError("it cannot be"), 2),
        (PlanError("it does not fit"), 2),
        (LimitMissedError("it is slow"), 3),
        (KeyboardInterrupt(), 130),
        (ValueError("what"), 1),
        (BrokenPipeError(), 141),
        (MemoryError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_failure_has_its_exit_code(
    error: BaseException, code: int, as_json: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    assert leave(error, as_json=as_json) == code
    out = capfd.readouterr().out
    if as_json and not isinstance(error, BrokenPipeError):
        assert set(json.loads(out)) == {"error", "code", "hint"}
    else:
        assert out == ""


def test_error_is_fact_and_fix_in_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    leave(MamtraError("it did not work", "try again"))
    assert capsys.readouterr() == ("", "error: it did not work\nhint: try again\n")


def test_surprise_shows_the_traceback_and_asks_for_a_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    leave(ValueError("what"))
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ValueError: what" in err
    assert err.endswith(f"{REPORT}\n")


def test_verbose_adds_the_traceback_to_a_stated_error(capsys: pytest.CaptureFixture[str]) -> None:
    leave(MamtraError("it did not work"), verbose=True)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: it did not work\n")


def test_device_out_of_memory_is_a_stated_error(capsys: pytest.CaptureFixture[str]) -> None:
    # torch's class is known by its name: importing torch to compare would cost seconds.
    error = type("OutOfMemoryError", (RuntimeError,), {})
    leave(error("CUDA out of memory. Tried to allocate 2 GiB."), as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["code"] == "out_of_memory"
    assert "--device cpu" in said["hint"]


EVENTS = [
    Stage(name="reading", detail="teacher"),
    Stage(name="writing", total=3, unit="files"),
    Advance(),
    Metrics(step=10, values={"loss": 1.23456}),
    Note(text="a fact"),
    Note(text="beware", warning=True),
]


def talk(console: Console) -> None:
    for event in EVENTS:
        console.report(event)
    console.progress.close()


def test_plain_talk_is_one_line_a_stage_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    talk(Console("x"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "reading  teacher",
        "writing  3 files",
        "step     10  loss 1.235",
        "a fact",
        "warning: beware",
    ]


def test_quiet_says_nothing_and_json_only_warns(capsys: pytest.CaptureFixture[str]) -> None:
    talk(Console("x", quiet=True))
    assert capsys.readouterr() == ("", "")
    talk(Console("x", as_json=True))
    assert capsys.readouterr() == ("", "warning: beware\n")


def test_long_stage_says_where_it_is_every_thirty_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock() -> Iterator[float]:
        now = 0.0
        while True:
            yield now
            now += 10.0

    ticks = clock()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))
    console = Console("x")
    console.report(Stage(name="writing", total=100, unit="files"))
    for _ in range(9):
        console.report(Advance(amount=2))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "writing  100 files",
        "writing  2/100 files, about 8 min left",
        "writing  8/100 files, about 8 min left",
        "writing  14/100 files, about 7 min left",
    ]


class Terminal:
    """A stderr that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


@pytest.mark.parametrize("no_color", ["", "1"], ids=["colour", "no-colour"])
def test_terminal_has_colour_unless_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    leave(MamtraError("no"))
    assert ("\x1b[" in terminal.text) == (no_color == "")
    assert "error:" in terminal.text


def test_terminal_shows_a_bar_with_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    talk(Console("x"))
    assert "reading  teacher" in terminal.text
    assert "33%" in terminal.text


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        pytest.param(
            ["convrt"],
            ["error: no such command `convrt`", "hint: did you mean `convert`?"],
            id="command",
        ),
        pytest.param(
            ["convert", "--placment", "x"],
            ["error: no such option `--placment`", "hint: did you mean `--placement`?"],
            id="option",
        ),
        pytest.param(
            ["convert", "--ratio"],
            ["error: option `--ratio` requires an argument", "hint: see `mamtra convert --help`"],
            id="no-value",
        ),
        pytest.param(
            ["convert", "--seed", "x"],
            [
                "error: invalid value for `--seed`: input should be a valid integer",
                "hint: see `mamtra convert --help`",
            ],
            id="not-a-number",
        ),
        pytest.param(
            ["convert", "a", "b"],
            [
                "error: got unexpected extra argument(s) (b)",
                "hint: see `mamtra convert --help`",
            ],
            id="extra",
        ),
    ],
)
def test_wrong_command_line_exits_2_with_the_nearest(
    args: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == lines


def test_wrong_command_line_with_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "--json", "--nosuch"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["code"] == "usage"
    assert err == ""


def test_closed_pipe_exits_141_quietly() -> None:
    done = mamtra("--help", stdout_closed=True)
    assert (done.rc, done.err) == (141, "")


@pytest.mark.parametrize(
    ("value", "text"),
    [(812, "812 B"), (12_288, "12.3 kB"), (5_500_000, "5.5 MB"), (2.023e9, "2.02 GB")],
)
def test_sizes_in_words(value: float, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(812, "812"), (36_596, "36.6k"), (505_803_812, "505.8M"), (2e9, "2.00B")]
)
def test_amounts_in_words(value: float, text: str) -> None:
    assert amount(value) == text


def test_facts_and_tables_line_up() -> None:
    assert facts({"a": "1", "bcd": "2"}) == ["  a    1", "  bcd  2"]
    assert table(("file", "size"), [("a", "12 B"), ("bc", "3 B")]) == [
        "file  size",
        "a     12 B",
        "bc     3 B",
    ]


def test_interrupted_process_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mamtra_cli.config.read_data", stop)
    monkeypatch.setattr("mamtra_cli.cli.options.read_data", stop)
    assert run(["convert", "-c", "x.toml"]) == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "args", [["--help"], ["convert", "--help"], ["voice", "list"], ["voice", "list", "--json"]]
)
def test_stdout_without_space_is_a_stated_failure(tmp_path: Path, args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*python(), "-m", "mamtra_cli", *args],
            env=environment({"MAMTRA_HOME": str(tmp_path)}),
            stdout=full,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: cannot write the result to stdout: no space left on device",
        "hint: send it somewhere with space",
    ]


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes streams")
@pytest.mark.parametrize(
    ("line", "rc", "told"),
    [
        ("voice list >&-", 0, ""),
        ("synth -o x.wav <&-", 1, "error: the text is empty\nhint: give a sentence to speak\n"),
        ("synth 2>&-", 2, ""),
    ],
)
def test_closed_standard_streams_are_no_surprise(
    tmp_path: Path, line: str, rc: int, told: str
) -> None:
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m mamtra_cli {line}",
        shell=True,
        env=environment({"MAMTRA_HOME": str(tmp_path)}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (rc, told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_that_ends_a_command_interrupts_it_and_is_given_back(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(typer.Exit) as left, Console("x"):
            signal.raise_signal(number)
        assert left.value.exit_code == 130
        assert capsys.readouterr().err == "error: interrupted\n"
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)
        with Console("x"):
            signal.raise_signal(number)  # as under nohup
    finally:
        signal.signal(number, before)


def test_interrupt_that_other_code_turns_into_its_own_error_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read_a_tensor() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("no shape") from None

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(typer.Exit) as left, Console("x"):
            read_a_tensor()
        assert left.value.exit_code == 130
        assert capsys.readouterr().err == "error: interrupted\n"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
