"""One training run: optimizer groups, schedule, clipping, accumulation, save and resume.

Knows modules, a loss function and a source of batches; nothing of teachers or commands. A run
folder holds `trainer.safetensors` (trainable weights, AdamW moments, random state and where
the data stood) and `metrics.jsonl`. Going on from it gives, on a CPU, the same weights as never
having stopped. Files are written under a temporary name and renamed.
"""

import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mamtra_cli.engine.data import Batch, BatchSource, Position
from mamtra_cli.errors import TrainingError
from mamtra_cli.events import Advance, Metrics, Note, Report, Stage, ignore

log = logging.getLogger(__name__)

STATE_FILE = "trainer.safetensors"
METRICS_FILE = "metrics.jsonl"
STATE_VERSION = 1
NO_DECAY = ("A_log", "dt_bias", "D", "norm", "layernorm", "bias")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. `steps` are optimizer updates, each of `accumulate` batches."""

    steps: int = 200
    lr: float = 1e-3
    lr_rest: float = 0.0
    warmup: int = 20
    final_lr: float = 0.05  # share of the peak left at the last step
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulate: int = 1
    autocast: bool = False  # bfloat16 in the forward pass; weights and losses stay float32
    log_every: int = 10
    save_every: int = 100


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A scalar to minimise, its weight (tokens it is a mean over) and named parts."""

    value: Tensor
    tokens: int
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Where a run ended."""

    steps: int
    tokens: int
    loss: float | None
    seconds: float


LossFunction = Callable[[Batch], Loss]


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: matrices yes; A_log, dt_bias, D, norms and biases no."""
    leaf = name.split(".")
    return parameter.ndim >= 2 and not any(
        part == word or (word.islower() and part.endswith(word))
        for part in leaf
        for word in NO_DECAY
    )


