"""Train a converted model to predict what its teacher predicts.

One process, three losses (the tokens themselves, the teacher's distribution, its hidden states
after each new layer) on the same teacher-forced speech. A run keeps its state beside the output,
in `<output>.run`, until it is done; the result is a model folder like any other.
"""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamtra_cli import __version__
from mamtra_cli.card import CardFacts, model_card, read_license
from mamtra_cli.checkpoint import (
    CONFIG,
    PROVENANCE,
    FolderWriter,
    ModelFolder,
    check_free,
    output_errors,
    read_json,
)
from mamtra_cli.config import dump_json, from_dict, to_dict
from mamtra_cli.engine.agreement import compare, take_tokens
from mamtra_cli.engine.data import (
    BatchSource,
    Example,
    hold_out,
    read_examples,
    write_examples,
)
from mamtra_cli.engine.distillation import (
    AlignLoss,
    DistillLoss,
    Pair,
    open_pair,
    share_frozen,
)
from mamtra_cli.engine.losses import Divergence, LossWeights
from mamtra_cli.engine.pairs import make_tokens
from mamtra_cli.engine.optimization import TrainOptions
from mamtra_cli.engine.savepoint import has_state
from mamtra_cli.engine.stopping import interruptible
from mamtra_cli.engine.trainer import METRICS_FILE, LossFunction, Trainer
from mamtra_cli.errors import DataError, OutputError, PlanError, UsageError
from mamtra_cli.events import Note, Report, Stage, ignore
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.recipes import DistillRecipe, DistillResult, StartCheck
from mamtra_cli.tensors import SCALE, encode

RUN = "run.json"
PAIRS = "pairs.jsonl"
ALIGN = "align"
SHORT = 5  # the warm-up takes at most this part of a run
README = "README.md"
POSITIONS = 8192  # padded positions of one forward pass; a step takes as many passes as it needs
NEW = ".mixer."
REDUCED = {torch.int8: "float16", torch.float16: "float16", torch.bfloat16: "bfloat16"}
REMADE = (CONFIG, PROVENANCE, README, METRICS_FILE)


def distill(recipe: DistillRecipe, report: Report = ignore) -> DistillResult:
    """Train a student, or say what training it would mean.

    Args:
        recipe: every knob; with `resume`, that of the run it names is used.
        report: hears of progress and numbers.

    Raises:
        TrainingError: the loss is not finite, or a saved run does not fit.
        KeyboardInterrupt: Ctrl-C, after the run was saved.
    """
    with interruptible():
        return run_stages(recipe, report)


def run_stages(recipe: DistillRecipe, report: Report) -> DistillResult:
    """Open both models, train, write."""
    recipe, before = resumed(recipe)
    pair = open_pair(recipe.student, recipe.teacher, recipe.device, report)
    student = pair.student.lm
    trainable = choose_trainable(student, recipe)
    share_frozen(pair)
    frozen = sum(p.numel() for p in student.parameters()) - trainable
    if recipe.dry_run:
        tell_memory(pair, trainable, report)
        return _result(recipe, pair, trainable=trainable, frozen=frozen)
    output = recipe.output
    if output is None:
        raise UsageError("no output folder is given", "name one, `-o student-tuned`")
    check_free(output, force=recipe.force)
    run = begin(recipe, output)
    training, held = examples_for(recipe, pair, run, report)
    if before is None and held:
        before = compare(pair.teacher.lm, student, held)
    _write_json(run / RUN, {"recipe": to_dict(recipe), "before": to_dict(before)})
    student.train()
    loss = DistillLoss(
        pair.teacher.lm,
        student,
        weights=LossWeights(
            ce=recipe.ce_weight, divergence=recipe.kl_weight, hidden=recipe.hidden_weight
        ),
        divergence=Divergence(alpha=recipe.skew, temperature=recipe.temperature),
    )
    trainer = make_trainer(recipe, pair, training, run, report, loss)
    if recipe.resume is not None and has_state(run):
        trainer.resume()
        report(Note(text=f"going on at step {trainer.step} of {recipe.steps}"))
    elif recipe.align_steps:
        align(recipe, pair, training, run, report)
    done = trainer.run()
    student.eval()
    after = compare(pair.teacher.lm, student, held) if held else None
    result = replace(
        _result(recipe, pair, trainable=trainable, frozen=frozen),
        steps=done.steps,
        tokens=done.tokens,
        loss=done.loss,
        before=before,
        after=after,
        seconds=done.seconds,
    )
    write_student(recipe, pair, result, run, report)
    shutil.rmtree(run, ignore_errors=True)
    return result


