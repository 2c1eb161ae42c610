"""Measured and estimated speed, memory and size, stage by stage, in one harness.

Measured rows come from running the models here; estimated rows from formulas over their sizes
alone. The two are never merged, and no single saving is quoted: what a hybrid saves depends on
length and batch, so the break-even lengths stand beside it.
"""

import re
from dataclasses import replace
from typing import Any

from mamtra_cli.backbone import costs
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.engine.measuring import memory
from mamtra_cli.engine.measuring import speed as bench
from mamtra_cli.engine.measuring.estimates import estimates
from mamtra_cli.engine.measuring.meter import environment, metered, peak_bytes
from mamtra_cli.engine.measuring.planner import LIBRARIES, Budget
from mamtra_cli.engine.measuring.plots import draw_plan
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.engine.measuring.verdicts import Answer, Plan, answer, answered, compared
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.pictures import check_picture
from mamtra_cli.engine.students.fitting import hybrid_of
from mamtra_cli.errors import LimitMissedError, UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.families.base import Facts
from mamtra_cli.families.measures import Request
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.recipes.profile import (
    AUTO,
    SOLVABLE,
    ProfileRecipe,
    ProfileResult,
    ProfileRow,
    SavingRow,
)

BUILT_IN = "mini"
RATIO = "1:1"
RATIOS = ("1:0", "1:1", "1:3", "1:11")
SEQ = 1024  # positions where nothing is said


def profile(recipe: ProfileRecipe, report: Report = ignore) -> ProfileResult:
    """Measure models here, and estimate them and the published one from formulas.

    Without a model, `mini` is measured beside a hybrid of it, converted in memory; a plan is then
    of the published model.
    """
    check(recipe)
    engines = open_engines(recipe, report)
    first = engines[0]
    planning = bool(recipe.budget or recipe.plot)
    only_memory = recipe.savings or recipe.imitate_official
    abstract = first.device.type == "cpu" and is_card(first, recipe)
    measuring = not (recipe.estimate or only_memory or (planning and not recipe.model))
    rows: list[ProfileRow] = []
    for engine in engines:
        if recipe.imitate_official:
            rows += memory_rows(engine, recipe, report)
        if measuring:
            rows += measured(engine, recipe, report)
        if not only_memory and (recipe.model or not planning):
            rows += estimated(engine.name, engine.facts, recipe, precision_of(engine, recipe))
    if not recipe.model and not only_memory and not planning:
        name, configs = published(first)
        for ratio, config in configs.items():
            sizes = first.family.facts(config)
            rows += estimated(f"{name} {ratio}", sizes, recipe, costs.Precision())
    facts = environment(first.device)
    facts["reason"] = first.compute.reason
    facts["attention_cache"] = "preallocated"
    facts["warmup"] = recipe.warmup
    result = ProfileResult(
        seq=recipe.seq or SEQ,
        batch=recipe.batch,
        device="a GPU, planned" if abstract else str(first.device),
        dtype="bfloat16" if abstract and recipe.dtype == "auto" else first.compute.dtype,
        rows=tuple(rows),
        savings=saving_rows(engines, recipe) if recipe.savings else (),
        observed=dict(memory.measures_of(first).observed) if recipe.savings else {},
        speech=recipe.seconds if only_memory or planning else None,
        prompt=recipe.prompt_seconds if only_memory or planning else None,
        environment=facts,
    )
    if planning or recipe.compare:
        result = with_plans(result, engines, recipe, measuring, report)
    return result


