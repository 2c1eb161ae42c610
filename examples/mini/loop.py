"""The training loop every stage of mini's recipe shares.

Deterministic from a seed (the batch of step i depends on the seed and on i alone), resumable
(a checkpoint every `save_seconds`), AdamW with warm-up and cosine decay, one progress line.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from mamtra_cli.engine.model import Engine

Losses = dict[str, Tensor]


def bf16_is_fast() -> bool:
    """Whether this processor multiplies bfloat16 natively."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def begin(model: str | None, parts: dict[str, nn.Module]) -> None:
    """Give parts of a stage the weights that a packed model has under their names.

    parts: by the name of a part, or of what is in one: `part.inner`.
    """
    if model is not None:
        packed = Engine.load(model, device="cpu", threads=1)
        for name, part in parts.items():
            whole, _, inner = name.partition(".")
            found = packed.part(whole).get_submodule(inner)
            part.load_state_dict(found.state_dict())


def trained(out: Path, name: str) -> dict[str, Tensor]:
    """Return the weights that a stage left in `out/name.pt`."""
    return dict(torch.load(out / f"{name}.pt", weights_only=True)["model"])


def train(
    name: str,
    model: nn.Module,
    batch_loss: Callable[[int], Losses],
    *,
    out: Path,
    steps: int,
    lr: float,
    warmup: int = 60,
    betas: tuple[float, float] = (0.9, 0.98),
    weight_decay: float = 0.02,
    floor: float = 0.03,
    clip: float = 1.0,
    save_seconds: float = 60.0,
    validate: Callable[[], dict[str, float]] | None = None,
    validate_every: int = 500,
) -> None:
    """Minimise `batch_loss(step)["loss"]`; leave `out/name.pt` with the finished model."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas)
    path, log = out / f"{name}.pt", out / f"{name}.jsonl"
    first = 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        first = saved["step"]
        if first < steps:
            optimizer.load_state_dict(saved["optimizer"])

    def save(step: int) -> None:
        temporary = path.with_suffix(".tmp")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, temporary)
        temporary.rename(path)

    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    last_save, sums, count, cpu = time.monotonic(), {}, 0, time.process_time()
    with Progress(*columns) as progress, log.open("a") as lines:
        bar = progress.add_task(name, total=steps, completed=first, note="")
        for step in range(first, steps):
            torch.manual_seed(step)
            share = max(0.0, (step - warmup) / max(1, steps - warmup))
            scale = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))
            scale *= min(1.0, (step + 1) / warmup)
            for group in optimizer.param_groups:
                group["lr"] = lr * scale
            model.train()
            losses = batch_loss(step)
            loss = losses["loss"]
            if not torch.isfinite(loss):
                raise SystemExit(f"{name}: loss is {loss.item()} at step {step}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + float(value.detach())
            count += 1
            if (step + 1) % 50 == 0 or step + 1 == steps:
                row = {k: round(v / count, 4) for k, v in sums.items()}
                row = {"step": step + 1, "cpu": round(time.process_time() - cpu, 1)} | row
                sums, count = {}, 0
                if validate and ((step + 1) % validate_every == 0 or step + 1 == steps):
                    model.eval()
                    with torch.no_grad():
                        row |= {f"val_{k}": round(v, 4) for k, v in validate().items()}
                lines.write(json.dumps(row) + "\n")
                lines.flush()
                note = " ".join(f"{k} {v}" for k, v in row.items() if k != "step")
                progress.update(bar, note=note)
            progress.update(bar, completed=step + 1)
            if time.monotonic() - last_save > save_seconds:
                save(step + 1)
                last_save = time.monotonic()
    save(max(first, steps))
    model.eval()
