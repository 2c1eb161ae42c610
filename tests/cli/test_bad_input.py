"""What a user can get wrong: each ends in a clear message and the right exit code."""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.saying import said
from tests.command import environment, hear_ctrl_c, mamtra, python
from tests.families.cosyvoice2.tiny import write_random_checkpoint
from tests.tiny_model import write_tiny_model

from mamtra_cli.cli.app import run
from mamtra_cli.recording import read_audio


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A model folder that a test may damage."""
    return write_tiny_model(tmp_path / "tiny")


def commands(model: Path, tmp_path: Path) -> list[list[str | Path]]:
    """One command line a command that reads the weights of the language model."""
    return [
        ["synth", "Hello.", "-m", model, "-o", tmp_path / "o.wav"],
        ["convert", model, "-o", tmp_path / "student", "--check-tokens", "100"],
    ]


@pytest.mark.parametrize("what", ["truncated", "empty", "missing"])
def test_bad_weights_exit_1_and_name_the_file(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path = copy / "lm.safetensors"
    data = path.read_bytes()
    path.unlink()
    if what != "missing":
        path.write_bytes(data[:-10] if what == "truncated" else b"")
    for command in commands(copy, tmp_path):
        got = said(capsys, *command)
        assert (got["rc"], got["code"]) == (1, "bad_checkpoint"), got
        assert "lm" in got["error"]
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["tiny"]


def edit_config(folder: Path, key: str, value: object) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text())
    data["config"]["lm"][key] = value
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("d_ff", 24, "of another shape"),
        ("n_layers", 6, "missing"),
        ("n_layer", 4, "unknown key `n_layer`"),
        ("d_model", "wide", "is not a whole number"),
    ],
    ids=["shape", "names", "unknown-key", "type"],
)
def test_config_that_does_not_fit_exits_1_and_says_how(
    copy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    key: str,
    value: object,
    words: str,
) -> None:
    edit_config(copy, key, value)
    for command in commands(copy, tmp_path):
        got = said(capsys, *command)
        assert (got["rc"], got["code"]) == (1, "bad_checkpoint"), got
        assert words in got["error"]


class Evil:
    """Unpickles to a call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_pickle_with_code_exits_1_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = write_random_checkpoint(tmp_path / "published")
    torch.save({"weight": torch.ones(2), "evil": Evil()}, teacher / "llm.pt")
    got = said(capsys, "convert", teacher, "-o", tmp_path / "s", "--check-tokens", "0")
    assert (got["rc"], got["code"]) == (1, "bad_checkpoint")
    assert "could run code" in got["error"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["published"]


def test_newer_format_exits_1_with_the_upgrade(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**data, "format_version": 99}))
    got = said(capsys, "convert", copy, "--dry-run")
    assert (got["rc"], got["code"]) == (1, "format_version")
    assert "pip install -U" in got["hint"]