def check(recipe: ProfileRecipe) -> None:
    """Refuse sizes and wishes that cannot be."""
    if (recipe.seq or SEQ) < 32 or recipe.batch < 1 or recipe.runs < 1:
        raise UsageError("`--seq` is 32 or more, `--batch` and `--runs` 1 or more")
    if recipe.imitate_official and recipe.estimate:
        raise UsageError(
            "`--imitate-official` measures, and `--estimate` measures nothing",
            "leave out one; `--savings` tells both pipelines by formulas",
        )
    if recipe.seconds <= 0 or recipe.prompt_seconds < 0:
        raise UsageError("`--seconds` is above 0, `--prompt-seconds` 0 or more")
    if recipe.plot is not None:
        check_picture(recipe.plot, force=recipe.force)
    given = [f"--{name}" for name in ("reserve", "streams", "solve") if getattr(recipe, name)]
    if given and not recipe.budget and given != ["--streams"]:
        raise UsageError(f"`{given[0]}` asks about a budget", "add `--budget 24GB`")
    if recipe.solve and recipe.solve not in SOLVABLE:
        raise UsageError(f"`--solve {recipe.solve}` is unknown", f"one of: {', '.join(SOLVABLE)}")
    if recipe.streams == AUTO and not recipe.budget:
        raise UsageError("`--streams auto` asks about a budget", "add `--budget 24GB`")
    if recipe.streams != AUTO and not re.fullmatch(r"[1-9]\d{0,8}", recipe.streams or "1"):
        raise UsageError(
            f"`--streams {recipe.streams}` is no number of utterances", "write 16, or auto"
        )


def open_engines(recipe: ProfileRecipe, report: Report) -> list[Engine]:
    """The models to measure, in order."""
    names = [recipe.model, *([recipe.compare] if recipe.compare else [])]
    engines = [
        Engine.load(
            name or BUILT_IN,
            # Nothing runs by formulas: they may be those of a device that is not here.
            device="cpu" if recipe.estimate else recipe.device,
            dtype=recipe.dtype,
            threads=recipe.threads,
            # A text table that stays in its file has no weights to convert.
            lean=(recipe.imitate_official or bool(recipe.budget)) and bool(names[0]),
            report=report,
        )
        for name in names
    ]
    by_formulas = recipe.savings or recipe.budget or recipe.plot
    if not recipe.model and not recipe.compare and not by_formulas:
        engines.append(converted(engines[0], RATIO))
    return engines


def converted(teacher: Engine, ratio: str, mixer: MixerConfig | None = None) -> Engine:
    """A hybrid of a model, converted in memory and not calibrated: its speed, not its speech."""
    mixer = mixer or MixerConfig()
    lessons = teacher.lessons
    kinds = LayerPlan.parse(ratio, lessons.stack.config.n_layers).kinds
    return teacher.with_lessons(hybrid_of(lessons, kinds, mixer), f"{teacher.name} {ratio}")


def measured(engine: Engine, recipe: ProfileRecipe, report: Report) -> list[ProfileRow]:
    """Run a model's stages one after the other."""

    def row(stage: str, values: bench.Numbers) -> ProfileRow:
        return ProfileRow(model=engine.name, stage=stage, measured=True, values=values)

    repeat = {"runs": recipe.runs, "warmup": recipe.warmup}
    report(Stage(name="measuring", detail=f"{engine.name}, language model"))
    with metered(engine.device) as memory:
        engine.ready(*engine.speech_parts)
    loaded = bench.weights(engine)
    if memory.peak is not None:
        # The resident set itself may shrink meanwhile: the system takes pages back.
        loaded["loading_peak_bytes"] = float(memory.peak)
    rows = [row("weights", loaded)]
    if engine.lm_part:
        stages = bench.language_model(engine, recipe.seq or SEQ, batch=recipe.batch, **repeat)
        rows += [row(stage, values) for stage, values in stages.items()]
    report(Stage(name="measuring", detail=f"{engine.name}, tokens to sound"))
    stages = bench.frames_to_sound(engine, **repeat)
    rows += [row(stage, values) for stage, values in stages.items()]
    report(Stage(name="measuring", detail=f"{engine.name}, text to sound"))
    rows.append(row("speech", bench.speech(engine)))
    peak = peak_bytes()
    if peak is not None:
        rows.append(row("process", {"peak_bytes": float(peak)}))
    return rows


def estimated(
    name: str, sizes: Facts, recipe: ProfileRecipe, precision: costs.Precision
) -> list[ProfileRow]:
    """What the formulas say of a language model at this length and batch."""
    seq, bandwidth = recipe.seq or SEQ, 1e9 * recipe.bandwidth
    stages = estimates(sizes, seq, recipe.batch, precision, bandwidth)
    return [
        ProfileRow(model=name, stage=stage, measured=False, values=values)
        for stage, values in stages.items()
    ]


