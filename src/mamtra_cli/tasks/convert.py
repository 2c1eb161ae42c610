"""A teacher's folder to a hybrid's: plan, transfer, closed-form calibration, check, write.

Only the language model is rewritten; every other part is copied, or written in our format where
the teacher is a published folder. The output appears whole or not at all. What the student says
against its teacher is measured on the files as written, on sentences the calibration never saw.
"""

import math
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mamtra_cli import __version__, card, device
from mamtra_cli.backbone import costs
from mamtra_cli.backbone.calibrate import MODES, LayerFit
from mamtra_cli.backbone.kinds import ATTENTION, kind_of
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.checkpoint import (
    MODEL,
    PROVENANCE,
    README,
    SUFFIX,
    FolderWriter,
    linkable,
    list_files,
)
from mamtra_cli.config import dump_json, nearest, to_dict
from mamtra_cli.engine import seeds
from mamtra_cli.engine.choosing.plan import choose_plan, needs_scores, settled
from mamtra_cli.engine.lessons.agreement import compare_with, predictions, take_tokens
from mamtra_cli.engine.lessons.examples import hold_out, read_examples
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.fitting import fit, hybrid_of
from mamtra_cli.engine.students.folder import (
    changes_of,
    check_published,
    companions,
    copy_rest,
    stored_tensors,
    stored_type,
)
from mamtra_cli.engine.students.teacher import Teacher
from mamtra_cli.errors import OutputError, PlanError, UsageError
from mamtra_cli.events import Note, Report, Stage, ignore
from mamtra_cli.families.folder import Model
from mamtra_cli.families.lessons import Example
from mamtra_cli.families.registry import locate, open_model
from mamtra_cli.layers.mixer_config import MixerConfig, preset
from mamtra_cli.publish import check_free, check_space
from mamtra_cli.recipes.convert import ConvertRecipe, ConvertResult
from mamtra_cli.recipes.selection import LayerSelection
from mamtra_cli.recipes.shared import FileEntry, StartCheck, stored
from mamtra_cli.tensors import check_storage

INITS = {"transfer": "transfer", "random": "xavier"}
LOCAL = {"teacher", "output", "data", "device", "heat_map"}  # not on the card
FAR = 1 << 20  # tokens after which every window is full


@dataclass(frozen=True, kw_only=True)
class Design:
    """What will be made, decided before any weight is read.

    Attributes:
        teacher: the model converted.
        name, revision: what it is called and its commit on the hub, if it came from there.
        plan: the student's layers.
        mixer: choices of the new ones.
        config: the student's whole config.
        selection: how the plan was measured, if it was.
    """

    teacher: Model
    name: str
    revision: str | None
    plan: LayerPlan
    mixer: MixerConfig
    config: Any
    selection: LayerSelection | None

    @property
    def shown(self) -> str:
        """The teacher's name without the folders of this machine."""
        return self.name if self.revision else Path(self.name).name


def convert(recipe: ConvertRecipe, report: Report = ignore) -> ConvertResult:
    """Convert a model, or show what would be made.

    Args:
        recipe: every knob.
        report: hears of the steps.

    Raises:
        MamtraError: the teacher, the plan or the output does not allow it.
    """
    start = time.perf_counter()
    check_recipe(recipe)
    located = locate(recipe.teacher, configs_only=True, report=report)
    sizes_only = recipe.dry_run and not needs_scores(recipe)
    if located.revision and not sizes_only:
        open_model(located.folder, configs_only=True)  # refuses other versions before the weights
        located = locate(recipe.teacher, report=report)
    read = () if sizes_only else recipe.part
    model = open_model(located.folder, configs_only=sizes_only, files=read)
    recipe = settled(recipe, model.stack, device.choose(recipe.device).torch_device.type, report)
    teacher = Teacher(model, recipe.device)
    design = make_design(recipe, teacher, located.name, located.revision, report)
    if recipe.dry_run:
        return result_of(design, recipe, None, planned_files(design, recipe), start)
    assert recipe.output is not None
    if recipe.output.resolve().is_relative_to(model.folder.resolve()):
        where = "is" if recipe.output.resolve() == model.folder.resolve() else "is inside"
        raise OutputError(f"the output {where} the teacher's own folder", "name another with `-o`")
    check_published(model)
    output = recipe.output
    linked = {name for name, path in companions(model).items() if linkable(path, output)}
    planned = planned_files(design, recipe)
    check_space(output, sum(e.bytes for e in planned if e.name not in linked))
    with FolderWriter(recipe.output, force=recipe.force) as writer:
        check, files = make(design, recipe, teacher, writer, report)
    return result_of(design, recipe, check, files, start)


