"""Two gloo processes train as one does: same losses and weights, with DDP and with FSDP2."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.command import environment, python
from tests.forks import Forks
from tests.tiny_model import CODES, SYMBOLS, write_tiny_model

from mamtra_cli.checkpoint import read_model_folder
from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes import ConvertRecipe
from mamtra_cli.tasks.convert import convert

pytest.importorskip("accelerate")


EIGHT = ("--steps", "8", "--save-every", "3")
STAGES = ("--steps", "5", "--align-steps", "2", "--ema", "0.5", "--lr-rest", "1e-4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, a student, and pairs of uneven lengths."""
    made = tmp_path_factory.mktemp("processes")
    torch.manual_seed(0)
    write_tiny_model(made / "teacher")
    convert(
        ConvertRecipe(
            placement="block-begin",
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


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as group:
        yield group


@pytest.fixture(scope="module")
def unbroken(folder: Path, forks: Forks) -> Path:
    """Eight updates of one process that was never stopped."""
    forks.run(1, *command(folder, folder / "unbroken", *EIGHT))
    return folder / "unbroken"


@pytest.fixture(scope="module")
def alone(folder: Path, forks: Forks) -> Path:
    """Two stages of one process."""
    forks.run(1, *command(folder, folder / "alone", *STAGES))
    return folder / "alone"


def command(folder: Path, output: Path, *options: str) -> list[str]:
    given = ["distill", str(folder / "student"), "-o", str(output), "--device", "cpu"]
    given += ["--data", str(folder / "pairs.jsonl"), "--batch-tokens", "200", "--lr", "3e-3"]
    given += ["--pass-positions", "150", "--check-tokens", "0", "--json"]
    return [*given, "--no-plot", "--no-report", *options]


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
def test_two_processes_train_as_one(
    folder: Path, forks: Forks, alone: Path, tmp_path: Path, sharding: str
) -> None:
    out = forks.run(2, *command(folder, tmp_path / "two", *STAGES, "--sharding", sharding))
    assert json.loads(out)["steps"] == 7  # of both stages
    alike(alone, tmp_path / "two")
    assert not (tmp_path / "two.run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)], ids=["two-to-one", "one-to-two"])
def test_run_is_taken_up_by_another_number_of_processes(
    folder: Path,
    forks: Forks,
    unbroken: Path,
    tmp_path: Path,
    sharding: str,
    before: int,
    after: int,
) -> None:
    given = command(folder, tmp_path / "cut", *EIGHT, "--sharding", sharding)
    forks.run(before, *given, stop=4, code=130)
    assert not (tmp_path / "cut").exists()
    assert len(rows(tmp_path / "cut.run" / "metrics.jsonl")) == 4
    resume = ["distill", "--resume", str(tmp_path / "cut.run"), "--device", "cpu"]
    forks.run(after, *resume)
    alike(unbroken, tmp_path / "cut")


@pytest.mark.slow
def test_accelerate_launches_two_processes(folder: Path, alone: Path, tmp_path: Path) -> None:
    """A CPU has no GPUs to count, so `--multi-gpu` asks for more than one process."""
    launch = ["-m", "accelerate.commands.launch", "--multi-gpu", "--num-processes", "2"]
    launch += ["--num-machines", "1", "--mixed-precision", "no", "--dynamo-backend", "no"]
    launch += ["--main-process-port", "0", "-m", "mamtra_cli"]
    given = command(folder, tmp_path / "two", *STAGES)
    program = tmp_path / "python"  # what the launcher starts, with `-u` first
    program.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(python())} "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        [*python(), *launch, *given],
        env=environment({"GLOO_SOCKET_IFNAME": "lo", "PYTHON_EXEC": str(program)}),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["steps"] == 7
    alike(alone, tmp_path / "two")