def memory_rows(engine: Engine, recipe: ProfileRecipe, report: Report) -> list[ProfileRow]:
    """Peak live bytes of the whole pipeline, the official one imitated and ours."""
    request = request_of(recipe, engine)
    report(Stage(name="measuring", detail=f"{engine.name}, as the official pipeline"))
    engine.ready(*engine.speech_parts)
    official = memory.official_memory(engine, request)
    report(Stage(name="measuring", detail=f"{engine.name}, memory"))
    own = memory.own_memory(engine, request)
    own["share_of_official"] = own["peak_bytes"] / official["peak_bytes"]
    return [
        ProfileRow(model=engine.name, stage=stage, measured=True, values=values)
        for stage, values in (("official_memory", official), ("memory", own))
    ]


def saving_rows(engines: list[Engine], recipe: ProfileRecipe) -> tuple[SavingRow, ...]:
    """The steps from the official pipeline to ours, of the models here or of the published one."""
    first = engines[0]
    models = {engine.name: (engine, [engine.config]) for engine in engines}
    if not recipe.model:
        name, configs = published(first)
        models = {name: (first, list(configs.values()))}
    rows = []
    for name, (engine, sizes) in models.items():
        measures, request = memory.measures_of(engine), request_of(recipe, engine)
        conversion = engine.family.conversion(engine.config)
        assert conversion is not None
        teacher = conversion.with_mixers(sizes[0], "", {})
        steps = measures.savings(teacher, request)
        for config in sizes:
            stack = engine.family.facts(config).stack
            if stack is not None and stack.plan.converted:
                steps = (*steps, measures.savings(teacher, request, config)[-1])
        rows += [
            SavingRow(model=name, name=step.name, own=step.own, peak=step.peak, hybrid=step.hybrid)
            for step in steps
        ]
    return tuple(rows)


def request_of(recipe: ProfileRecipe, engine: Engine) -> Request:
    """What is spoken where memory is told."""
    rate = engine.facts.frame_rate
    return Request.of_seconds(recipe.seconds, recipe.prompt_seconds, rate=rate)


def published(engine: Engine) -> tuple[str, dict[str, Any]]:
    """The published model of an engine's family, and its sizes with layers exchanged, by ratio."""
    measures, conversion = memory.measures_of(engine), engine.family.conversion(engine.config)
    assert conversion is not None
    stack = engine.family.facts(measures.config).stack
    assert stack is not None
    kinds = {ratio: LayerPlan.parse(ratio, stack.n_layers).kinds for ratio in RATIOS}
    return measures.reference, {
        ratio: conversion.with_mixers(measures.config, letters, {})
        for ratio, letters in kinds.items()
    }


def with_plans(
    result: ProfileResult,
    engines: list[Engine],
    recipe: ProfileRecipe,
    measuring: bool,
    report: Report,
) -> ProfileResult:
    """The same with what a budget, a comparison and a plot ask for."""
    sizings = sizings_of(engines, recipe)
    known = all(sizing.known for sizing in sizings)
    if not known and (recipe.budget or recipe.plot):
        raise UsageError(
            "no formula tells what a model without a language model needs",
            "leave out `--budget` and `--plot`: `profile` measures it",
        )
    frames = frames_of(sizings[0], recipe)
    asked = "" if recipe.streams == AUTO or recipe.solve == "streams" else recipe.streams or "1"
    streams = int(asked) if asked else None
    budget = Budget.parse(recipe.budget, recipe.reserve) if recipe.budget else None
    answers: list[Answer] = []
    if budget is not None:
        for engine, sizing in zip(engines, sizings, strict=False):
            if measuring and sizing.measures is not None and recipe.solve in ("", "streams"):
                report(Stage(name="measuring", detail=f"{engine.name}, memory of a stream"))
                answers.append(answered(measured_plan(engine, sizing, frames, streams, budget)))
        answers += [answer(sizing, frames, streams, budget, recipe.solve) for sizing in sizings]
    if recipe.plot:
        draw_plan(recipe.plot, sizings, frames, streams or 1, budget, force=recipe.force)
    rows = [
        ProfileRow(model=plan.name, stage=stage, measured=plan.measured, values=values)
        for found in answers
        for plan in found.plans
        for stage, values in plan.numbers().items()
    ]
    verdict = [found.sentence for found in answers]
    if recipe.compare and known:
        verdict.insert(0, compared(sizings[0], sizings[1], frames, streams or 1))
    return replace(
        result,
        rows=(*result.rows, *rows),
        verdict=tuple(verdict),
        missed=missed_of(answers, sizings[0].name if recipe.model else ""),
    )


