"""The language models of a study: data, conversion, training, closeness to the teacher.

Everything goes through `mamtra convert` and `mamtra distill` as functions. The held-out set is
the study's own, of another seed than the training data, and the same for every row. The curve is
taken from the run that `distill` saves while it trains.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from mamtra_cli.engine.lessons.agreement import compare, take_tokens
from mamtra_cli.engine.lessons.examples import read_examples, write_examples
from mamtra_cli.engine.lessons.spoken import make_tokens
from mamtra_cli.engine.model import Engine
from mamtra_cli.events import Event, Metrics
from mamtra_cli.families.lessons import Example, Lessons
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import distill
from study.ledger import Ledger
from study.recipe import Data, Run, digest_of

Say = Callable[[str], None]
SAVED = "trainer.safetensors"  # in the folder of a run, weights under `weight.` and their name
WEIGHT = "weight."


class Lab:
    """A study's teacher, data and folder.

    Args:
        teacher: name of the model converted.
        data: sizes and seeds of what it says.
        folder: where students and results are; what the teacher says is in `speech` beside it.
        say: hears of progress.
    """

    def __init__(self, teacher: str, data: Data, folder: Path, say: Say) -> None:
        self.name, self.data, self.folder, self.say = teacher, data, folder, say
        self.shared = folder.parent / "speech"
        self.teacher = Engine.load(teacher, device="cpu", dtype="float32")
        assert self.teacher.model is not None
        self.teacher.ready(self.teacher.model.conversion.part)
        self.ledger = Ledger(folder / "results.jsonl")

    @property
    def n_layers(self) -> int:
        """Layers of the teacher."""
        return self.teacher.lessons.stack.config.n_layers

    def hash_of(self, *parts: str) -> str:
        """Hash of the files of some of the teacher's parts."""
        found = hashlib.sha256()
        for part in parts:
            found.update((self.teacher.folder / f"{part}.safetensors").read_bytes())
        return found.hexdigest()[:12]

    @property
    def sound(self) -> list[str]:
        """Parts of the teacher that make sound of its tokens."""
        return [part for part in self.teacher.speech_parts if part != "lm"]

    @property
    def lessons(self) -> str:
        """Digest of what the teacher's lessons depend on: its language model, how it draws."""
        return digest_of([self.hash_of("lm"), asdict(self.teacher.lesson_sampling)])

    def examples(self, what: str, tokens: int, seed: int) -> list[Example]:
        """Speech of the teacher, made the first time it is asked for."""
        path = self.shared / f"{what}-{self.lessons}-{seed}-{tokens}.jsonl"
        if not path.exists():
            self.say(f"the teacher makes {tokens} {what} tokens")
            made = take_tokens(make_tokens(self.teacher, tokens, seed=seed), tokens)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_examples(path.with_suffix(".part"), made)
            path.with_suffix(".part").replace(path)
        return self.read(path)

    def read(self, path: Path) -> list[Example]:
        """Examples of a file."""
        return read_examples(path, self.teacher.encode, **self.teacher.facts.sizes)

    def training_file(self, tokens: int) -> Path:
        """A file of the first `tokens` training tokens; 0 is all."""
        data = self.data
        wanted = tokens or data.training_tokens
        name = f"{self.lessons}-{data.training_seed}-{wanted}-of-{data.training_tokens}"
        path = self.shared / f"given-{name}.jsonl"
        if not path.exists():
            made = self.examples("training", data.training_tokens, data.training_seed)
            write_examples(path.with_suffix(".part"), take_tokens(made, wanted))
            path.with_suffix(".part").replace(path)
        return path

    def held_out(self) -> list[Example]:
        """The set that CE and KL are measured on."""
        return self.examples("held-out", self.data.held_out_tokens, self.data.held_out_seed)

    def student(self, run: Run) -> Path:
        """Folder of a trained student."""
        return self.folder / "students" / run.digest