def check_recipe(recipe: ConvertRecipe) -> None:
    """Refuse what can be refused without looking at the teacher."""
    if not recipe.teacher:
        raise UsageError("no teacher is given", "`mamtra convert mini -o student`")
    if recipe.output is None and not recipe.dry_run:
        raise UsageError("no output folder is given", "add `-o student`, or `--dry-run`")
    for name, value, known in (
        ("--init", recipe.init, tuple(INITS)),
        ("--calibrate", recipe.calibrate, MODES),
    ):
        if value not in known:
            near = nearest(value, known)
            hint = f"did you mean `{near}`?" if near else f"one of: {', '.join(known)}"
            raise UsageError(f"`{name} {value}` is not known", hint)
    if not 0 < recipe.ridge < math.inf:
        raise UsageError(f"`--ridge {recipe.ridge:g}` is not above 0", "the default is 0.03")
    if not recipe.plan and re.fullmatch(r"\d+:\d+", recipe.ratio) is None:
        raise PlanError(
            f"`--ratio {recipe.ratio}` is no ratio",
            "write attention to Mamba layers, 1:3 for example; where attention stays is "
            "`--placement`, and `--plan` takes everything in one",
        )
    check_storage(recipe.dtype)
    if recipe.output is not None and not recipe.dry_run:
        check_free(recipe.output, force=recipe.force, kind=MODEL)


def make_design(
    recipe: ConvertRecipe, teacher: Teacher, name: str, revision: str | None, report: Report
) -> Design:
    """Decide plan and sizes; fails where the plan does not fit the teacher."""
    model = teacher.model
    before = model.stack.plan
    report(Stage(name="reading", detail=f"{name}  {before.n_layers} layers"))
    if before.converted:
        raise PlanError(
            f"teacher `{name}` is a hybrid already: {before.pattern}",
            "convert the model it was made from",
        )
    mixer = preset(recipe.mixer, gate=recipe.gate, state=recipe.state, window=recipe.window)
    plan, selection = choose_plan(recipe, teacher, mixer, INITS[recipe.init], report)
    if not plan.converted and set(plan.kinds) <= {"T", *before.kinds}:
        text = plan.source
        raise PlanError(f"plan `{text}` converts no layer", "`--ratio 1:1` converts every other")
    report(Stage(name="plan", detail=str(plan)))
    warning = plan.warning()
    if warning:
        report(Note(text=warning, warning=True))
    config = model.conversion.with_mixers(model.config, plan.kinds, mixer.to_dict())
    return Design(
        teacher=model,
        name=name,
        revision=revision,
        plan=plan,
        mixer=mixer,
        config=config,
        selection=selection,
    )


def make(
    design: Design, recipe: ConvertRecipe, teacher: Teacher, writer: FolderWriter, report: Report
) -> tuple[StartCheck | None, tuple[FileEntry, ...]]:
    """Make the student, write it, and measure what was written: the check, and every file."""
    model, part = design.teacher, design.teacher.conversion.part
    engine = teacher.engine
    to_fit, to_check = examples(design, recipe, teacher, report)
    kinds = design.plan.kinds
    report(Stage(name="transfer", detail=f"{len(design.plan.converted)} layers"))
    student = hybrid_of(
        engine.lessons, kinds, design.mixer, init=INITS[recipe.init], seed=recipe.seed
    )
    fits: tuple[LayerFit, ...] = ()
    if to_fit:
        tokens = sum(example.frames for example in to_fit)
        report(Stage(name="fitting", detail=f"{recipe.calibrate} on {tokens} speech tokens"))
        fits = fit(engine.lessons, student, to_fit, mode=recipe.calibrate, ridge=recipe.ridge)
    told = list(predictions(engine.lessons, to_check)) if to_check else []
    report(Stage(name="writing", detail=str(recipe.output)))
    writer.write_config(model.family.name, design.config)
    changes = changes_of(model, student.lm)
    # Two models do not fit where one does: the teacher goes before its file is read again, and
    # before its student is.
    del student, engine
    teacher.close()
    writer.write_tensors(f"{part}{SUFFIX}", stored_tensors(model, changes, recipe.dtype))
    del changes
    copy_rest(model, writer)
    check = None
    if to_check:
        report(Stage(name="checking", detail=f"{len(to_check)} held-out sentences"))
        written = Engine.load(str(writer.path), device=recipe.device, dtype="float32")
        check = compare_with(told, written.lessons, to_check)
    return check, describe(design, recipe, writer, check, fits)


