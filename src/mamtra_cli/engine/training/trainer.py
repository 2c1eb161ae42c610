"""One training run: the loop of updates, in one process or many; save, resume, stop.

Knows modules, a loss function and a source of batches; nothing of teachers or commands. A run
folder holds the saves of savepoint.py (trainable weights, AdamW moments, their running mean, random
state, where the data stood) and `metrics.jsonl`. Going on from a save gives, on a CPU, the same
weights as never having stopped. What a step trains on depends on the seed and its number only:
with several processes each takes its share of the rows, and losses are normalised over all.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mamtra_cli.engine.lessons.examples import Batch, BatchSource, Position
from mamtra_cli.engine.training.optimization import TrainOptions, parameter_groups, rate_at
from mamtra_cli.engine.training.parallel import World, divided_like, whole
from mamtra_cli.engine.training.savepoint import read_state, remove_partial, write_state
from mamtra_cli.errors import OutOfMemoryError, TrainingError
from mamtra_cli.events import Advance, Metrics, Note, Report, Stage, ignore
from mamtra_cli.publish import output_errors, write_whole
from mamtra_cli.stopping import stop_flag

__all__ = ["Loss", "Objective", "TrainOptions", "TrainResult", "Trainer"]

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
CPU_ALLOCATOR = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A scalar to minimise, the positions it is a mean over, and named parts.

    With several processes, `value` and `parts` are this one's share of a sum over all.
    """

    value: Tensor
    tokens: int
    parts: Mapping[str, Tensor | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Where a run ended."""

    steps: int
    tokens: int
    loss: float | None
    seconds: float


LossFunction = Callable[[Batch], Loss]


class Objective(nn.Module):
    """The loss of what a module predicts, as a module, which is what parallel engines wrap.

    Args:
        module: holds the parameters.
        parts: modules inside it that FSDP2 gathers one at a time, inner ones first.
    """

    def __init__(self, module: nn.Module, parts: tuple[nn.Module, ...] = ()) -> None:
        super().__init__()
        self.module = module
        self.parts = parts
        self.loss: LossFunction | None = None
        self.divided = False

    def forward(self, batch: Batch) -> tuple[Tensor, Loss]:
        """The loss that is set."""
        assert self.loss is not None
        loss = self.loss(batch)
        return loss.value, loss


class Trainer:
    """Trains the parameters that require gradients.

    Args:
        module: holds the parameters; names come from it. An `Objective` where several trainers
            take turns on one module.
        loss: a batch to its loss.
        source: the batches.
        options: rates and lengths.
        folder: where the run is saved; `None` saves nothing.
        fingerprint: what the run is about; resuming another one is refused.
        is_new: names that learn at `lr`; the others learn at `lr_rest`.
        on_save: called after each save with the number of updates done.
        on_record: called with the step and its numbers after each update.
        prepare: what becomes of a batch before its loss.
        count: positions that the loss of a batch is a mean over.
        world: the processes that take part.
        advice: what to do where memory runs out.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: LossFunction,
        source: BatchSource,
        options: TrainOptions,
        *,
        folder: Path | None = None,
        fingerprint: str = "",
        is_new: Callable[[str], bool] = lambda name: True,
        on_save: Callable[[int], None] | None = None,
        on_record: Callable[[int, Mapping[str, float]], None] | None = None,
        prepare: Callable[[Batch], Batch] = lambda batch: batch,
        count: Callable[[Batch], int] = lambda batch: batch.frames,
        world: World | None = None,
        advice: str | None = None,
        report: Report = ignore,
    ) -> None:
        self.objective = module if isinstance(module, Objective) else Objective(module)
        if not any(p.requires_grad for p in self.objective.module.parameters()):
            raise TrainingError("no parameter is trainable")
        self.world = world or World()
        self.wrapped: nn.Module = self.objective
        if not self.objective.divided:
            self.wrapped = self.world.wrap(self.objective, self.objective.parts)
            self.objective.divided = self.world.sharding == "fsdp2" and self.world.size > 1
        named = self.objective.module.named_parameters()
        self.named = {name: p for name, p in named if p.requires_grad}
        self.device = next(iter(self.named.values())).device
        self.loss = loss
        self.source = source
        self.options = options
        self.folder = folder
        self.fingerprint = fingerprint
        self.on_save = on_save
        self.on_record = on_record
        self.prepare = prepare
        self.count = count
        self.advice = advice
        self.report = report
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.named, options=options, is_new=is_new), betas=options.betas
        )
        self.mean: dict[str, Tensor] = {}
        if options.ema:
            self.mean = {name: p.detach().clone() for name, p in self.named.items()}
        self.step = 0
        self.tokens = 0
        self.position = Position()
        self.last: float | None = None
        self.clock = time.monotonic()

    def run(self) -> TrainResult:
        """Train to `options.steps`; a signal finishes the update, saves, and interrupts."""
        started = self.clock = time.monotonic()
        if self.step == 0 and self.folder is not None and self.world.main:
            self._trim_metrics()  # of a run that was killed before its first save
        self.report(Stage(name="training", total=self.options.steps - self.step, unit="steps"))
        batches = self.source.batches(self.position)
        with stop_flag() as stop:
            while self.step < self.options.steps:
                values = self._update(batches)
                self._record(values)
                self.report(Advance())
                if self.world.any(stop.is_set()):
                    self.save()
                    if self.folder is not None:
                        text = f"stopped at step {self.step}; go on with `--resume {self.folder}`"
                        self.report(Note(text=text, warning=True))
                    raise KeyboardInterrupt
                if self.step % self.options.save_every == 0 and self.step < self.options.steps:
                    self.save()
        self.save()
        seconds = time.monotonic() - started
        return TrainResult(steps=self.step, tokens=self.tokens, loss=self.last, seconds=seconds)

    def weights(self) -> dict[str, Tensor]:
        """What was trained, in full: the running mean where one is kept. Every process asks."""
        kept: Mapping[str, Tensor] = self.mean or self.named
        return {name: whole(value.detach()) for name, value in kept.items()}

    def _update(self, batches: Iterator[tuple[Batch, Position]]) -> dict[str, float]:
        """Do one optimizer update; return its named numbers."""
        world = self.world
        taken = [next(batches) for _ in range(self.options.accumulate)]
        try:
            mine = [
                self.prepare(replace(batch.share(world.rank, world.size), step=self.step))
                for batch, _ in taken
            ]
            sizes = [[self.count(part), part.frames] for part in mine]
            sums = world.sum(torch.tensor(sizes, device=self.device)).tolist()
            total = sum(count for count, _ in sums)
            parts: dict[str, Tensor] = {}
            values = []
            for number, (part, (count, _)) in enumerate(zip(mine, sums, strict=True)):
                share = count / total
                last = number + 1 == len(mine)
                with nullcontext() if last else world.quiet(self.wrapped):
                    value, loss = self._forward(replace(part, count=count))
                    # Engines average gradients over processes; what is wanted is their sum.
                    torch.autograd.backward(value * (share * world.size))
                values.append(value.detach())
                for name, piece in {"loss": value, **loss.parts}.items():
                    piece = torch.as_tensor(piece, device=self.device).detach().double() * share
                    parts[name] = parts[name] + piece if name in parts else piece
            limit = self.options.clip or math.inf
            norm = nn.utils.clip_grad_norm_(list(self.named.values()), limit)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise self._too_large(taken) from error
        table = world.sum(torch.stack([*(v.double() for v in values), *parts.values()])).tolist()
        for value, (batch, _) in zip(table, taken, strict=False):
            if not math.isfinite(value):
                raise self._diverged(f"loss is {value}", batch)
        size = float(whole(norm))
        if not math.isfinite(size):
            raise self._diverged(f"gradient norm is {size}", *(batch for batch, _ in taken))
        rate = rate_at(self.step, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._follow()
        spoken = sum(tokens for _, tokens in sums)
        self.tokens += spoken
        self.position = taken[-1][1]
        named = dict(zip(parts, table[len(values) :], strict=True))
        self.last = named["loss"]
        now = time.monotonic()
        speed, self.clock = spoken / max(now - self.clock, 1e-9), now
        return {
            **named,
            "gradient_norm": size,
            "lr": self.options.lr * rate,
            "tokens": self.tokens,
            "tokens_per_second": round(speed, 1),
        }

    def _forward(self, batch: Batch) -> tuple[Tensor, Loss]:
        """Compute the loss, under autocast where asked."""
        self.objective.loss = self.loss
        reduced = torch.autocast(self.device.type, dtype=torch.bfloat16)
        with reduced if self.options.autocast else nullcontext():
            value, loss = self.wrapped(batch)
        return value, loss

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running mean; young ones move faster, so that a start is soon forgotten."""
        decay = min(self.options.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.mean.items():
            value.lerp_(self.named[name].detach(), 1 - decay)

    def _diverged(self, fact: str, *batches: Batch) -> TrainingError:
        """Name the batch that broke the run; nothing was updated by it."""
        ids = [name for batch in batches for name in batch.ids]
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        return TrainingError(
            f"{fact} at step {self.step + 1}, examples {shown}",
            hint="lower `--lr`, or look at these examples; the last save is untouched",
        )

    def _too_large(self, taken: list[tuple[Batch, Position]]) -> OutOfMemoryError:
        """Say what did not fit."""
        rows = max(len(batch.examples) for batch, _ in taken)
        places = max(batch.padded for batch, _ in taken)
        each = f" over {self.world.size} processes" if self.world.size > 1 else ""
        return OutOfMemoryError(
            f"out of memory at step {self.step + 1}: a pass holds up to {rows} examples, "
            f"{places} positions{each}",
            self.advice,
        )

    def _record(self, values: dict[str, float]) -> None:
        """Write the numbers of this update to `metrics.jsonl` and report some of them."""
        if self.folder is not None and self.world.main:
            line = json.dumps({"step": self.step, **values})
            path = self.folder / METRICS_FILE
            with output_errors(path), path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        if self.on_record is not None:
            self.on_record(self.step, values)
        if self.step % self.options.log_every == 0 or self.step == self.options.steps:
            self.report(Metrics(step=self.step, values=values))

    def save(self) -> None:
        """Save the run; an interruption leaves the previous save. Every process takes part."""
        if self.folder is not None:
            tensors: dict[str, Tensor] = {f"weight.{name}": p for name, p in self.named.items()}
            tensors |= {f"mean.{name}": value for name, value in self.mean.items()}
            for name, parameter in self.named.items():
                for key, value in self.optimizer.state.get(parameter, {}).items():
                    tensors[f"{key}.{name}"] = torch.as_tensor(value)
            full = {name: whole(value.detach()).contiguous() for name, value in tensors.items()}
            full["random.cpu"] = torch.get_rng_state()
            if self.device.type == "cuda":
                full["random.cuda"] = torch.cuda.get_rng_state(self.device)
            metadata = {
                "fingerprint": self.fingerprint,
                "step": str(self.step),
                "tokens": str(self.tokens),
                "epoch": str(self.position.epoch),
                "index": str(self.position.index),
                "loss": json.dumps(self.last),
            }
            if self.world.main:
                write_state(self.folder, full, metadata)
            self.world.wait()
        if self.on_save is not None:
            self.on_save(self.step)

    def resume(self) -> None:
        """Take up the run saved in the folder."""
        if self.folder is None:
            raise ValueError("a trainer without a folder cannot resume")
        tensors, metadata = read_state(self.folder, self.report)
        if metadata.get("fingerprint") != self.fingerprint:
            raise TrainingError(
                f"`{self.folder}` holds a run with other settings",
                hint="resume with the options it was started with, or start anew in another folder",
            )
        expected = {f"weight.{name}" for name in self.named}
        found = {name for name in tensors if name.startswith("weight.")}
        if expected != found:
            raise TrainingError(f"`{self.folder}` holds a run that trains other parameters")
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(divided_like(tensors[f"weight.{name}"], parameter))
                if name in self.mean:
                    self.mean[name].copy_(divided_like(tensors[f"mean.{name}"], parameter))
                state = {
                    key: tensors[f"{key}.{name}"].to(parameter.device if key != "step" else "cpu")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{key}.{name}" in tensors
                }
                if state:
                    self.optimizer.state[parameter] = {
                        key: value if key == "step" else divided_like(value, parameter)
                        for key, value in state.items()
                    }
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.step = int(metadata["step"])
        self.tokens = int(metadata["tokens"])
        self.last = json.loads(metadata.get("loss", "null"))
        self.position = Position(epoch=int(metadata["epoch"]), index=int(metadata["index"]))
        if self.world.main:
            remove_partial(self.folder)
            self._trim_metrics()

    def _trim_metrics(self) -> None:
        """Drop recorded updates after the save, which are about to be done again."""
        assert self.folder is not None
        path = self.folder / METRICS_FILE
        if path.exists():
            kept = [row for row in read_metrics(path) if row["step"] <= self.step]
            write_whole(path, "".join(f"{json.dumps(row)}\n" for row in kept))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read `metrics.jsonl`, but for a last line that a killed process left unfinished."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in CPU_ALLOCATOR)