@pytest.mark.parametrize(
    ("args", "rc", "code"),
    [
        pytest.param(["convert", "MODEL", "-r", "1:2", "-n"], 2, "bad_plan", id="ratio"),
        pytest.param(["convert", "MODEL", "-r", "x", "-n"], 2, "bad_plan", id="not-a-ratio"),
        pytest.param(["convert", "MODEL", "-r", "1:1@spread", "-n"], 2, "bad_plan", id="no-at"),
        pytest.param(["doctor", "--threads", "99999"], 2, "usage", id="threads"),
        pytest.param(["convert", "nosuch", "-n"], 1, "not_found", id="no-model"),
        pytest.param(["convert", "-n"], 2, "usage", id="no-teacher"),
        pytest.param(["convert", "MODEL"], 2, "usage", id="no-output"),
        pytest.param(["eval"], 2, "usage", id="no-model-to-score"),
        pytest.param(["synth", " ", "-m", "MODEL", "-o", "OUT"], 1, "bad_text", id="empty-text"),
        pytest.param(["synth", "...", "-m", "MODEL", "-o", "OUT"], 1, "bad_text", id="no-words"),
        pytest.param(["synth", "你好", "-m", "MODEL", "-o", "OUT"], 1, "bad_text", id="script"),
        pytest.param(
            ["synth", "Hello.", "-m", "MODEL", "-o", "OUT", "--voice", "anm"],
            1,
            "not_found",
            id="voice",
        ),
        pytest.param(
            ["synth", "Hello.", "-m", "MODEL", "-o", "OUT", "--device", "cude"],
            2,
            "usage",
            id="device",
        ),
        pytest.param(
            ["synth", "Hello.", "-m", "MODEL", "-o", "OUT", "--voice", "MODEL/config.json"],
            1,
            "not_found",
            id="voice-that-is-none",
        ),
        pytest.param(["voice", "show"], 2, "usage", id="no-voice"),
        pytest.param(["push", "MODEL", "a/b", "-n", "--tag", "a b"], 2, "usage", id="tag"),
        pytest.param(["push", "MODEL", "a/b", "-n", "--revision", ""], 2, "usage", id="branch"),
        pytest.param(["push", "mini", "a/b", "-n"], 1, "not_found", id="push-built-in"),
        pytest.param(["push", "nosuch", "a/b", "-n"], 1, "not_found", id="push-nothing"),
        pytest.param(["push", "MODEL", "ab", "-n"], 2, "usage", id="push-nowhere"),
        pytest.param(["convert", "-c", "nosuch.toml", "-n"], 2, "usage", id="no-recipe"),
    ],
)
def test_wrong_request_has_its_code_and_a_hint(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    rc: int,
    code: str,
) -> None:
    places = {"MODEL": str(model), "OUT": str(tmp_path / "o.wav")}
    got = said(capsys, *(places.get(arg, arg.replace("MODEL/", f"{model}/")) for arg in args))
    assert (got["rc"], got["code"]) == (rc, code), got
    assert got["hint"] or code in {"usage", "not_found"}
    assert list(tmp_path.iterdir()) == []