def examples(
    design: Design, recipe: ConvertRecipe, teacher: Teacher, report: Report
) -> tuple[list[Example], list[Example]]:
    """Sentences for the fit and others for the check; none where there is no use for them."""
    fitted = recipe.calibrate != "none" and any(kind_of(k).fitted for k in design.plan.kinds)
    fit_tokens = recipe.calibration_tokens if fitted else 0
    if recipe.data is None:
        starts = (recipe.seed, recipe.seed + seeds.CHECK)
        to_fit, to_check = (
            teacher.spoken(tokens, seed=seed, report=report) if tokens else []
            for tokens, seed in zip((fit_tokens, recipe.check_tokens), starts, strict=True)
        )
        return to_fit, take_tokens(to_check, recipe.check_tokens)
    engine = teacher.engine
    given = read_examples(recipe.data, engine.encode, **engine.facts.sizes)
    rest, held = hold_out(given, len(given) // 5 if recipe.check_tokens else 0, seed=recipe.seed)
    return take_tokens(rest, fit_tokens), take_tokens(held, recipe.check_tokens)


def describe(
    design: Design,
    recipe: ConvertRecipe,
    writer: FolderWriter,
    check: StartCheck | None,
    fits: tuple[LayerFit, ...],
) -> tuple[FileEntry, ...]:
    """Write how it was made, and the card; every file with its hash."""
    model, plan = design.teacher, design.plan
    readme = model.folder / README
    license = card.read_license(readme.read_text("utf-8")) if readme.is_file() else card.UNKNOWN
    written = list_files(writer.path)
    provenance = {
        "mamtra": __version__,
        "task": "convert",
        "recipe": stored(recipe),
        "teacher": {
            "name": design.name,
            "revision": design.revision,
            "sha256": model.source.hashes(model.conversion.part),
        },
        "license": license,
        "plan": {**plan.to_dict(), "fingerprint": plan.fingerprint},
        "selection": design.selection,
        "mixer": design.mixer.to_dict(),
        "check": check,
        "calibration": fits,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "sha256": {entry.name: entry.sha256 for entry in written},
    }
    writer.write_text(PROVENANCE, dump_json(to_dict(provenance)))
    tables = {}
    if check is not None:
        tables["Before training, against its teacher"] = {
            "held-out speech tokens": str(check.tokens),
            "cross entropy, teacher": f"{check.ce_teacher:.4f}",
            "cross entropy, this model": f"{check.ce_student:.4f}",
            "KL divergence": f"{check.kl:.4f}",
            "same most likely token": f"{check.agreement:.1%}",
        }
    count = len(plan.converted)
    total = count + len(plan.attention)
    ratio = "ratio-" + plan.ratio.replace(":", "-")
    facts = card.CardFacts(
        name=recipe.output.name if recipe.output else design.name,
        license=license,
        base_model=(design.name,) if design.revision else (),
        tags=("mamtra", "mamba", "hybrid", model.family.name, ratio),
        summary=f"{design.shown} with {count} of its {total} attention layers replaced by "
        f"{recipe.mixer} layers.",
        plan=str(plan),
        tables=tables,
        recipe={key: value for key, value in stored(recipe).items() if key not in LOCAL},
    )
    writer.write_text(README, card.model_card(facts))
    return list_files(writer.path, written)


def planned_files(design: Design, recipe: ConvertRecipe) -> tuple[FileEntry, ...]:
    """Files a dry run would write; sizes of the weights from their shapes."""
    model, part = design.teacher, design.teacher.conversion.part
    width = {"keep": 4, "float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}[recipe.dtype]
    if recipe.dtype == "keep" and part in model.source.parts and not model.published:
        width = stored_type(model.source.kinds(part)).itemsize
    sizes = {f"{part}{SUFFIX}": parameters(model, design.config, part) * width}
    if model.published:
        others = [name for name in model.family.part_names(model.config) if name != part]
        sizes |= {f"{name}{SUFFIX}": 4 * parameters(model, model.config, name) for name in others}
    sizes |= {name: path.stat().st_size for name, path in companions(model).items()}
    return tuple(FileEntry(name=name, bytes=size) for name, size in sorted(sizes.items()))


def parameters(model: Model, config: Any, part: str) -> int:
    """Parameters of a part, counted without making it."""
    with torch.device("meta"):
        module = model.family.build_part(config, part)
    return sum(value.numel() for value in module.parameters())


def result_of(
    design: Design,
    recipe: ConvertRecipe,
    check: StartCheck | None,
    files: tuple[FileEntry, ...],
    start: float,
) -> ConvertResult:
    """What was made, in numbers."""
    model, part = design.teacher, design.teacher.conversion.part
    before, after = model.stack, model.family.facts(design.config).stack
    assert after is not None
    stateful = [kind for kind in set(design.plan.kinds) if costs.keeps_state(after, kind)]
    alone = len(stateful) == 1 and set(design.plan.kinds) <= {ATTENTION, *stateful}
    per_token = costs.kv_bytes_per_token(after, 2)
    return ConvertResult(
        output=recipe.output,
        teacher=f"{design.name}@{design.revision}" if design.revision else design.name,
        dry_run=recipe.dry_run,
        plan=str(design.plan),
        kinds=design.plan.kinds,
        mixer=recipe.mixer,
        parameters_before=parameters(model, model.config, part),
        parameters_after=parameters(model, design.config, part),
        cache_before=costs.kv_bytes_per_token(before, 2),
        cache_after=per_token,
        state_bytes=costs.cache_bytes(after, FAR) - per_token * FAR,
        break_even=costs.break_even(after, kind=stateful[0]).memory if alone else None,
        check=check,
        selection=design.selection,
        files=files,
        seconds=time.perf_counter() - start,
    )
