"""`prepare`: every entry becomes a row or a line of bad.jsonl; runs repeat, resume and divide."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import filelock
import pytest
import torch
from examples.fullsize import onnx_graphs
from tests.command import environment, hear_ctrl_c, python
from tests.families.cosyvoice2.tiny import tiny_config, write_random_checkpoint
from tests.sounds import write_sound
from tests.tasks.preparing import listed, made, rows, state
from tests.tiny_model import write_tiny_model

from mamtra_cli.checkpoint import sha256
from mamtra_cli.cli.app import run
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing import audio_rows
from mamtra_cli.engine.preparing.shards import model_hashes, read_folder
from mamtra_cli.errors import CheckpointError, DataError, OutputError, UsageError
from mamtra_cli.events import Advance, Event
from mamtra_cli.features import logmel128
from mamtra_cli.model_rate import to_rate
from mamtra_cli.recipes import PrepareRecipe
from mamtra_cli.recording import decode_file
from mamtra_cli.tasks import prepare as task
from mamtra_cli.tasks.prepare import prepare

TEXTS = ["Hello there.", "A cat sat.", "The dog ran home.", "Who was it?", "Rain fell.", "Go on."]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six clips with texts beside."""
    folder = tmp_path / "corpus"
    for number, text in enumerate(TEXTS):
        write_sound(folder / f"c{number}.wav", 0.5 + 0.1 * number, number)
        (folder / f"c{number}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", layers=2)


def test_every_clip_becomes_a_row_with_tokens_of_its_length(corpus: Path, tmp_path: Path) -> None:
    result = made(corpus, tmp_path / "out")
    assert (result.entries, result.written, result.bad, result.format) == (6, 6, 0, "folder")
    found = rows(tmp_path / "out")
    engine = Engine.load("mini", device="cpu")
    for number, text in enumerate(TEXTS):
        row = found[f"c{number}"]
        assert row["text"] == text
        assert row["text_ids"].tolist() == engine.front_end.prompt_ids(text)
        assert row["seconds"] == pytest.approx(0.5 + 0.1 * number, abs=1e-4)
        assert abs(len(row["speech_tokens"]) - 25 * row["seconds"]) <= 1
        assert row["speaker"].shape == (192,)
        assert row["source"] == f"corpus/c{number}.wav"
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert statistics["rows"] == 6
    assert statistics["tokens"] == sum(len(row["speech_tokens"]) for row in found.values())
    examples = read_folder(
        tmp_path / "out",
        speech_tokenizer=model_hashes(engine).speech_tokenizer,
        text_vocab=64,
        speech_vocab=1225,
    )
    assert len(examples) == 6


def test_a_second_run_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    made(corpus, tmp_path / "out")
    before = state(tmp_path / "out")
    again = made(corpus, tmp_path / "out")
    assert (again.written, again.kept, again.replaced, again.shards) == (0, 6, 0, ())
    assert state(tmp_path / "out") == before


def test_what_changed_is_replaced_and_what_is_new_is_added(corpus: Path, tmp_path: Path) -> None:
    made(corpus, tmp_path / "out")
    before = rows(tmp_path / "out")
    (corpus / "c1.txt").write_text("Another text.")
    write_sound(corpus / "c2.wav", 1.3, 77)
    write_sound(corpus / "new.wav", 1.0, 78)
    (corpus / "new.txt").write_text("A new one.")
    again = made(corpus, tmp_path / "out")
    assert (again.written, again.kept, again.replaced) == (3, 4, 2)
    after = rows(tmp_path / "out")
    assert sorted(after) == [*(f"c{i}" for i in range(6)), "new"]
    assert after["c1"]["text"] == "Another text."
    assert len(after["c2"]["speech_tokens"]) > len(before["c2"]["speech_tokens"])
    assert after["c3"]["sha256"] == before["c3"]["sha256"]


def test_a_row_whose_file_went_bad_is_taken_out(corpus: Path, tmp_path: Path) -> None:
    made(corpus, tmp_path / "out")
    write_sound(corpus / "c4.wav", 0.1)
    again = made(corpus, tmp_path / "out")
    assert (again.bad, again.replaced) == (1, 1)
    assert "c4" not in rows(tmp_path / "out")


def test_bad_files_are_listed_with_their_cause_and_the_rest_is_done(
    corpus: Path, tmp_path: Path
) -> None:
    (corpus / "c0.wav").write_bytes(b"RIFF nonsense")
    write_sound(corpus / "c1.wav", 0.2)
    write_sound(corpus / "c2.wav", 2.5)
    (corpus / "c3.txt").write_text(" \n")
    (corpus / "c4.txt").write_text("?!")
    write_sound(corpus / "lonely.wav")
    result = made(corpus, tmp_path / "out", max_seconds=2.0)
    assert listed(tmp_path / "out") == {
        "c0": "unreadable",
        "c1": "too_short",
        "c2": "too_long",
        "c3": "no_text",
        "c4": "unspeakable",
        "lonely": "no_text",
    }
    assert (result.entries, result.written, result.bad) == (7, 1, 6)
    assert result.causes["no_text"] == 2
    assert list(rows(tmp_path / "out")) == ["c5"]
    again = made(corpus, tmp_path / "out", max_seconds=30.0)
    assert (again.written, again.bad) == (1, 5)
    assert "c2" not in listed(tmp_path / "out")


