"""Measured and estimated speed, memory and size, stage by stage, in one harness.

Measured rows come from running the models here; estimated rows from formulas over their sizes
alone. The two are never merged, and no single saving is quoted: what a hybrid saves depends on
length and batch, so the break-even lengths stand beside it.
"""

from typing import Any

from mamtra_cli.backbone import costs
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.engine.measuring import memory
from mamtra_cli.engine.measuring import speed as bench
from mamtra_cli.engine.measuring.meter import environment, metered, peak_bytes
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.fitting import hybrid_of
from mamtra_cli.errors import LimitMissedError, UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.families.base import Facts
from mamtra_cli.families.measures import Request
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.recipes.profile import ProfileRecipe, ProfileResult, ProfileRow, SavingRow

BUILT_IN = "mini"
RATIO = "1:1"
RATIOS = ("1:0", "1:1", "1:3", "1:11")
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def profile(recipe: ProfileRecipe, report: Report = ignore) -> ProfileResult:
    """Measure models here, and estimate them and the published one from formulas.

    Without a model, `mini` is measured beside a hybrid of it, converted in memory.
    """
    if recipe.seq < 32 or recipe.batch < 1 or recipe.runs < 1:
        raise UsageError("`--seq` is 32 or more, `--batch` and `--runs` 1 or more")
    if recipe.imitate_official and recipe.estimate:
        raise UsageError(
            "`--imitate-official` measures, and `--estimate` measures nothing",
            "leave out one; `--savings` tells both pipelines by formulas",
        )
    if recipe.seconds <= 0 or recipe.prompt_seconds < 0:
        raise UsageError("`--seconds` is above 0, `--prompt-seconds` 0 or more")
    engines = open_engines(recipe, report)
    first = engines[0]
    rows: list[ProfileRow] = []
    only_memory = recipe.savings or recipe.imitate_official
    for engine in engines:
        if recipe.imitate_official:
            rows += memory_rows(engine, recipe, report)
        if only_memory:
            continue
        if not recipe.estimate:
            rows += measured(engine, recipe, report)
        element = BYTES[engine.compute.dtype]
        precision = costs.Precision(weights=element, cache=element, conv=element)
        rows += estimated(engine.name, engine.facts, recipe, precision)
    if not recipe.model and not only_memory:
        name, configs = published(first)
        for ratio, config in configs.items():
            sizes = first.family.facts(config)
            rows += estimated(f"{name} {ratio}", sizes, recipe, costs.Precision())
    facts = environment(first.device)
    facts["reason"] = first.compute.reason
    facts["attention_cache"] = "preallocated"
    facts["warmup"] = recipe.warmup
    return ProfileResult(
        seq=recipe.seq,
        batch=recipe.batch,
        device=str(first.device),
        dtype=first.compute.dtype,
        rows=tuple(rows),
        savings=saving_rows(engines, recipe) if recipe.savings else (),
        speech=recipe.seconds if only_memory else None,
        prompt=recipe.prompt_seconds if only_memory else None,
        environment=facts,
    )


def open_engines(recipe: ProfileRecipe, report: Report) -> list[Engine]:
    """The models to measure, in order."""
    names = [recipe.model or BUILT_IN, *([recipe.compare] if recipe.compare else [])]
    engines = [
        Engine.load(
            name,
            device=recipe.device,
            dtype=recipe.dtype,
            threads=recipe.threads,
            # A text table that stays in its file has no weights to convert.
            lean=recipe.imitate_official and bool(recipe.model or recipe.compare),
            report=report,
        )
        for name in names
    ]
    if not recipe.model and not recipe.compare and not recipe.savings:
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
    if memory.resident is not None:
        loaded["resident_growth_bytes"] = float(memory.resident)
    rows = [row("weights", loaded)]
    if engine.lm_part:
        stages = bench.language_model(engine, recipe.seq, batch=recipe.batch, **repeat)
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
    stack, head = sizes.stack, sizes.head
    if stack is None:
        return []
    counted = costs.parameters(stack, head)
    weights = {
        "parameters": float(counted.total),
        "bytes": float(counted.total * precision.weights),
    }
    cache = {
        "tokens": float(recipe.seq),
        "bytes": float(recipe.batch * costs.cache_bytes(stack, recipe.seq, precision)),
        "bytes_per_token": float(costs.kv_bytes_per_token(stack, precision.cache)),
        "constant_bytes": float(costs.state_bytes(stack, precision)),
    }
    decode = {
        "tokens": float(recipe.seq),
        "flops_per_token": float(costs.decode_flops(stack, recipe.seq, head)),
        "bytes_per_step": float(
            costs.decode_bytes(
                stack, recipe.seq, batch=recipe.batch, head=head, precision=precision
            )
        ),
    }
    stages = {"weights": weights, "cache": cache, "decode": decode}
    stateful = [kind for kind in sorted(set(stack.layer_kinds)) if costs.keeps_state(stack, kind)]
    if stateful:
        stages["break_even"] = break_even(stack, precision, stateful[0])
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


def break_even(stack: HybridConfig, precision: costs.Precision, kind: str) -> dict[str, float]:
    """Contexts from which a converted layer costs no more than the attention it replaced."""
    found = costs.break_even(stack, precision, kind)
    return {
        "memory_tokens": float(found.memory),
        "traffic_tokens": float(found.traffic),
        "flops_tokens": float(found.flops),
    }


def missed(recipe: ProfileRecipe, result: ProfileResult) -> LimitMissedError | None:
    """The limit that the user set and the first model missed, if any."""
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
