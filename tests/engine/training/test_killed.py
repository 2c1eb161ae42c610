"""Kill -9 at any moment: resumed runs end in the same losses and weights as unbroken ones."""

import subprocess
from pathlib import Path

import pytest
import torch
from tests.command import environment, python

from mamtra_cli.engine.training.savepoint import read_state
from mamtra_cli.engine.training.trainer import read_metrics

SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from torch.nn import functional as F
from mamtra_cli.engine.training import savepoint
from mamtra_cli.engine.lessons.examples import BatchSource
from mamtra_cli.engine.training.optimization import TrainOptions
from mamtra_cli.engine.training.trainer import Loss, Trainer
from mamtra_cli.families.lessons import Example

class Toy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(16, 8)
        self.head = torch.nn.Linear(8, 16)
    def loss(self, batch):
        tokens = torch.tensor([example.tokens for example in batch.examples])
        logits = self.head(F.dropout(self.embed(tokens[:, :-1]), 0.2))
        value = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        return Loss(value=value, tokens=tokens.numel())

def train(folder, die, more):
    torch.manual_seed(1)
    rows = torch.randint(16, (40, 6), generator=torch.Generator().manual_seed(2)).tolist()
    data = [Example(id=str(i), text_ids=(1,), tokens=tuple(row)) for i, row in enumerate(rows)]
    toy = Toy()
    options = TrainOptions(steps=24, lr=1e-2, save_every=3, ema=0.9)
    times = []
    def loss(batch):
        times.append(time.monotonic())
        if len(times) == more:
            # An alarm without a handler ends a process as kill -9 does, and the earlier the less
            # it is given to run; counted by the shortest step, load can only bring it forward.
            step = min(after - before for before, after in zip(times, times[1:]))
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.01, 2) * step)
        return toy.loss(batch)
    run = Trainer(toy, loss, BatchSource(data, budget=50, seed=0), options, folder=folder)
    if savepoint.has_state(folder):
        run.resume()
    if die:
        calls = 0
        def deadly(function):
            def call(*arguments, **named):
                nonlocal calls
                calls += 1
                if calls == die:
                    if function is savepoint.save_file:
                        Path(arguments[1]).write_bytes(b"half a file")
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **named)
            return call
        savepoint.save_file = deadly(savepoint.save_file)
        savepoint.flush = deadly(savepoint.flush)
        savepoint.os = type("os", (), {"replace": deadly(os.replace), "getpid": os.getpid})
    run.run()

def child(folder, die=0, more=0):
    pid = os.fork()
    if not pid:
        train(folder, die, more)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

# Imported once, not in every child: torch loads its compiler with the first optimizer.
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))]).step()
root = Path(sys.argv[1])
for name in ("whole", "saves", "moments"):
    (root / name).mkdir()
assert child(root / "whole") == 0
draw = random.Random(int(sys.argv[2]))
deaths = 0
while child(root / "saves", die=draw.randint(4, 16)) != 0:
    deaths += 1
    assert deaths < 40
print("in saves", deaths)
deaths = 0
while child(root / "moments", more=draw.randint(3, 8)) != 0:
    deaths += 1
    assert deaths < 40
print("at moments", deaths)
"""


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_runs_end_as_unbroken_ones(tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [*python(), "-c", SCRIPT, str(tmp_path), str(seed)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    deaths = [int(line.split()[-1]) for line in done.stdout.splitlines()]
    assert min(deaths) >= 2, done.stdout + done.stderr
    wanted, told = read_state(tmp_path / "whole")
    assert told["step"] == "24"
    losses = [row["loss"] for row in read_metrics(tmp_path / "whole" / "metrics.jsonl")]
    assert len(losses) == 24
    for name in ("saves", "moments"):
        found, _ = read_state(tmp_path / name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted), name
        rows = read_metrics(tmp_path / name / "metrics.jsonl")
        assert [row["loss"] for row in rows] == losses, name
        assert [row["step"] for row in rows] == list(range(1, 25))
