"""`synth`: text in, sound out, or a clear reason why not."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.command import hear_ctrl_c, python
from tests.tiny_model import write_tiny_model

from mamtra_cli.audio import AudioWriter, Samples
from mamtra_cli.cli.app import run
from mamtra_cli.engine.decoding import guards
from mamtra_cli.engine.speaking import hearing, scripted
from mamtra_cli.errors import (
    AudioRejectedError,
    MamtraError,
    ModelNotFoundError,
    OutputError,
    TextError,
    UsageError,
)
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.recipes import SynthRecipe, SynthResult
from mamtra_cli.tasks.synth import synth

TEXT = "The old clock in the kitchen was slow. Nobody noticed it."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("synth") / "tiny")


def recipe(folder: Path, target: Path, **changes: object) -> SynthRecipe:
    given = {"text": TEXT, "model": str(folder), "output": str(target), "retries": 30, **changes}
    return SynthRecipe(**given)  # type: ignore[arg-type]


def test_result_tells_what_the_file_holds(model: Path, tmp_path: Path) -> None:
    result = synth(recipe(model, tmp_path / "a.wav", voice="bob", seed=3))
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == result.sample_rate == 24_000
    assert result.seconds == pytest.approx(len(samples) / rate)
    assert (result.voice, result.seed, result.output) == ("bob", 3, str(tmp_path / "a.wav"))
    assert result.tokens > 0
    assert result.attempts >= result.pieces >= 1
    assert 0 < result.first_audio_seconds <= result.compute_seconds
    assert result.rtf == pytest.approx(result.compute_seconds / result.seconds)
    assert np.abs(samples).max() > 0
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert "synthetic speech" in file.comment
        assert "seed 3" in file.comment


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_same_seed_writes_the_same_file(model: Path, tmp_path: Path, stream: bool) -> None:
    # Streaming cannot try again what was heard, so the seed is one that whole speech accepts.
    seed = accepted_seed(model, tmp_path)
    for name in ("a", "b"):
        synth(recipe(model, tmp_path / f"{name}.wav", seed=seed, stream=stream, retries=0))
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def accepted_seed(model: Path, folder: Path) -> int:
    """A seed whose first attempt no guard refuses."""
    for seed in range(60):
        try:
            synth(recipe(model, folder / "seed.wav", seed=seed, retries=0, force=True))
        except AudioRejectedError:
            continue
        return seed
    raise AssertionError("no seed is accepted")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"text": "  \n"}, TextError, "empty"),
        ({"text": "!?"}, TextError, "nothing to speak"),
        ({"text": "\u4f60\u597d"}, TextError, "Chinese"),
        ({"output": ""}, UsageError, "no output"),
        ({"voice": "ana"}, ModelNotFoundError, "no voice `ana`"),
        ({"model": "no-such-model"}, ModelNotFoundError, "no model"),
        ({"speed": 9.0}, UsageError, "`--speed 9`"),
        ({"temperature": -1.0}, UsageError, "temperature"),
        ({"format": "flacc"}, UsageError, "unknown audio format"),
        ({"raw": True, "format": "mp3"}, UsageError, "contradict"),
        ({"on_runaway": "stop"}, UsageError, "`--on-runaway stop` is unknown"),
        ({"lookahead": 0.5}, UsageError, "`--lookahead` is about"),
        ({"lookahead": 0.5, "stream": True}, UsageError, "no settings, and `lookahead"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_request_is_refused_and_leaves_nothing(
    model: Path, tmp_path: Path, changes: dict[str, object], kind: type[MamtraError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        synth(recipe(model, tmp_path / "a.wav", **changes))
    assert list(tmp_path.iterdir()) == []


def test_existing_output_needs_force(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        synth(recipe(model, tmp_path / "a.wav"))
    assert (tmp_path / "a.wav").read_bytes() == b"mine"
    synth(recipe(model, tmp_path / "a.wav", force=True))
    assert soundfile.info(tmp_path / "a.wav").frames > 0


def test_refused_speech_leaves_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = guards.GuardLimits(max_share=0.01, slack=0)
    monkeypatch.setattr("mamtra_cli.engine.speaking.options.GuardLimits", lambda **limits: strict)
    with pytest.raises(AudioRejectedError, match="after 2 attempts"):
        synth(recipe(model, tmp_path / "a.wav", retries=1))
    assert list(tmp_path.iterdir()) == []


def test_streamed_speech_refused_in_the_middle_leaves_the_old_file_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, guards.Rejection(cause="non_finite", detail="a sample is not finite")])
    monkeypatch.setattr(hearing, "check_finite", lambda audio, what: next(answers))
    written: list[int] = []
    plain = AudioWriter.write

    def write(self: AudioWriter, samples: Samples) -> None:
        plain(self, samples)
        written.append(len(samples))

    monkeypatch.setattr(AudioWriter, "write", write)
    (tmp_path / "a.wav").write_bytes(b"mine")
    with pytest.raises(AudioRejectedError, match="what has begun to be heard") as caught:
        synth(recipe(model, tmp_path / "a.wav", stream=True, force=True))
    assert "leave out the streaming" in (caught.value.hint or "")
    assert sum(written) > 0  # it was on its way to the file
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"mine"


def test_interruption_leaves_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scripted.speak_read

    def interrupted(*args, **kwargs):  # type: ignore[no-untyped-def]
        yield next(plain(*args, **kwargs))
        raise KeyboardInterrupt

    monkeypatch.setattr("mamtra_cli.tasks.synth.speak_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synth(recipe(model, tmp_path / "a.wav"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["flac", "mp3", "opus"])
def test_other_formats_hold_the_same_sound(model: Path, tmp_path: Path, format: str) -> None:
    wav: SynthResult = synth(recipe(model, tmp_path / "a.wav"))
    other = synth(recipe(model, tmp_path / f"a.{format}"))
    assert other.seconds == wav.seconds
    assert soundfile.info(tmp_path / f"a.{format}").duration == pytest.approx(wav.seconds, abs=0.2)


def test_choice_of_tokens_is_the_recipe_s(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sampling | None] = []

    def spy(reader, pieces, options, report, rows):  # type: ignore[no-untyped-def]
        seen.append(options.sampling)
        return iter(())

    monkeypatch.setattr("mamtra_cli.tasks.synth.speak_read", spy)
    synth(recipe(model, tmp_path / "a.wav"))
    synth(recipe(model, tmp_path / "b.wav", greedy=True, min_p=0.1, top_k=0, temperature=0.0))
    assert seen == [
        Sampling(top_p=1.0),
        Sampling(top_p=1.0, greedy=True, min_p=0.1, temperature=0.0),
    ]


def test_command_reads_a_pipe_and_writes_raw_samples(
    model: Path,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ["-m", str(model), "--retries", "30", "--seed", "1"]
    assert run(["synth", TEXT, "-o", str(tmp_path / "a.raw"), "--json", *options]) == 0
    told = json.loads(capsysbinary.readouterr().out)
    assert told["command"] == "synth"
    samples = (tmp_path / "a.raw").read_bytes()
    assert round(told["seconds"] * 24_000) * 2 == len(samples)

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert run(["synth", "-o", "-", "--raw", *options]) == 0
    piped = capsysbinary.readouterr()
    assert piped.out == samples
    assert b"RTF" in piped.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["hi", "-o", "-", "--json"], "both want stdout"),
        (["-i", "none.txt", "-o", "a.wav"], "cannot read `none.txt`"),
        (["hi", "-i", "none.txt", "-o", "a.wav"], "both given"),
        (["hi"], "no output"),
        (["hi", "-o", "a.wav", "--retries", "-1"], "--retries"),
        (["hi", "-o", "a.wav", "--shard", "1/2"], "`--shard` is about many lines"),
        (["-i", "a.txt", "-i", "b.txt", "-o", "a.wav"], "many texts become many files"),
        (["hi", "-d", "out"], "bring their own texts"),
        (["-d", "out"], "takes lines of `--jsonl`, or files of `-i`"),
        (["-i", "a.txt", "--jsonl", "a.jsonl", "-d", "out"], "takes lines of `--jsonl`, or"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_command_refuses_what_cannot_be(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["synth", *args]) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert list(tmp_path.iterdir()) == []


def test_audio_is_kept_off_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(["synth", "hi", "-o", "-"]) == 2
    assert "terminal" in capsys.readouterr().err


def test_closed_pipe_ends_quietly_with_141(model: Path) -> None:
    command = [*python(), "-m", "mamtra_cli", "synth", TEXT * 5, "-m", str(model)]
    command += ["-o", "-", "--retries", "30"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 141
    assert b"Traceback" not in errors
    assert b"error" not in errors


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_ctrl_c_leaves_nothing_and_exits_130(model: Path, tmp_path: Path) -> None:
    command = [*python(), "-m", "mamtra_cli", "synth", TEXT * 200, "-m", str(model)]
    command += ["-o", str(tmp_path / "a.wav"), "--retries", "200"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.iterdir()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def ears(tmp_path: Path) -> str:
    """A program that hears the first sentence of `TEXT` only."""
    program = tmp_path / "ears.py"
    program.write_text(
        "import sys\nfor line in sys.stdin: print('the old clock in the kitchen was slow')\n"
    )
    return f"command:{sys.executable} {program}"


def test_verify_tells_what_was_heard_and_exits_3_where_it_is_wrong(
    model: Path, tmp_path: Path, ears: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["synth", TEXT, "-m", str(model), "-o", str(tmp_path / "a.wav"), "--retries", "8"]
    assert run([*command, "--verify", "--asr", ears, "--json"]) == 3
    out, err = capsys.readouterr()
    told = json.loads(out)["verified"]
    assert [piece["good"] for piece in told["pieces"]] == [True, False]
    assert told["pieces"][1]["text"] == "Nobody noticed it."
    assert told["pieces"][1]["wer"] > 100
    assert "in the best of 9 attempts" in err
    assert (tmp_path / "a.wav").is_file()
    assert run([*command, "--verify", "--asr", ears, "--max-wer", "500", "--force"]) == 0
    assert "2 of 2 pieces understood" in capsys.readouterr().out


def test_verified_lines_tell_what_was_heard_in_their_records(
    model: Path, tmp_path: Path, ears: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "in.jsonl"
    lines.write_text(json.dumps({"id": "a", "text": TEXT}))
    command = ["synth", "--jsonl", str(lines), "-d", str(tmp_path / "out"), "-m", str(model)]
    command += ["--retries", "8", "--verify", "--asr", ears]
    for _ in range(2):  # the second finds the line there, and still tells
        assert run(command) == 3
    out, err = capsys.readouterr()
    assert [piece["good"] for piece in json.loads(out)["heard"]] == [True, False]
    assert "missed `--max-wer 20` in 1 piece" in err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verify": True, "stream": True}, "has left by then"),
        ({"verify": True, "text_stream": True, "text": ""}, "has left by then"),
        ({"asr": "whisper-base"}, "are about hearing"),
        ({"max_wer": 5.0}, "are about hearing"),
    ],
)
def test_what_cannot_be_verified_is_refused(
    model: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        synth(recipe(model, tmp_path / "a.wav", **changes))