def closeness(teacher: Lessons, student: Lessons, held: Sequence[Example]) -> dict[str, Any]:
    """Sums of each sentence, so that intervals can be had: tokens, CE, KL, same first choice."""
    rows: dict[str, list[float]] = {"tokens": [], "ce_teacher": [], "ce": [], "kl": [], "same": []}
    for example in held:
        found = compare(teacher, student, [example])
        rows["tokens"].append(found.tokens)
        rows["ce_teacher"].append(found.ce_teacher * found.tokens)
        rows["ce"].append(found.ce_student * found.tokens)
        rows["kl"].append(found.kl * found.tokens)
        rows["same"].append(found.agreement * found.tokens)
    return {name: [round(value, 5) for value in values] for name, values in rows.items()}


class Curve:
    """Listens to a run and measures each weight file it saves."""

    def __init__(self, lab: Lab, student: Lessons, run_folder: Path) -> None:
        self.lab, self.student, self.folder = lab, student, run_folder
        self.held = take_tokens(lab.held_out(), lab.data.curve_tokens)
        self.points: dict[int, dict[str, float]] = {}
        self.add(0)

    def __call__(self, event: Event) -> None:
        """Measure what was saved since, if anything."""
        path = self.folder / SAVED
        if not isinstance(event, Metrics) or not path.is_file():
            return
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            if step in self.points:
                return
            names = [name for name in file.keys() if name.startswith(WEIGHT)]  # noqa: SIM118
            tensors = {name.removeprefix(WEIGHT): file.get_tensor(name) for name in names}
        wrong = self.student.lm.load_state_dict(tensors, strict=False).unexpected_keys
        assert not wrong, wrong
        self.add(step)

    def add(self, step: int) -> None:
        """Measure the student as it is."""
        found = compare(self.lab.teacher.lessons, self.student, self.held)
        self.points[step] = {"ce": found.ce_student, "kl": found.kl, "same": found.agreement}


def train(lab: Lab, run: Run) -> dict[str, Any]:
    """Convert, measure, train, measure; a finished run is read, not redone."""
    done = lab.ledger.get("train", run.digest)
    if done is not None:
        return done
    lab.say(f"{run.name}: {run.kinds}")
    started = time.perf_counter()
    folder = lab.student(run)
    folder.parent.mkdir(parents=True, exist_ok=True)
    raw = folder.with_name(f"{run.digest}-start")
    file = lab.training_file(run.row.tokens)
    options = {"device": "cpu", "force": True}
    convert(
        replace(run.convert, teacher=lab.name, output=raw, data=file, check_tokens=0, **options)
    )
    held = lab.held_out()
    student = Engine.load(str(raw), device="cpu", dtype="float32").lessons
    start = closeness(lab.teacher.lessons, student, held)
    end, points, metrics = start, {}, {}
    if run.distill.steps:
        lesson = replace(
            run.distill, student=str(raw), teacher=lab.name, data=file, output=folder, **options
        )
        curve = None
        if run.row.curve:
            curve = Curve(lab, student, folder.with_name(f"{folder.name}.run"))
            lesson = replace(lesson, log_every=run.row.curve, save_every=run.row.curve)
        result = distill(lesson, curve or (lambda event: None))
        trained = Engine.load(str(folder), device="cpu", dtype="float32").lessons
        end = closeness(lab.teacher.lessons, trained, held)
        metrics = {"seconds": result.seconds, "tokens": result.tokens, "loss": result.loss}
        if curve is not None:
            curve.student = trained
            curve.add(run.distill.steps)
            points = curve.points
        shutil.rmtree(raw)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        raw.rename(folder)
    return lab.ledger.put(
        "train",
        run.digest,
        row=run.row.name,
        seed=run.seed,
        kinds=run.kinds,
        start=start,
        end=end,
        curve=points,
        training=metrics,
        seconds=round(time.perf_counter() - started, 1),
    )