def test_student_with_nothing_converted_is_told_to_convert_first(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got = said(capsys, "distill", model, "-o", tmp_path / "tuned", "--device", "cpu")
    assert (got["rc"], got["code"]) == (2, "usage"), got
    assert got["error"] == f"nothing of `{model}` is converted"
    assert f"mamtra convert {model}" in got["hint"]


def test_existing_output_needs_force(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "precious").write_text("x")
    (tmp_path / "o.wav").write_text("x")
    for command in commands(model, tmp_path):
        got = said(capsys, *command)
        assert (got["rc"], got["code"]) == (1, "output"), got
        assert "--force" in got["hint"]
    assert (tmp_path / "student" / "precious").read_text() == "x"
    assert (tmp_path / "o.wav").read_text() == "x"


@pytest.mark.parametrize("text", ["-5 degrees.", "-½ cup", "--said Zoë", "-5"])
def test_text_that_begins_with_a_dash_is_told_of_the_two_dashes(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    got = said(capsys, "synth", "-o", "out.wav", text)
    assert (got["rc"], got["code"]) == (2, "usage")
    assert "put `--` before" in got["hint"]


def test_model_config_with_a_byte_order_mark_is_read(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copy / "config.json"
    config.write_text(config.read_text(), encoding="utf-8-sig")
    assert run(["convert", str(copy), "--dry-run", "--json"]) == 0


def test_weight_that_is_not_finite_is_told_by_name(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "lm.safetensors"
    tensors = load_file(path)
    tensors["llm_decoder.weight"][3, 0] = float("nan")
    save_file(tensors, path)
    got = said(capsys, "synth", "Hello.", "-m", copy, "-o", tmp_path / "o.wav")
    assert (got["rc"], got["code"]) == (1, "bad_checkpoint"), got
    assert "not finite, in `lm.llm_decoder.weight`" in got["error"]
    assert not (tmp_path / "o.wav").exists()


def test_seconds_that_cannot_hold_the_text_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "One two three four five six seven eight nine ten eleven twelve."
    got = said(capsys, "synth", text, "--max-seconds", "1", "-o", tmp_path / "o.wav")
    assert (got["rc"], got["code"]) == (2, "usage"), got
    assert re.match("`--max-seconds 1` is too short .* about [345]", got["error"])


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that is in use")
def test_current_folder_that_is_gone_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert said(capsys, "doctor")["error"] == "the current folder is gone"
    monkeypatch.chdir(tmp_path)


def test_folder_that_is_missing_is_quoted_in_the_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got = said(capsys, "synth", "Hi.", "-o", tmp_path / "no such" / "o.wav")
    assert got["hint"] == f"mkdir -p '{tmp_path / 'no such'}'"


@pytest.mark.parametrize("where", ["file", "stdin", "stream"])
def test_text_that_is_not_utf8_exits_1_with_the_conversion(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    (tmp_path / "a.txt").write_bytes("Zoë said “no”.".encode("cp1252"))
    given = {"file": ["-i", tmp_path / "a.txt"], "stdin": ["-"], "stream": ["--text-stream"]}
    with (tmp_path / "a.txt").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        got = said(capsys, "synth", *given[where], "-m", model, "-o", tmp_path / "o.wav")
    assert (got["rc"], got["code"]) == (1, "bad_text")
    assert "iconv -f WINDOWS-1252" in got["hint"]
    assert not (tmp_path / "o.wav").exists()


def test_what_another_command_made_is_no_recipe_and_says_whose_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "mamtra.json"
    made.write_text(json.dumps({"task": "convert", "recipe": {"teacher": "mini"}}))
    got = said(capsys, "synth", "Hi.", "-c", made, "-o", tmp_path / "o.wav")
    assert (got["rc"], got["code"]) == (2, "usage")
    assert f"mamtra convert --config {made}" in got["hint"]


def test_unwritable_output_is_found_before_any_work(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    for command in commands(model, tmp_path / "file"):
        got = said(capsys, *command)
        assert (got["rc"], got["code"]) == (1, "output"), got
        assert str(tmp_path / "file") in got["error"]


SLOW_WRITING = """
import sys, time
from mamtra_cli import tensors
def slow(*args, **kwargs):
    sys.stderr.write("now\\n"); sys.stderr.flush(); time.sleep(60)
tensors.save_file = slow
from mamtra_cli.cli.app import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_while_writing_exits_130_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "student"
    args = ["convert", str(model), "-o", str(output), "--check-tokens", "0", "--calibrate", "none"]
    process = subprocess.Popen(
        [*python(), "-c", SLOW_WRITING, *args],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line == "now\n":
            break
    assert [entry.suffix for entry in tmp_path.iterdir()] == [".partial"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines() == ["error: interrupted"]
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_closed_pipe_after_the_work_exits_141_quietly(model: Path) -> None:
    done = mamtra("convert", model, "--dry-run", "--quiet", stdout_closed=True)
    assert (done.rc, done.err) == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_stdout_by_its_name_takes_the_sound(model: Path, tmp_path: Path) -> None:
    line = f"{shlex.join(python())} -m mamtra_cli synth Hello. -m {model} -o /dev/stdout > o.wav"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(read_audio(tmp_path / "o.wav", 24_000)) > 1000


@pytest.mark.parametrize(
    "line",
    ["prepare {} -o p", "synth -i {} -o o.wav", "convert {} -o s", "distill {} -o s",
     "synth Hi. -m {} -o o.wav", "voice list --voices {}", "synth Hi. -o {}.wav",
     "prepare --check {}", "distill mini --data {} -o s", "push {} a/b", "eval mini --texts {}"],
)  # fmt: skip
def test_a_name_too_long_for_a_path_is_told(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([word.format("a" * 400) for word in line.split()]) in (1, 2)
    said = capsys.readouterr().err
    assert "error: " in said
    assert "bug in mamtra" not in said


@pytest.mark.parametrize("output", ["spoken/", "a.wav/", "nul\0.wav"])
def test_an_output_that_cannot_be_a_file_is_told(
    output: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    got = said(capsys, "synth", "Hello.", "-m", model, "-o", output)
    assert got["rc"] in (1, 2)
    assert list(tmp_path.iterdir()) == []


def test_sound_for_a_closed_stdout_is_no_success(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.devnull, "w") as null:  # as `main` puts it where `>&-` left none
        monkeypatch.setattr("sys.stdout", null)
        assert run(["synth", "Hi.", "-m", str(model), "-o", "-"]) == 2
    assert "stdout is closed" in capsys.readouterr().err
