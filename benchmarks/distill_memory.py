"""What `mamtra distill --dry-run` estimates beside what a run holds, on mini or another student.

Each setting trains three steps on random tokens of 4 to 12 seconds, twice, in processes of its own.
One measures what is in use at once (weights, optimizer, and the memory events of
torch's profiler; on a GPU the allocator's peak), the other the most resident memory over what the
process had once everything was imported.

    python benchmarks/distill_memory.py
    python benchmarks/distill_memory.py --student student --device cuda
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from distill_step import Peak, held, source

from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.engine.students.pair import open_pair, share_frozen
from mamtra_cli.engine.training.parallel import World
from mamtra_cli.engine.training.plan import memory_of, read_data_of
from mamtra_cli.engine.training.trainer import Trainer
from mamtra_cli.live_bytes import live_peak
from mamtra_cli.recipes import ConvertRecipe, DistillRecipe
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import choose_trainable, distill

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "2048 tokens": {"batch_tokens": 2048},
    "passes of 2048": {"pass_positions": 2048},
    "everything learns": {"batch_tokens": 2048, "lr_rest": 1e-5},
    "block again": {"checkpoint_activations": True},
    "bfloat16": {"precision": "bfloat16"},
}


def recipe_of(name: str, folder: Path, device: str) -> DistillRecipe:
    """Three steps with a setting."""
    return DistillRecipe(
        student=str(folder / "student"),
        data=folder / "pairs.jsonl",
        output=folder / f"{name.replace(' ', '-')}-{os.getpid()}",
        steps=3,
        check_tokens=0,
        report=False,
        plot=False,
        device=device,
        **SETTINGS[name],
    )


def measure(name: str, folder: Path, device: str, live: bool) -> dict[str, float]:
    """Estimate and a peak of one setting, in this process; the peak is of the training alone."""
    base = Peak("cpu").before
    recipe = recipe_of(name, folder, device)
    pair = open_pair(recipe.student, "", device, lambda event: None)
    trainable = choose_trainable(pair.student.lessons, recipe)
    share_frozen(pair)
    assert recipe.data is not None
    examples = read_data_of(recipe.data, pair)
    guess = memory_of(recipe, pair, trainable, World(), examples)
    stays = held(pair.teacher.lessons.lm, pair.student.lessons.lm)
    del pair
    peaks: list[float] = []
    plain = Trainer._update

    def watched(self: Trainer, batches: Any) -> dict[str, float]:
        if not live:
            with Peak(device) as peak:
                values = plain(self, batches)
            peaks.append(peak.most - (0 if peak.cuda else base))
            return values
        kept = stays + held(self.optimizer)
        most, values = live_peak(lambda: plain(self, batches), torch.device(device))
        peaks.append(most + kept)
        return values

    Trainer._update = watched  # type: ignore[method-assign]
    distill(recipe)
    return {
        "estimate": guess.total / 1e6,
        "activations": guess.activations / 1e6,
        "measured": max(peaks) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--student", help="a converted folder; mini 1:1 if absent")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--setting", choices=list(SETTINGS), action="append")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--live", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(measure(options.setting[0], options.folder, options.device, options.live)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if options.student:
            (folder / "student").symlink_to(Path(options.student).resolve())
        else:
            convert(ConvertRecipe(teacher="mini", output=folder / "student", calibrate="none"))
        pair = open_pair(str(folder / "student"), "", "cpu", lambda event: None)
        write_examples(folder / "pairs.jsonl", source(pair.teacher.config.lm, 4096).examples)
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}")
        for name in options.setting or SETTINGS:
            rows = []
            for more in ([], ["--live"]):
                command = [sys.executable, __file__, "--setting", name, "--folder", made]
                done = subprocess.run(
                    [*command, "--device", options.device, *more],
                    capture_output=True,
                    text=True,
                    env=os.environ,
                    check=False,
                )
                if done.returncode:
                    sys.exit(done.stderr)
                rows.append(json.loads(done.stdout))
            resident, live = rows
            print(
                f"{name:18} estimate {live['estimate']:5.0f} MB (activations "
                f"{live['activations']:5.0f})  in use {live['measured']:5.0f} MB  "
                f"{live['estimate'] / live['measured']:.2f}  resident "
                f"{resident['measured']:5.0f} MB"
            )


if __name__ == "__main__":
    main()
