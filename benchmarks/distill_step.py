"""Our distillation step beside a plain loop, in one run: tokens a second and peak memory.

The plain loop is what one writes first: two separate models, the student runs every layer, logits
of both at every position, one divergence over all of them, hidden states by hooks, the scan's
intermediate values kept. `plain-text` is that loop around the published wrapper, which is a causal
LM and so computes the logits of its 151,936 text tokens at every position, unused. `ours-stored`
is our step as `--teacher-cache 64 --cache-hidden` runs it once the teacher has been stored (what
that took is printed), and `-bf16` is a side under autocast, as with `--precision bfloat16`. All
train the new layers alone on the same batches, each side in a process of its own. On a CPU a second
is one of processor time, which other work on the machine does not stretch. The sides take turns,
the median round counts.

Two peaks are given. `live` is what is in use at once: weights, optimizer and the tensors of one
more step, by the memory events of torch's profiler; it is the same on every run. `resident` is the
most pages the process had over those when torch was imported, with what the C library's allocator
keeps of tensors long freed. On a GPU `live` is the allocator's peak.

    python benchmarks/distill_step.py                      # mini, 1:1
    python benchmarks/distill_step.py --shape half-billion # 0.5B ratios at 1/7 of the width
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from mamtra_cli.engine.lessons.examples import BatchSource
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.fitting import hybrid_of
from mamtra_cli.engine.training.distillation import LAST, DistillLoss
from mamtra_cli.engine.training.head_loss import LossWeights
from mamtra_cli.engine.training.losses import IGNORE, Divergence
from mamtra_cli.engine.training.teacher_cache import TeacherCache
from mamtra_cli.engine.training.trainer import Loss
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lessons import SpeechLessons
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.lessons import Example
from mamtra_cli.layers.mixer_config import preset
from mamtra_cli.live_bytes import live_peak

WEIGHTS = LossWeights()
SIDES = [
    *("plain", "plain-text", "plain-bf16"),
    *("ours", "ours-bf16", "ours-stored", "ours-stored-bf16"),
]
STORED = 64  # likeliest tokens of a stored teacher
# Qwen2-0.5B of CosyVoice 2: width 896, 24 layers, feed-forward 4864, 6561 speech tokens. Here the
# width is 128 and every size that a step's cost hangs on keeps its ratio to it.
HALF_BILLION = {
    "d_model": 128,
    "n_layers": 24,
    "n_heads": 2,
    "n_kv_heads": 1,
    "head_dim": 64,
    "d_ff": 695,
    "vocab_size": 21_705,
    "speech_vocab": 937,
}


def models(shape: str, device: str, separate: bool) -> tuple[SpeechLessons, SpeechLessons]:
    """Teacher and 1:1 student; with `separate` the student has tensors of its own."""
    torch.manual_seed(0)
    if shape == "mini":
        teacher = Engine.load("mini", device=device, dtype="float32").part("lm")
    else:
        teacher = SpeechLM(LMConfig(**HALF_BILLION)).to(device)  # type: ignore[arg-type]
    teacher = SpeechLessons(teacher.eval().requires_grad_(False))
    kinds = "TM" * (teacher.stack.config.n_layers // 2)
    student = hybrid_of(teacher, kinds, preset("mamba2-gqa"))
    if separate:
        own = SpeechLM(student.lm.config)
        state = student.lm.state_dict()
        own.load_state_dict({name: value.clone() for name, value in state.items()})
        student = SpeechLessons(own.to(device))
    for name, parameter in student.lm.named_parameters():
        parameter.requires_grad_(".mixer." in name)
    student.lm.train()
    return teacher, student


def source(config: LMConfig, positions: int) -> BatchSource:
    """Utterances of 4 to 12 seconds with a text of a fifth of their length."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(200):
        speech = int(torch.randint(100, 300, (), generator=generator))
        made.append(
            Example(
                id=str(i),
                text_ids=tuple(
                    torch.randint(
                        len(config.durations) or config.vocab_size,
                        (speech // 5,),
                        generator=generator,
                    ).tolist()
                ),
                tokens=tuple(
                    torch.randint(config.speech_vocab, (speech,), generator=generator).tolist()
                ),
            )
        )
    return BatchSource(made, budget=positions, seed=0)


class PlainLoss:
    """The first loop one writes."""

    def __init__(self, teacher: SpeechLessons, student: SpeechLessons, text_head: bool) -> None:
        self.teacher, self.student = teacher, student
        self.heads = None
        if text_head:  # tied to the text embedding in the published model
            self.heads = [lm.stack.embed_tokens.weight for lm in (teacher, student)]
        student.stack.recompute = "none"
        kinds = student.stack.config.layer_kinds
        self.inner = [i + 1 for i, kind in enumerate(kinds) if kind != "T" and i + 1 < len(kinds)]

    def __call__(self, batch: object) -> Loss:
        laid = self.student.lay_out(batch.examples)  # type: ignore[attr-defined]
        capture = range(len(self.student.stack.config.layer_kinds))
        outs, unused = [], []
        for i, lm in enumerate((self.teacher, self.student)):
            with torch.set_grad_enabled(lm is self.student):
                out = lm.stack(lm.embed(laid.inputs), **laid.reading, capture=capture)
                if self.heads is not None:
                    unused.append(F.linear(out.hidden, self.heads[i]))  # (B, T, text vocabulary)
                outs.append((out, lm.heads(out.hidden)[..., 0, :]))  # (B, T, V)
        (theirs, p_logits), (ours, q_logits) = outs
        targets = laid.targets[..., 0]
        mask = targets != IGNORE
        ce = F.cross_entropy(q_logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        log_p, log_q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)
        mixed = (0.1 * log_p.exp() + 0.9 * log_q.exp()).log()
        kl = (log_p.exp() * (log_p - mixed)).sum(-1)[mask].mean()
        pairs = [(ours.captured[i], theirs.captured[i]) for i in self.inner]
        pairs.append((ours.hidden, theirs.hidden))
        gaps = [self._gap(a[laid.real], b[laid.real]) for a, b in pairs]
        value = WEIGHTS.ce * ce + WEIGHTS.divergence * kl
        value = value + WEIGHTS.hidden * torch.stack(gaps).mean()
        return Loss(value=value, tokens=int(mask.sum()), parts={"ce": ce.detach()})

    @staticmethod
    def _gap(mine: Tensor, aim: Tensor) -> Tensor:
        return (mine - aim).square().sum() / aim.square().sum()


class Peak:
    """The most resident memory a stretch of code has, sampled by a thread."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self.before = self.most = self.now()

    def now(self) -> int:
        if self.cuda:
            return torch.cuda.max_memory_allocated()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def __enter__(self) -> "Peak":
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.005):
            self.most = max(self.most, self.now())


def wall() -> float:
    """Seconds, once the GPU has done its work."""
    torch.cuda.synchronize()
    return time.perf_counter()


def store(loss: DistillLoss, found: BatchSource, folder: str) -> None:
    """Let the teacher speak to a file once, and the loss read it."""
    layers = [*loss.inner, *([LAST] if loss.last else [])]
    flags = found.flags(0)
    loss.cache = TeacherCache(Path(folder), found.examples, flags, k=STORED, layers=layers)
    loss.cache.make(loss.teacher)


def held(*things: torch.nn.Module | torch.optim.Optimizer) -> int:
    """Bytes of parameters and optimizer states, those that are shared once."""
    kept: dict[int, int] = {}
    for thing in things:
        values = thing.state_dict().values() if isinstance(thing, torch.nn.Module) else []
        if isinstance(thing, torch.optim.Optimizer):
            values = [v for s in thing.state.values() for v in s.values()]
        for value in values:
            storage = value.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
    return sum(kept.values())


def side(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Run one side in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(name, options, folder)


def measured(name: str, options: argparse.Namespace, folder: str) -> dict[str, float]:
    """Times, peaks and the last loss of a side."""
    device = options.device
    base = Peak("cpu").before
    teacher, student = models(options.shape, device, separate=name.startswith("plain"))
    found = source(teacher.lm.config, options.positions)
    clock = time.process_time if device == "cpu" else wall
    storing = 0.0
    if name.startswith("plain"):
        loss = PlainLoss(teacher, student, text_head=name == "plain-text")
    else:
        loss = DistillLoss(  # type: ignore[assignment]
            teacher, student, weights=WEIGHTS, divergence=Divergence()
        )
    if name.startswith("ours-stored"):
        begun = clock()
        store(loss, found, folder)  # type: ignore[arg-type]
        storing = clock() - begun
    learning = [p for p in student.lm.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4)
    seconds, tokens, values = [], [], []
    batches = found.batches()

    def update(step: int) -> int:
        """One step; returns its speech tokens."""
        batch = replace(next(batches)[0], step=step)
        with torch.autocast(device, torch.bfloat16, enabled=name.endswith("bf16")):
            made = loss(batch)
        torch.autograd.backward(made.value)
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        values.append(float(made.value.detach()))
        return batch.frames

    with Peak(device) as peak:
        for step in range(options.steps + 1):
            begun = clock()
            count = update(step)
            if step:  # the first one warms up
                seconds.append(clock() - begun)
                tokens.append(count)
    speeds = [count / spent for count, spent in zip(tokens, seconds, strict=True)]
    live = peak.most
    if not peak.cuda:
        own = held(teacher.lm, student.lm, optimizer)
        live = own + live_peak(lambda: update(options.steps + 1))[0]
    return {
        "tokens_per_second": statistics.median(speeds),
        "live_mb": live / 1e6,
        "resident_mb": (peak.most - (0 if peak.cuda else base)) / 1e6,
        "loss": values[options.steps],
        "storing_s": storing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=["mini", "half-billion"], default="mini")
    parser.add_argument("--positions", type=int, default=4096, help="of a batch")
    parser.add_argument("--steps", type=int, default=3, help="measured, after one to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(side(options.side, options)))
        return
    sides = [side for side in SIDES if options.shape != "mini" or side != "plain-text"]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, found in rows.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--side", name]
            # A stock allocator gives memory back, so that peaks are of what is in use.
            done = subprocess.run(
                command, capture_output=True, text=True, env=os.environ, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            found.append(json.loads(done.stdout))
    middle = {
        name: {key: statistics.median(row[key] for row in found) for key in found[0]}
        for name, found in rows.items()
    }
    print(
        f"{options.shape}, 1:1, {options.positions} positions a step, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {options.device}"
    )
    for name, row in middle.items():
        print(
            f"{name:16} {row['tokens_per_second']:6.0f} tokens/s  live {row['live_mb']:5.0f} MB  "
            f"resident {row['resident_mb']:5.0f} MB  loss {row['loss']:.4f}"
        )
    print(f"storing the teacher took {middle['ours-stored']['storing_s']:.1f} s")
    for plain in (name for name in middle if name.startswith("plain")):
        for ours in (name for name in middle if name.startswith("ours")):
            faster = middle[ours]["tokens_per_second"] / middle[plain]["tokens_per_second"]
            less, pages = (
                1 - middle[ours][key] / middle[plain][key] for key in ("live_mb", "resident_mb")
            )
            print(
                f"{ours} against {plain}: {faster:.2f} times as fast, {less:.0%} less live, "
                f"{pages:.0%} less resident"
            )


if __name__ == "__main__":
    main()
