"""A recipe's plan: read where it is written out, measured on the teacher where it says `auto`.

Brings together what measuring needs: the engine, speech to fit and to compare on, the cache, and
ears where plans are judged by speech. Speech is the teacher's own unless a file is given; plans
are compared on sentences that neither the fit nor the final check uses.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mamtra_cli import __version__
from mamtra_cli.backbone.auto import ALIGNED, AutoRequest, is_auto, read_auto
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.costs import decode_flops
from mamtra_cli.backbone.kinds import letter_of
from mamtra_cli.backbone.placement import attention_count
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.checkpoint import sha256
from mamtra_cli.config import reason
from mamtra_cli.engine import seeds
from mamtra_cli.engine.choosing import cache as selection_cache
from mamtra_cli.engine.choosing.bench import ALIGN_POSITIONS, Bench, align_pool, make_pool
from mamtra_cli.engine.choosing.hearing import ears, word_errors
from mamtra_cli.engine.choosing.heat_map import draw_selection
from mamtra_cli.engine.choosing.search import Hear, select
from mamtra_cli.engine.lessons.agreement import take_tokens
from mamtra_cli.engine.lessons.examples import hold_out, read_examples
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.pictures import check_picture
from mamtra_cli.engine.students.teacher import Teacher
from mamtra_cli.errors import DataError, PlanError, UsageError
from mamtra_cli.events import Note, Report, Stage, ignore
from mamtra_cli.families.lessons import Example
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.recipes.convert import AUTO, ConvertRecipe
from mamtra_cli.recipes.selection import LayerSelection

RULE, METHOD = "block-begin", "swap-train"
MEASURED = f"auto:{METHOD}"
CHEAP = {"cpu": 6e12, "cuda": 1e15}  # FLOPs of a choice that takes a minute or two
ALIGNING = 4  # passes that a step of alignment costs: the teacher's, the mixers', two of gradients


def settled(
    recipe: ConvertRecipe, stack: HybridConfig, device: str, report: Report = ignore
) -> ConvertRecipe:
    """Decide what `--placement auto` means: the measured choice where that is cheap.

    Measured layers lose less than those of a rule (docs/placement.md), and a teacher that speaks
    for the fit anyway needs little more to choose them. They are measured after a short alignment:
    what is nearest as fitted need not be nearest once it has learned. A dry run reads no weights
    for it: all plans of a ratio have the same sizes.

    Args:
        recipe: every knob.
        stack: the teacher's.
        device: kind of device that the teacher runs on.
        report: hears of a choice that is not measured, and why.
    """
    if recipe.placement != AUTO:
        return recipe
    if recipe.heat_map is not None and not recipe.plan:
        return dataclasses.replace(recipe, placement=MEASURED)
    if recipe.plan or stack.plan.converted:  # written out, or refused later
        return dataclasses.replace(recipe, placement=RULE)
    told = unmeasured(recipe, stack, device)
    if told:
        report(Note(text=f"layers by rule, {RULE}: {told}"))
    return dataclasses.replace(recipe, placement=RULE if told else MEASURED)


def unmeasured(recipe: ConvertRecipe, stack: HybridConfig, device: str) -> str:
    """Why layers are not measured; empty: they are."""
    if recipe.dry_run:
        return f"a dry run measures only where `--placement {MEASURED}` says so"
    depth = stack.n_layers
    if len(stack.plan.attention) < depth:
        return "plans are measured where all layers are attention"
    if recipe.calibrate == "none":
        return "without `--calibrate` the teacher does not speak"
    attention, mamba = (int(part) for part in recipe.ratio.split(":"))
    if not attention or not mamba:
        return "there is nothing to choose"
    kept = attention_count(attention, mamba, depth, rounded=recipe.round)
    request = AutoRequest(method=METHOD, kept=kept)
    passes = depth + request.exchange * kept * (depth - kept)
    positions = passes * request.tokens + ALIGNING * request.steps * ALIGN_POSITIONS
    if positions * decode_flops(stack, 1) <= CHEAP.get(device, CHEAP["cpu"]):
        return ""
    return (
        f"measuring is {request.steps} steps of alignment and {passes} passes over "
        f"{request.tokens} tokens of speech, which takes long on this device; "
        f"`--placement {MEASURED}` does it"
    )


def plan_text(recipe: ConvertRecipe) -> str:
    """The plan expression of a recipe, from its plan or from ratio and placement."""
    if not recipe.plan:
        return f"{recipe.ratio}@{recipe.placement}"
    if is_auto(recipe.placement) and recipe.placement != AUTO:
        hint = "leave one of them out"
        if not is_auto(recipe.plan):
            hint += f", or search from that plan: `--plan {recipe.placement},from={recipe.plan}`"
        raise PlanError(
            f"`--placement {recipe.placement}` has nothing to choose in `--plan {recipe.plan}`",
            hint,
        )
    return recipe.plan


def needs_scores(recipe: ConvertRecipe) -> bool:
    """Whether the plan is measured for certain, so that even a dry run reads the weights."""
    undecided = recipe.placement == AUTO and not recipe.plan
    measured = recipe.heat_map is not None if undecided else is_auto(plan_text(recipe))
    if recipe.heat_map is not None:
        if not measured:
            raise UsageError(
                "`--heat-map` draws layer scores, and this plan has none",
                f"add `--placement {MEASURED}`",
            )
        check_picture(recipe.heat_map, force=recipe.force or recipe.dry_run)
    return measured


def choose_plan(
    recipe: ConvertRecipe, teacher: Teacher, mixer: MixerConfig, init: str, report: Report = ignore
) -> tuple[LayerPlan, LayerSelection | None]:
    """Decide the layers of a conversion.

    Args:
        recipe: every knob.
        teacher: its weights are read only where layers are measured.
        mixer: choices of the new layers.
        init: start of the new layers, as in `backbone.transfer`.
        report: hears of stages.

    Returns:
        The plan as an explicit set of layers, and how it was chosen, if it was. Where a model has
        other layers beside attention, a plan counts those of attention alone.

    Raises:
        PlanError: no such plan, or layers cannot be measured because not all are attention.
    """
    layers = teacher.model.stack.plan
    text, depth = plan_text(recipe), len(layers.attention)
    letter = letter_of(mixer.mixer)
    if not needs_scores(recipe):
        plan = LayerPlan.parse(text, depth, rounded=recipe.round)
        # M stands for "converted" where another mixer is asked for.
        kinds = plan.kinds.replace("M", letter)
        return dataclasses.replace(plan, kinds=kinds).within(layers.kinds), None
    if depth < layers.n_layers:
        raise PlanError(
            f"only {depth} of the {layers.n_layers} layers are attention, and plans are measured "
            "where all are",
            "write the plan out, `--ratio 1:1` for example: it counts attention layers",
        )
    request = read_auto(
        text, depth, rounded=recipe.round, letters="M" if letter == "M" else f"M{letter}"
    )
    request, start = started(request, depth)
    selection = measured(recipe, teacher, mixer, init, request, start, report)
    kinds = "".join("T" if i in selection.kept else letter for i in range(depth))
    if recipe.heat_map is not None:
        draw_selection(recipe.heat_map, selection, force=recipe.force)
        report(Note(text=f"layer scores are drawn in {recipe.heat_map}"))
    return LayerPlan(kinds=kinds, source=request.source), selection


def started(request: AutoRequest, depth: int) -> tuple[AutoRequest, tuple[int, ...] | None]:
    """Resolve `from=` to the layers that the search begins with."""
    if not request.start:
        return request, None
    plan = LayerPlan.parse(request.start, depth)
    count = len(plan.attention)
    if request.kept not in (0, count):
        raise PlanError(
            f"`{request.start}` keeps {count} layers, and {request.kept} are asked for",
            "leave out the ratio or `k=`",
        )
    if not 1 <= count < depth:
        raise PlanError(
            f"`{request.start}` keeps {count} of {depth} layers: there is nothing to choose",
            f"keep 1 to {depth - 1}",
        )
    return dataclasses.replace(request, kept=count), plan.attention


def measured(
    recipe: ConvertRecipe,
    teacher: Teacher,
    mixer: MixerConfig,
    init: str,
    request: AutoRequest,
    start: Sequence[int] | None,
    report: Report = ignore,
) -> LayerSelection:
    """Score layers and choose, or read what an earlier run chose for the same question."""
    engine, lessons = teacher.engine, teacher.engine.lessons
    key = selection_cache.key_of(
        {
            "mamtra": __version__,
            "teacher": selection_cache.weights_hash(lessons.lm),
            "request": request,
            "start": start,
            "mixer": mixer.to_dict(),
            "init": init,
            "calibrate": recipe.calibrate,
            "ridge": recipe.ridge,
            "calibration_tokens": recipe.calibration_tokens,
            "data": data_hash(recipe.data),
            "seed": recipe.seed,
        }
    )
    found = selection_cache.load(key, report)
    if found is not None:
        report(Stage(name="scoring", detail=f"as measured before, {request.source}"))
        return found
    hear: Hear | None = None
    if request.method == "wer":
        ears()  # a missing package should be told of before anything is measured
        engine.ready(*engine.speech_parts)
    to_fit, to_score = speech(recipe, teacher, request.tokens, report)
    letter = letter_of(mixer.mixer)
    layers = lessons.stack.config.n_layers
    report(Stage(name="fitting", detail=f"all {layers} layers, {recipe.calibrate}"))
    pool = make_pool(
        lessons,
        mixer,
        to_fit,
        letter=letter,
        init=init,
        calibrate=recipe.calibrate,
        ridge=recipe.ridge,
        seed=recipe.seed,
    )
    if request.method in ALIGNED and request.steps:
        align_pool(lessons, pool, to_fit, steps=request.steps, seed=recipe.seed, report=report)
    bench = Bench(lessons, pool, to_score, bistream=request.bistream)
    if request.method == "wer":

        def hear(kinds: str) -> float:
            made = bench.assemble(kinds)
            count = request.sentences
            return word_errors(engine, made, sentences=count, seed=recipe.seed, report=report)

    selection = select(bench, request, start=start, hear=hear, report=report)
    selection_cache.save(key, selection, report)
    return selection


def data_hash(path: Path | None) -> str | None:
    """SHA-256 of the user's file; what a teacher says itself follows from weights and seed."""
    if path is None:
        return None
    try:
        return sha256(path)
    except OSError as error:
        raise DataError(f"cannot read `{path}`: {reason(error)}") from error


def speech(
    recipe: ConvertRecipe, teacher: Teacher, tokens: int, report: Report
) -> tuple[list[Example], list[Example]]:
    """Utterances for the fit and others to compare plans on."""
    if recipe.data is None:
        to_fit = teacher.spoken(recipe.calibration_tokens, seed=recipe.seed, report=report)
        made = teacher.spoken(tokens, seed=recipe.seed + seeds.SCORE, report=report)
        return to_fit, take_tokens(made, tokens)
    rest = given(recipe, recipe.data, teacher.engine)
    fitted, scored = hold_out(rest, len(rest) // 5, seed=recipe.seed + 1)
    if not scored:
        raise DataError(
            f"`{recipe.data}` holds too few utterances to score layers on",
            "give at least 10, or leave `--data` out and let the teacher speak",
        )
    return take_tokens(fitted, recipe.calibration_tokens), take_tokens(scored, tokens)


def given(recipe: ConvertRecipe, path: Path, engine: Engine) -> list[Example]:
    """The user's utterances but for those that the final check keeps."""
    found = read_examples(path, engine.encode, **engine.facts.sizes)
    return hold_out(found, len(found) // 5 if recipe.check_tokens else 0, seed=recipe.seed)[0]
