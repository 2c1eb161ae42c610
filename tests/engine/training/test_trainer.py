"""The trainer: groups, schedule, accumulation, exact resume, interruption, divergence."""

import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mamtra_cli.engine.lessons.examples import Batch, BatchSource
from mamtra_cli.engine.training.optimization import TrainOptions, decays, parameter_groups, rate_at
from mamtra_cli.engine.training.savepoint import STATE_FILE
from mamtra_cli.engine.training.trainer import Loss, Trainer
from mamtra_cli.errors import OutOfMemoryError, TrainingError
from mamtra_cli.families.lessons import Example


class Toy(nn.Module):
    """Predicts the next token from the last one, with dropout so that random state matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(16, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 16)
        self.A_log = nn.Parameter(torch.zeros(2, 2))

    def loss(self, batch: Batch) -> Loss:
        tokens = torch.tensor([example.tokens for example in batch.examples])
        hidden = F.dropout(self.norm(self.embed(tokens[:, :-1])), 0.1)
        logits = self.head(hidden) * self.A_log.exp().mean()
        value = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        return Loss(value=value, tokens=tokens.numel(), parts={"ce": float(value.detach())})


def source(seed: int = 0) -> BatchSource:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(16, (40, 6), generator=generator).tolist()
    made = [Example(id=f"e{i}", text_ids=(1,), tokens=tuple(row)) for i, row in enumerate(rows)]
    return BatchSource(made, budget=50, seed=0)


def trainer(folder: Path | None, **options: object) -> tuple[Trainer, Toy]:
    toy = Toy()
    settings = TrainOptions(**{"steps": 12, "warmup": 3, "save_every": 4, **options})  # type: ignore[arg-type]
    return Trainer(toy, toy.loss, source(), settings, folder=folder, fingerprint="toy"), toy


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("layers.0.mixer.in_proj.weight", (4, 4), True),
        ("layers.0.mixer.A_log", (4,), False),
        ("layers.0.mixer.A_log", (4, 4), False),
        ("layers.0.mixer.dt_bias", (4,), False),
        ("layers.0.mixer.D", (4, 1), False),
        ("layers.0.mixer.norm.weight", (4, 4), False),
        ("layers.0.input_layernorm.weight", (4,), False),
        ("layers.0.self_attn.q_proj.bias", (4,), False),
        ("layers.0.mlp.down_proj.weight", (4, 4), True),
    ],
)
def test_weight_decay_is_for_matrices(name: str, shape: tuple[int, ...], expected: bool) -> None:
    assert decays(name, torch.zeros(shape)) is expected


def test_groups_hold_each_parameter_once_at_its_rate() -> None:
    toy = Toy()
    named = dict(toy.named_parameters())
    options = TrainOptions(lr=1e-2, lr_rest=1e-4, weight_decay=0.1)
    groups = parameter_groups(named, options=options, is_new=lambda name: name.startswith("head"))
    found = {
        name: (group["lr"], group["weight_decay"])
        for name, parameter in named.items()
        for group in groups
        if any(parameter is member for member in group["params"])  # type: ignore[attr-defined]
    }
    assert found == {
        "embed.weight": (1e-4, 0.1),
        "norm.weight": (1e-4, 0.0),
        "norm.bias": (1e-4, 0.0),
        "head.weight": (1e-2, 0.1),
        "head.bias": (1e-2, 0.0),
        "A_log": (1e-4, 0.0),
    }


def test_rate_warms_up_then_falls_along_a_cosine() -> None:
    options = TrainOptions(steps=100, warmup=10, final_lr=0.05)
    rates = [rate_at(step, options) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.525)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rate_at(100, options) == pytest.approx(0.05)


def test_training_lowers_the_loss_and_records_every_step(tmp_path: Path) -> None:
    run, _ = trainer(tmp_path, steps=60, lr=3e-2)
    result = run.run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert result.steps == 60
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert {"loss", "ce", "lr", "gradient_norm", "tokens"} <= lines[0].keys()


@pytest.mark.parametrize("cut", [4, 8], ids=lambda cut: f"cut-at-{cut}")
def test_resumed_run_equals_unbroken_run(tmp_path: Path, cut: int) -> None:
    torch.manual_seed(5)
    whole, whole_toy = trainer(None)
    whole.run()

    torch.manual_seed(5)
    first, toy = trainer(tmp_path)
    steps = iter(range(1, 100))

    def interrupted(batch: Batch) -> Loss:
        if next(steps) == cut + 2:
            raise RuntimeError("power cut")
        return toy.loss(batch)

    first.loss = interrupted
    with pytest.raises(RuntimeError, match="power cut"):
        first.run()

    torch.manual_seed(99)
    second, second_toy = trainer(tmp_path)
    second.resume()
    assert second.step == cut
    second.run()
    for name, value in weights(second_toy).items():
        assert torch.equal(value, weights(whole_toy)[name]), name
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 13))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_signal_saves_then_interrupts(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    run, toy = trainer(tmp_path, save_every=100)

    def loss(batch: Batch) -> Loss:
        if run.step == 4:
            os.kill(os.getpid(), number)
        return toy.loss(batch)

    run.loss = loss
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert signal.getsignal(number) is before
    again, again_toy = trainer(tmp_path)
    again.resume()
    assert again.step == 5
    assert all(torch.equal(value, weights(toy)[name]) for name, value in weights(again_toy).items())


@pytest.mark.parametrize("where", ["value", "gradient"])
def test_not_finite_stops_and_names_the_examples(tmp_path: Path, where: str) -> None:
    run, toy = trainer(tmp_path)

    def loss(batch: Batch) -> Loss:
        good = toy.loss(batch)
        bad = (
            good.value * float("nan") if where == "value" else (toy.A_log - toy.A_log).sqrt().sum()
        )
        return good if run.step < 5 else Loss(value=good.value + bad, tokens=good.tokens)

    run.loss = loss
    with pytest.raises(TrainingError, match=r"at step 6, examples e\d+, e\d+") as caught:
        run.run()
    assert caught.value.hint
    again, _ = trainer(tmp_path)
    again.resume()
    assert again.step == 4


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_no_memory_is_told_with_numbers_and_advice(tmp_path: Path, error: Exception) -> None:
    run, _ = trainer(tmp_path)

    def loss(batch: Batch) -> Loss:
        raise error

    run.loss, run.advice = loss, "halve it"
    with pytest.raises(
        OutOfMemoryError, match=r"at step 1: a pass holds up to \d+ examples"
    ) as got:
        run.run()
    assert (got.value.hint, got.value.exit_code) == ("halve it", 1)


def test_running_mean_lags_behind_and_is_what_is_handed_out() -> None:
    run, toy = trainer(None, ema=0.5, steps=3)
    seen = [weights(toy)]
    run.on_record = lambda step, values: seen.append(weights(toy))
    run.run()
    mean = seen[0]["head.weight"]
    for step in (1, 2, 3):
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * seen[step]["head.weight"]
    torch.testing.assert_close(run.weights()["head.weight"], mean)
    assert not torch.equal(run.weights()["head.weight"], toy.head.weight)


def test_unfinished_last_line_of_metrics_is_done_again(tmp_path: Path) -> None:
    run, _ = trainer(tmp_path, steps=4)
    run.run()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    again, _ = trainer(tmp_path)
    again.fingerprint = "toy"
    again.resume()
    again.run()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 13))


def test_a_run_killed_before_its_first_save_leaves_no_records(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 9.0}\n{"step": 2, "lo')
    run, _ = trainer(tmp_path, steps=3)
    run.run()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_accumulated_gradient_weighs_batches_by_tokens() -> None:
    toy = Toy()

    def plain(batch: Batch) -> Loss:
        tokens = torch.tensor([example.tokens for example in batch.examples])
        logits = toy.head(toy.embed(tokens))
        value = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        return Loss(value=value, tokens=tokens.numel())

    made = [Example(id=str(n), text_ids=(1,), tokens=tuple(range(1, n))) for n in (7, 9, 12, 15)]
    logits = [toy.head(toy.embed(torch.tensor(e.tokens))) for e in made]
    whole = F.cross_entropy(torch.cat(logits), torch.cat([torch.tensor(e.tokens) for e in made]))
    (expected,) = torch.autograd.grad(whole, [toy.head.weight])

    seen: list[torch.Tensor] = []
    toy.head.weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    one_by_one = BatchSource(made, budget=18, seed=0)
    options = TrainOptions(steps=1, accumulate=4, lr=0.0)
    Trainer(toy, plain, one_by_one, options).run()
    assert len(seen) == 4
    torch.testing.assert_close(torch.stack(seen).sum(0), expected)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda path: path.unlink(), "no saved run", id="missing"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:50]), "damaged", id="cut"),
    ],
)
def test_resume_without_a_sound_save_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    run, _ = trainer(tmp_path, steps=1)
    run.run()
    spoil(tmp_path / STATE_FILE)
    again, _ = trainer(tmp_path)
    with pytest.raises(TrainingError, match=message):
        again.resume()


def test_resume_of_another_run_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1)[0].run()
    again, _ = trainer(tmp_path)
    again.fingerprint = "another"
    with pytest.raises(TrainingError, match="other settings"):
        again.resume()


def test_nothing_trainable_is_an_error() -> None:
    toy = Toy().requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameter is trainable"):
        Trainer(toy, toy.loss, source(), TrainOptions())