def parameter_groups(
    named: Mapping[str, nn.Parameter], *, options: TrainOptions, is_new: Callable[[str], bool]
) -> list[dict[str, object]]:
    """Sort trainable parameters into AdamW groups by rate and by decay.

    Args:
        named: the trainable parameters.
        options: the rates.
        is_new: whether a name belongs to the new layers, which learn at `lr`.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        rate = options.lr if is_new(name) else options.lr_rest
        decay = options.weight_decay if decays(name, parameter) else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": members, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), members in sorted(groups.items(), reverse=True)
    ]


def rate_at(step: int, options: TrainOptions) -> float:
    """Share of the peak rate at update `step` (from 0): linear warm-up, then half a cosine."""
    if step < options.warmup:
        return (step + 1) / options.warmup
    span = max(1, options.steps - options.warmup)
    progress = min(1.0, (step - options.warmup) / span)
    return options.final_lr + (1 - options.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))


class Trainer:
    """Trains the parameters that require gradients.

    Args:
        module: holds the parameters; names come from it.
        loss: a batch to its loss.
        source: the batches.
        options: rates and lengths.
        folder: where the run is saved; `None` saves nothing.
        fingerprint: what the run is about; resuming another one is refused.
        is_new: names that learn at `lr`; the others learn at `lr_rest`.
        on_save: called after each save with the number of updates done.
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
        report: Report = ignore,
    ) -> None:
        self.named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self.named:
            raise TrainingError("no parameter is trainable")
        self.loss = loss
        self.source = source
        self.options = options
        self.folder = folder
        self.fingerprint = fingerprint
        self.on_save = on_save
        self.report = report
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.named, options=options, is_new=is_new), betas=options.betas
        )
        self.step = 0
        self.tokens = 0
        self.position = Position()
        self.last: float | None = None

    def run(self) -> TrainResult:
        """Train to `options.steps`; Ctrl-C finishes the update, saves, and interrupts."""
        started = time.monotonic()
        self.report(Stage(name="training", total=self.options.steps - self.step, unit="steps"))
        batches = self.source.batches(self.position)
        with _stop_flag() as stop:
            while self.step < self.options.steps:
                values = self._update(batches)
                self._record(values)
                self.report(Advance())
                if stop.is_set():
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

    def _update(self, batches: Iterator[tuple[Batch, Position]]) -> dict[str, float]:
        """Do one optimizer update; return its named numbers."""
        taken = [next(batches) for _ in range(self.options.accumulate)]
        weights = [int(batch.token_lengths.sum()) for batch, _ in taken]
        total = sum(weights)
        parts: dict[str, float] = {}
        for (batch, _), weight in zip(taken, weights, strict=True):
            share = weight / total
            loss = self._forward(batch)
            value = float(loss.value.detach())
            if not math.isfinite(value):
                raise self._diverged(f"loss is {value}", batch)
            torch.autograd.backward(loss.value * share)
            for name, part in {"loss": value, **loss.parts}.items():
                parts[name] = parts.get(name, 0.0) + part * share
        norm = float(nn.utils.clip_grad_norm_(list(self.named.values()), self.options.clip))
        if not math.isfinite(norm):
            raise self._diverged(f"gradient norm is {norm}", *(batch for batch, _ in taken))
        rate = rate_at(self.step, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += total
        self.position = taken[-1][1]
        self.last = parts["loss"]
        return {**parts, "gradient_norm": norm, "lr": self.options.lr * rate, "tokens": self.tokens}

    def _forward(self, batch: Batch) -> Loss:
        """Compute the loss, under autocast where asked."""
        if not self.options.autocast:
            return self.loss(batch)
        device = next(iter(self.named.values())).device.type
        with torch.autocast(device, dtype=torch.bfloat16):
            return self.loss(batch)

    def _diverged(self, fact: str, *batches: Batch) -> TrainingError:
        """Name the batch that broke the run; nothing was updated by it."""
        ids = [name for batch in batches for name in batch.ids]
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        return TrainingError(
            f"{fact} at step {self.step + 1}, examples {shown}",
            hint="lower `--lr`, or look at these examples; the last save is untouched",
        )

    def _record(self, values: dict[str, float]) -> None:
        """Write the numbers of this update to `metrics.jsonl` and report some of them."""
        if self.folder is not None:
            line = json.dumps({"step": self.step, **values})
            with (self.folder / METRICS_FILE).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        if self.step % self.options.log_every == 0 or self.step == self.options.steps:
            self.report(Metrics(step=self.step, values=values))

    def save(self) -> None:
        """Save the run; an interruption leaves the previous save."""
        if self.folder is not None:
            tensors = {f"weight.{name}": p.detach().contiguous() for name, p in self.named.items()}
            for name, parameter in self.named.items():
                for key, value in self.optimizer.state.get(parameter, {}).items():
                    tensors[f"{key}.{name}"] = torch.as_tensor(value).contiguous()
            tensors["random.cpu"] = torch.get_rng_state()
            if torch.cuda.is_available():
                tensors["random.cuda"] = torch.cuda.get_rng_state()
            metadata = {
                "format": str(STATE_VERSION),
                "fingerprint": self.fingerprint,
                "step": str(self.step),
                "tokens": str(self.tokens),
                "epoch": str(self.position.epoch),
                "index": str(self.position.index),
            }
            write_state(self.folder / STATE_FILE, tensors, metadata)
        if self.on_save is not None:
            self.on_save(self.step)

    def resume(self) -> None:
        """Take up the run saved in the folder."""
        if self.folder is None:
            raise ValueError("a trainer without a folder cannot resume")
        tensors, metadata = read_state(self.folder / STATE_FILE)
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
                parameter.copy_(tensors[f"weight.{name}"])
                state = {
                    key: tensors[f"{key}.{name}"].to(parameter.device if key != "step" else "cpu")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{key}.{name}" in tensors
                }
                if state:
                    self.optimizer.state[parameter] = state
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
        self.step = int(metadata["step"])
        self.tokens = int(metadata["tokens"])
        self.position = Position(epoch=int(metadata["epoch"]), index=int(metadata["index"]))
        self._trim_metrics()

    def _trim_metrics(self) -> None:
        """Drop recorded updates after the save, which are about to be done again."""
        assert self.folder is not None
        path = self.folder / METRICS_FILE
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def write_state(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file so that readers see the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, temporary, metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_state` wrote."""
    if not path.exists():
        raise TrainingError(f"no saved run in `{path.parent}`", hint="start one without `--resume`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise TrainingError(f"`{path}` is damaged: {error}") from error
    if metadata.get("format") != str(STATE_VERSION):
        raise TrainingError(f"`{path}` was written by another version of mamtra")
    return tensors, metadata


@contextmanager
def _stop_flag() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag; the second one interrupts at once.

    Signals belong to the main thread; elsewhere the flag is never set.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