def missed_of(answers: list[Answer], model: str) -> tuple[str, ...]:
    """What tells that a budget is not kept: by the model that was named, or else by all."""
    asked = [found for found in answers if not model or found.model == model]
    over = tuple(found.sentence for found in asked if not found.kept)
    return over if model or len(over) == len(asked) else ()


def measured_plan(
    engine: Engine, sizing: Sizing, frames: int, streams: int | None, budget: Budget
) -> Plan:
    """A plan of what was measured here."""
    request = sizing.request(frames)
    positions = sizing.needs(frames).positions
    return Plan(
        name=engine.name,
        measured=True,
        seconds=frames / engine.facts.frame_rate,
        positions=positions,
        streams=streams,
        footprint=memory.footprint(engine, request, sizing.libraries),
        budget=budget,
        pace=bench.pace(engine, positions),
    )


def sizings_of(engines: list[Engine], recipe: ProfileRecipe) -> list[Sizing]:
    """What is planned with: the models that were named, else the published one by ratio."""
    first = engines[0]
    models = [(engine.name, engine.family, engine.config) for engine in engines]
    if not recipe.model and not recipe.compare:
        name, configs = published(first)
        models = [(f"{name} {ratio}", first.family, config) for ratio, config in configs.items()]
        if recipe.solve == "ratio":
            models = [(name, first.family, configs["1:0"])]
    return [
        Sizing(
            name=name,
            family=family,
            config=config,
            precision=precision_of(first, recipe),
            libraries=LIBRARIES["cuda" if is_card(first, recipe) else "cpu"],
            prompt=recipe.prompt_seconds,
            bandwidth=1e9 * recipe.bandwidth,
        )
        for name, family, config in models
    ]


def frames_of(sizing: Sizing, recipe: ProfileRecipe) -> int:
    """How much is spoken in a plan."""
    if recipe.seq is not None:
        return sizing.frames_at(recipe.seq)
    return max(1, round(recipe.seconds * sizing.facts.frame_rate))


def is_card(engine: Engine, recipe: ProfileRecipe) -> bool:
    """Whether it is about a GPU: the one here, the one asked for, or whichever the reader has."""
    if recipe.device.startswith("cuda") or engine.device.type == "cuda":
        return True
    return bool(recipe.budget or recipe.plot) and not recipe.model and recipe.device != "cpu"


def precision_of(engine: Engine, recipe: ProfileRecipe) -> costs.Precision:
    """Bytes per element of a model as it runs here, or would on a GPU that is not here."""
    if recipe.dtype == "auto" and is_card(engine, recipe) and engine.device.type == "cpu":
        return costs.Precision()
    return costs.Precision.of(engine.compute.torch_dtype.itemsize)


def missed(recipe: ProfileRecipe, result: ProfileResult) -> LimitMissedError | None:
    """The limit that the user set and that is missed, if any."""
    if result.missed:
        return LimitMissedError(
            f"`--budget {recipe.budget}` is not enough: {result.missed[0]}",
            "`--solve ratio`, `--solve seq` and `--streams auto` look for what is",
        )
    if recipe.min_speed is None:
        return None
    speeds = [
        1 / row.values["warm_rtf"]
        for row in result.rows
        if row.measured and row.stage == "speech" and "warm_rtf" in row.values
    ]
    if not speeds:
        raise UsageError("`--min-speed` needs a measured model", "leave out `--estimate`")
    if speeds[0] >= recipe.min_speed:
        return None
    return LimitMissedError(
        f"{speeds[0]:.2f} seconds of audio a second are below `--min-speed {recipe.min_speed:g}`",
        "more `--threads`, a GPU or fewer flow steps make it faster",
    )