def resumed(recipe: DistillRecipe) -> tuple[DistillRecipe, StartCheck | None]:
    """The recipe to follow: of the run to go on with, or as given; and that run's first check."""
    if recipe.resume is None:
        return recipe, None
    path = recipe.resume / RUN
    if not path.is_file():
        raise UsageError(
            f"`{recipe.resume}` holds no run to resume", "name the folder that ends in `.run`"
        )
    saved = read_json(path)
    kept = from_dict(DistillRecipe, saved.get("recipe", {}), str(path))
    before = saved.get("before")
    check = from_dict(StartCheck, before, str(path)) if before else None
    return replace(kept, resume=recipe.resume, device=recipe.device, force=recipe.force), check


def choose_trainable(student: SpeechLM, recipe: DistillRecipe) -> int:
    """Let the new layers learn, and the rest where it has a rate; return the trainable count."""
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(NEW in name or recipe.lr_rest > 0)
    count = sum(p.numel() for p in student.parameters() if p.requires_grad)
    if not count:
        raise PlanError(
            "the student has no new layers to train",
            "convert it first, or train everything with `--lr-rest 1e-5`",
        )
    return count


def begin(recipe: DistillRecipe, output: Path) -> Path:
    """Make the run folder, or take the one to go on with."""
    if recipe.resume is not None:
        return recipe.resume
    run = output.with_name(f"{output.name}.run")
    if (run / RUN).exists() and not recipe.force:
        raise OutputError(
            f"`{run}` holds an unfinished run", f"go on with `--resume {run}`, or add `--force`"
        )
    with output_errors(run):
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
    return run


def examples_for(
    recipe: DistillRecipe, pair: Pair, run: Path, report: Report
) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples, from the file given or made by the teacher."""
    lm = pair.student.config.lm
    sizes = {"speech_vocab": lm.speech_vocab, "text_vocab": lm.vocab_size}
    if recipe.data is not None:
        examples = read_examples(recipe.data, pair.student.encode, **sizes)
    elif (run / PAIRS).is_file():
        examples = read_examples(run / PAIRS, pair.student.encode, **sizes)
    else:
        wanted = min(recipe.synthetic, recipe.steps * recipe.batch_tokens) + recipe.check_tokens
        examples = make_tokens(pair.teacher, wanted, seed=recipe.seed, report=report)
        partial = run / f".{PAIRS}"
        write_examples(partial, examples)
        partial.replace(run / PAIRS)
    if not recipe.check_tokens:
        return examples, []
    mean = sum(len(example.tokens) for example in examples) / len(examples)
    # One more than the mean asks for: `take_tokens` gives back what is too much.
    wanted = math.ceil(recipe.check_tokens / mean) + 1
    training, held = hold_out(examples, wanted, seed=recipe.seed)
    if not held:
        raise DataError(
            f"{len(examples)} examples are too few to hold some out",
            "give five or more, or `--check-tokens 0`",
        )
    return training, take_tokens(held, recipe.check_tokens)


def align(
    recipe: DistillRecipe, pair: Pair, examples: list[Example], run: Path, report: Report
) -> None:
    """Fit the new layers one by one, on what the teacher gives each, before training together."""
    folder = run / ALIGN
    folder.mkdir(exist_ok=True)
    first = replace(recipe, steps=recipe.align_steps)
    loss = AlignLoss(pair.teacher.lm, pair.student.lm)
    trainer = make_trainer(first, pair, examples, folder, report, loss)
    if has_state(folder):
        trainer.resume()
    report(Note(text=f"aligning each new layer alone, from step {trainer.step} of {first.steps}"))
    trainer.run()


def make_trainer(
    recipe: DistillRecipe,
    pair: Pair,
    examples: list[Example],
    run: Path,
    report: Report,
    loss: LossFunction,
) -> Trainer:
    """A trainer whose steps take `batch_tokens` speech tokens, in passes of bounded size."""
    tokens = sum(len(example.tokens) for example in examples)
    positions = sum(example.positions for example in examples)
    wanted = round(recipe.batch_tokens * positions / tokens)
    passes = max(1, -(-wanted // POSITIONS))
    budget = max(wanted // passes, max(example.positions for example in examples))
    options = TrainOptions(
        steps=recipe.steps,
        lr=recipe.lr,
        lr_rest=recipe.lr_rest,
        warmup=min(recipe.warmup, recipe.steps // SHORT),  # a short run is not all warm-up
        weight_decay=recipe.weight_decay,
        clip=recipe.clip,
        accumulate=passes,
        autocast=pair.student.device.type == "cuda",
        log_every=recipe.log_every,
        save_every=recipe.save_every,
    )
    settled = replace(recipe, resume=None, device="", force=False)
    return Trainer(
        pair.student.lm,
        loss,
        BatchSource(examples, budget=budget, seed=recipe.seed),
        options,
        folder=run,
        fingerprint=json.dumps(to_dict(settled), sort_keys=True),
        is_new=lambda name: NEW in name,
        report=report,
    )


def tell_memory(pair: Pair, trainable: int, report: Report) -> None:
    """Say what training will need: weights of both, gradients and AdamW's two moments."""
    held = {
        parameter.data_ptr(): parameter.numel()
        for engine in (pair.teacher, pair.student)
        for parameter in engine.lm.parameters()
    }
    total = 4 * sum(held.values()) + 12 * trainable
    text = f"weights, gradients and optimizer need {total / 1e6:.0f} MB, activations come on top"
    report(Note(text=text))