def test_silence_is_listed(corpus: Path, tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(corpus / "c0.wav", np.zeros(24_000, np.float32), 24_000)
    made(corpus, tmp_path / "out")
    assert listed(tmp_path / "out") == {"c0": "silent"}


def test_a_corpus_with_nothing_to_use_fails_with_its_causes(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing of .* can be used: 6 too_short") as told:
        made(corpus, tmp_path / "out", min_seconds=20.0)
    assert "bad.jsonl" in (told.value.hint or "")
    assert sorted(p.name for p in (tmp_path / "out").glob("[!.]*")) == ["bad.jsonl"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_empty_list_or_one_of_bad_lines_fails(tmp_path: Path, dry_run: bool) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text("{}\n")
    with pytest.raises(DataError, match=r"nothing of `list.jsonl` can be used: 1 entry"):
        made(path, tmp_path / "out", dry_run=dry_run)
    if not dry_run:
        path.write_text("\n")
        with pytest.raises(DataError, match=r"nothing is in `list.jsonl`"):
            made(path, tmp_path / "out")


def test_more_bad_than_allowed_exits_3(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "c0.wav").write_bytes(b"")
    args = ["prepare", str(corpus), "-o", str(tmp_path / "out"), "--device", "cpu", "--no-plot"]
    assert run([*args, "--max-bad", "20"]) == 0
    assert "warning: 1 of 6 entries (16.7 %)" in capsys.readouterr().err
    assert run([*args, "--max-bad", "10"]) == 3
    assert "16.7 % of the entries" in capsys.readouterr().err


def test_jobs_together_make_what_one_makes(corpus: Path, tmp_path: Path) -> None:
    made(corpus, tmp_path / "one")
    for k in (3, 1, 2):
        made(corpus, tmp_path / "jobs", shard=f"{k}/3")
    one, jobs = rows(tmp_path / "one"), rows(tmp_path / "jobs")
    assert {id: row["speech_tokens"].tolist() for id, row in jobs.items()} == {
        id: row["speech_tokens"].tolist() for id, row in one.items()
    }
    assert all("-of-0003-" in path.name for path in (tmp_path / "jobs").glob("*.parquet"))
    again = made(corpus, tmp_path / "jobs")
    assert (again.written, again.kept) == (0, 6)


def test_folders_are_merged_by_copying_files(corpus: Path, tmp_path: Path) -> None:
    for k in (1, 2):
        made(corpus, tmp_path / f"node{k}", shard=f"{k}/2")
    (tmp_path / "all").mkdir()
    for k in (1, 2):
        for path in (tmp_path / f"node{k}").glob("*.parquet"):
            shutil.copy(path, tmp_path / "all")
    assert len(rows(tmp_path / "all")) == 6
    assert prepare(PrepareRecipe(input=str(tmp_path / "all"), check=True)).problems == ()


def test_small_pools_and_shards_give_the_same_rows(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(corpus, tmp_path / "one")
    monkeypatch.setattr(audio_rows, "POOL", 1.0)
    result = made(corpus, tmp_path / "two", shard_rows=2)
    assert len(result.shards) == 3
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    for id, row in one.items():
        assert row["speech_tokens"].tolist() == two[id]["speech_tokens"].tolist()


def test_an_interrupted_run_keeps_its_rows_and_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_rows, "POOL", 0.5)
    recipe = PrepareRecipe(input=str(corpus), output=tmp_path / "out", device="cpu", plot=False)
    moves = 0

    def stop_at_the_third(event: Event) -> None:
        nonlocal moves
        moves += isinstance(event, Advance)
        if isinstance(event, Advance) and moves == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        prepare(recipe, stop_at_the_third)
    kept = rows(tmp_path / "out")
    assert 3 <= len(kept) < 6
    again = prepare(recipe)
    assert (again.kept, again.written) == (len(kept), 6 - len(kept))
    assert len(rows(tmp_path / "out")) == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_command_with_130(tmp_path: Path, name: str) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"This is sentence number {i}." for i in range(2000)))
    arguments = ["prepare", str(texts), "--synthetic", "-o", str(tmp_path / "out"), "--no-plot"]
    process = subprocess.Popen(
        [*python(), "-m", "mamtra_cli", *arguments],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("speaking"):
            break
    time.sleep(0.5)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "error: interrupted"
    assert not list((tmp_path / "out").glob("*.partial"))


def test_a_folder_of_another_tokenizer_is_refused(corpus: Path, tmp_path: Path, tiny: Path) -> None:
    made(corpus, tmp_path / "out")
    other = tmp_path / "other"
    shutil.copytree(Engine.load("mini", device="cpu").folder, other)
    data = bytearray((other / "speech_tokenizer.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "speech_tokenizer.safetensors").write_bytes(data)
    before = state(tmp_path / "out")
    with pytest.raises(DataError, match="speech tokenizer"):
        made(corpus, tmp_path / "out", model=str(other))
    assert state(tmp_path / "out") == before
    again = made(corpus, tmp_path / "out", model=str(other), force=True)
    assert again.written == 6


def test_check_finds_a_flipped_byte_a_double_row_and_another_model(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made(corpus, out, shard_rows=3)
    clean = prepare(PrepareRecipe(input=str(out), check=True, model="mini"))
    assert (clean.problems, clean.entries) == ((), 6)
    shutil.copy(out / "rows-00000.parquet", out / "rows-00007.parquet")
    data = bytearray((out / "rows-00001.parquet").read_bytes())
    data[len(data) // 3] ^= 0xFF
    (out / "rows-00001.parquet").write_bytes(data)
    problems = prepare(PrepareRecipe(input=str(out), check=True)).problems
    assert any("rows-00001.parquet" in problem for problem in problems)
    assert sum("is in rows-00000.parquet too" in problem for problem in problems) == 3


def test_check_command_shows_problems_and_exits_1(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(corpus, tmp_path / "out")
    assert run(["prepare", "--check", str(tmp_path / "out")]) == 0
    (tmp_path / "out" / ".rows-00004.parquet.7.partial").write_bytes(b"half")
    assert run(["prepare", "--check", str(tmp_path / "out"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "left by a run that was killed" in told["problems"][0]


def test_plot_of_lengths_is_the_same_each_time(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made(corpus, tmp_path / "out", plot=True)
    first = (tmp_path / "out" / "lengths.svg").read_bytes()
    made(corpus, tmp_path / "out", plot=True)
    assert b"<svg" in first
    assert (tmp_path / "out" / "lengths.svg").read_bytes() == first


def test_dry_run_counts_and_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    write_sound(corpus / "lonely.wav")
    result = made(corpus, tmp_path / "out", dry_run=True)
    assert (result.entries, result.bad, result.dry_run) == (7, 1, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"output": None}, UsageError),
        ({"input": ""}, UsageError),
        ({"shard": "9/4"}, UsageError),
        ({"force": True, "shard": "1/4"}, UsageError),
        ({"min_seconds": 3.0, "max_seconds": 2.0}, UsageError),
        ({"input": "nowhere/at/all"}, DataError),
        ({"synthetic": True, "input": "no.txt"}, DataError),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_before_a_model_is_read(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        made(corpus, **{"output": tmp_path / "out", **changes})


def test_an_output_that_is_a_file_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="not a folder"):
        made(corpus, tmp_path / "out")


def test_a_published_model_is_prepared_by_its_onnx_graphs(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    sizes = tiny_config(speech_vocab=6561)
    model = write_random_checkpoint(tmp_path / "published", sizes)
    onnx_graphs.write_speech_tokenizer(model / "speech_tokenizer_v2.onnx")
    onnx_graphs.write_speaker_encoder(model / "campplus.onnx")
    result = made(corpus, tmp_path / "out", model=str(model))
    assert result.written == 6
    for number, row in rows(tmp_path / "out").items():
        samples, rate = decode_file(corpus / f"{number}.wav")
        wave = to_rate(torch.from_numpy(samples[:, 0].copy()), rate, 16_000)
        (part,) = [Engine.load(str(model), device="cpu").part("speech_tokenizer")]
        codes, _ = part.encode(logmel128(wave)[None])  # type: ignore[operator]
        assert row["speech_tokens"].tolist() == codes[0].tolist()
        assert row["speaker"].shape == (192,)
    wanted = sha256(model / "speech_tokenizer_v2.onnx")
    assert result.statistics["speech_tokenizer"] == [wanted]
    (model / "speech_tokenizer_v2.onnx").unlink()
    with pytest.raises(CheckpointError, match="no speech tokenizer"):
        made(corpus, tmp_path / "none", model=str(model))


def test_output_inside_the_input_is_not_taken_for_the_corpus(tmp_path: Path) -> None:
    model = str(write_tiny_model(tmp_path / "tiny", layers=2, copies=True))
    write_sound(tmp_path / "corpus" / "a.wav", 0.5, 0)
    (tmp_path / "corpus" / "a.txt").write_text("Hello there.")
    first, second = (
        made(tmp_path / "corpus", tmp_path / "corpus" / "out", model=model) for _ in range(2)
    )
    assert (first.format, first.written) == (second.format, second.kept) == ("folder", 1)
    with pytest.raises(UsageError, match="is the input and the output"):
        made(tmp_path / "corpus", tmp_path / "corpus", model=model)


def test_no_job_takes_rows_out_while_another_one_reads_the_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []

    def watched(name: str) -> None:
        plain = getattr(task, name)

        def call(*given: Any, **named: Any) -> Any:
            with pytest.raises(filelock.Timeout):
                filelock.FileLock(tmp_path / "out" / ".lock").acquire(timeout=0)
            held.append(name)
            return plain(*given, **named)

        monkeypatch.setattr(task, name, call)

    watched("load_known")
    watched("summarise")
    texts = tmp_path / "texts.txt"
    texts.write_text("It is fine.")
    made(texts, tmp_path / "out", synthetic=True, model=str(tiny))
    assert held == ["load_known", "summarise"]
