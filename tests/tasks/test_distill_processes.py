"""Two gloo processes train as one does: same losses and weights, with DDP and with FSDP2."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.command import environment
from tests.tiny_model import CODES, SYMBOLS, write_tiny_model

from mamtra_cli.checkpoint import read_model_folder
from mamtra_cli.engine.data import Example, write_examples
from mamtra_cli.recipes import ConvertRecipe
from mamtra_cli.tasks.convert import convert

pytest.importorskip("accelerate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, a student, and pairs of uneven lengths."""
    made = tmp_path_factory.mktemp("processes")
    torch.manual_seed(0)
    write_tiny_model(made / "teacher")
    convert(
        ConvertRecipe(
            teacher=str(made / "teacher"),
            output=made / "student",
            calibrate="none",
            check_tokens=0,
            device="cpu",
        )
    )
    generator = torch.Generator().manual_seed(0)
    examples = [
        Example(
            id=f"e{i}",
            text_ids=tuple(torch.randint(SYMBOLS, (6,), generator=generator).tolist()),
            tokens=tuple(torch.randint(CODES, (22 + i % 9,), generator=generator).tolist()),
        )
        for i in range(40)
    ]
    write_examples(made / "pairs.jsonl", examples)
    return made


def start(folder: Path, output: Path, processes: int, *options: str) -> subprocess.Popen[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    launch += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    command = ["distill", str(folder / "student"), "-o", str(output), "--device", "cpu"]
    command += ["--data", str(folder / "pairs.jsonl"), "--batch-tokens", "200", "--lr", "3e-3"]
    command += [
        "--pass-positions",
        "150",
        "--check-tokens",
        "0",
        "--no-plot",
        "--no-report",
        "--json",
    ]
    program = [*launch, "-m", "mamtra_cli"] if processes > 1 else ["-m", "mamtra_cli"]
    return subprocess.Popen(
        [sys.executable, *program, *command, *options],
        env=environment({"GLOO_SOCKET_IFNAME": "lo"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(folder: Path, output: Path, processes: int, *options: str) -> list[dict[str, float]]:
    process = start(folder, output, processes, *options)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    assert out.count("\n") == 1, out
    return rows(output / "metrics.jsonl")


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def alike(one: Path, two: Path) -> None:
    """Numbers of every step and the final weights agree."""
    first, second = rows(one / "metrics.jsonl"), rows(two / "metrics.jsonl")
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for name in ("loss", "ce", "skew_forward", "hidden_nmse", "gradient_norm", "tokens"):
            assert a[name] == pytest.approx(b[name], rel=2e-4), (a["step"], name)
    old, new = (dict(read_model_folder(path).part("lm").stored()) for path in (one, two))
    for name, value in old.items():
        torch.testing.assert_close(value, new[name], rtol=1e-3, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(folder: Path, tmp_path: Path, sharding: str) -> None:
    options = ["--steps", "5", "--align-steps", "2", "--ema", "0.5", "--lr-rest", "1e-4"]
    train(folder, tmp_path / "one", 1, *options)
    train(folder, tmp_path / "two", 2, *options, "--sharding", sharding)
    alike(tmp_path / "one", tmp_path / "two")
    assert not (tmp_path / "two.run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_run_of_two_processes_is_taken_up_by_one(
    folder: Path, tmp_path: Path, sharding: str
) -> None:
    options = ["--steps", "60", "--save-every", "5"]
    process = start(folder, tmp_path / "two", 2, *options, "--sharding", sharding)
    metrics = tmp_path / "two.run" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 8:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert not (tmp_path / "two").exists()
    train(folder, tmp_path / "two", 1, "--resume", str(tmp_path / "two.run"))
    train(folder, tmp_path / "one", 1, *options)
    alike(tmp_path / "one", tmp_path / "two")