def write_student(
    recipe: DistillRecipe, pair: Pair, result: DistillResult, run: Path, report: Report
) -> None:
    """Write the student's folder with its trained tensors; everything else is copied."""
    model = pair.student.model
    assert recipe.output is not None
    assert model is not None
    report(Stage(name="writing", detail=str(recipe.output)))
    source = model.source
    assert isinstance(source, ModelFolder)
    part = f"{model.family.lm_part}.safetensors"
    card = source.path / README
    license = read_license(card.read_text(encoding="utf-8")) if card.is_file() else "unknown"
    with FolderWriter(recipe.output, force=recipe.force) as writer:
        writer.write_config(source.family, source.config)
        for file in sorted(source.path.rglob("*")):
            name = file.relative_to(source.path)
            if file.is_file() and str(name) not in (*REMADE, part) and not _hidden(name):
                writer.copy(file, str(name))
        writer.write_tensors(part, trained(source, model.family.lm_part, pair.student.lm))
        inherited = ("teacher", "license", "plan", "mixer")
        provenance = {
            "mamtra": __version__,
            "task": "distill",
            "recipe": replace(recipe, teacher=pair.teacher.name, resume=None),
            **{key: source.provenance[key] for key in inherited if key in source.provenance},
            "before": result.before,
            "after": result.after,
            "made_from": source.provenance,
        }
        writer.write_text(PROVENANCE, dump_json(to_dict(provenance)))
        facts = CardFacts(
            name=recipe.output.name,
            license=license,
            tags=("text-to-speech", "mamba", "hybrid"),
            base_model=(pair.teacher.name,) if "/" in pair.teacher.name else (),
            summary=f"A hybrid of {pair.teacher.name}, distilled for {result.steps} steps.",
            plan=str(pair.student.config.lm.hybrid.plan),
            tables={"Against the teacher": measures(result)},
            recipe=to_dict(recipe),
        )
        writer.write_text(README, model_card(facts))
        writer.copy(run / METRICS_FILE, METRICS_FILE)


def trained(source: ModelFolder, part: str, student: SpeechLM) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a part as stored, but for those that were trained."""
    new = {name: p for name, p in student.named_parameters() if p.requires_grad}
    file = source.part(part)
    for name, value in file.stored():
        if name not in new and name.removesuffix(SCALE) not in new:
            yield name, value
    for name, parameter in new.items():
        yield from encode(name, parameter, REDUCED.get(file.infos[name].dtype, "float32"))


def measures(result: DistillResult) -> dict[str, str]:
    """The check before and after as rows of a card."""
    rows = {}
    for when, check in (("before", result.before), ("after", result.after)):
        if check is not None:
            rows[when] = (
                f"CE {check.ce_student:.3f} (teacher {check.ce_teacher:.3f}), KL {check.kl:.3f}, "
                f"{check.agreement:.1%} of {check.tokens} tokens agree"
            )
    return rows


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _write_json(path: Path, data: Any) -> None:
    """Replace a small JSON file whole."""
    partial = path.with_name(f".{path.name}")
    with output_errors(path):
        partial.write_text(dump_json(data), encoding="utf-8")
        partial.replace(path)


def _result(recipe: DistillRecipe, pair: Pair, *, trainable: int, frozen: int) -> DistillResult:
    return DistillResult(
        output=recipe.output,
        student=recipe.student,
        teacher=pair.teacher.name,
        dry_run=recipe.dry_run,
        steps=recipe.steps,
        tokens=recipe.steps * recipe.batch_tokens,
        trainable=trainable,
        frozen=frozen,
        loss=None,
        before=None,
        after=None,
        seconds=0.0,
    )
