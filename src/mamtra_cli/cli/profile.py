"""`mamtra profile`: flags to a recipe, the result to tables."""

from collections.abc import Callable

from mamtra_cli.cli.console import Console, amount, facts, size, table
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.profile import ProfileRecipe, ProfileResult, ProfileRow, SavingRow

HONEST = (
    "the hybrid reduces what grows with length and with streams; at one short utterance expect "
    "no cache saving"
)
PLANNED = ("plan_weights", "plan_scratch", "plan")
Show = Callable[[float], str]


@command(ProfileRecipe)
def profile(recipe: ProfileRecipe, console: Console) -> None:
    """Measure speed, memory and size.

    Measured numbers and estimates stand apart. Without a model, mini is measured beside a 1:1
    hybrid of it, and the formulas tell what CosyVoice2-0.5B and its hybrids need.

    \b
    Examples:
      $ mamtra profile --seq 4096
      $ mamtra profile --compare mini student
      $ mamtra profile student --min-speed 1 --json
      $ mamtra profile --savings --seconds 30
      $ mamtra profile --budget 24GB --reserve llm=14GB --streams auto
      $ mamtra profile --budget 3GB --seq 4096 --streams 16 --solve ratio
    """
    from mamtra_cli.tasks.profile import missed
    from mamtra_cli.tasks.profile import profile as run

    result = run(recipe, console.report)
    console.result(result, words(result))
    console.missed(missed(recipe, result))


def milliseconds(value: float) -> str:
    """Return a time in words."""
    return f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"


def factor(value: float) -> str:
    """Return a ratio in words."""
    return f"{value:.3f}"


def in_seconds(value: float) -> str:
    """Return seconds in words."""
    return f"{value:.2f} s"


def whole(value: float) -> str:
    """Return a count in words."""
    return f"{value:,.0f}"


Lines = tuple[tuple[str, str, str, Show], ...]
MODEL: Lines = (
    ("cache and state", "cache", "bytes", size),
    ("reading the context", "prefill", "ms", milliseconds),
    ("  cold", "prefill", "cold_ms", milliseconds),
    ("  memory on top", "prefill", "peak_bytes", size),
    ("one token", "step", "ms", milliseconds),
    ("  tokens a second", "step", "tokens_per_second", whole),
    ("  real-time factor", "step", "rtf", factor),
    ("  read of its bytes", "floor", "ms", milliseconds),
    ("  bytes a second", "floor", "bandwidth", size),
    ("  share of that floor", "floor", "share", factor),
)
SPEECH: Lines = (
    ("first audio, cold", "speech", "cold_first_audio_s", in_seconds),
    ("first audio, warm", "speech", "warm_first_audio_s", in_seconds),
    ("real-time factor, warm", "speech", "warm_rtf", factor),
    ("most memory of the process", "process", "peak_bytes", size),
)
MEMORY: Lines = (
    ("weights, official", "official_memory", "weights_bytes", size),
    ("  language model on top", "official_memory", "language_model_bytes", size),
    ("  tokens to sound on top", "official_memory", "token_to_wave_bytes", size),
    ("  most at once", "official_memory", "peak_bytes", size),
    ("weights, here", "memory", "weights_bytes", size),
    ("  language model on top", "memory", "language_model_bytes", size),
    ("  tokens to sound on top", "memory", "token_to_wave_bytes", size),
    ("  most at once", "memory", "peak_bytes", size),
    ("  share of the official", "memory", "share_of_official", factor),
)
ESTIMATED: Lines = (
    ("parameters", "weights", "parameters", amount),
    ("weights", "weights", "bytes", size),
    ("cache and state", "cache", "bytes", size),
    ("  per token", "cache", "bytes_per_token", size),
    ("  constant", "cache", "constant_bytes", size),
    ("FLOP a token", "decode", "flops_per_token", amount),
    ("bytes moved a step", "decode", "bytes_per_step", size),
    ("  least time", "decode", "least_ms", milliseconds),
    ("exchanged layers: state weighs, tokens", "break_even", "state_tokens", whole),
    ("smaller from, tokens", "break_even", "memory_tokens", whole),
    ("  seconds", "break_even", "memory_seconds", whole),
    ("less traffic from, tokens", "break_even", "traffic_tokens", whole),
    ("fewer FLOP from, tokens", "break_even", "flops_tokens", whole),
)


PLAN: Lines = (
    ("libraries (allowance)", "plan", "libraries_bytes", size),
    ("one stream", "plan", "stream_bytes", size),
    ("  positions at its end", "plan", "positions", whole),
    ("  seconds", "plan", "seconds", whole),
    ("streams", "plan", "streams", whole),
    ("all together", "plan", "total_bytes", size),
    ("room", "plan", "room_bytes", size),
    ("streams by memory", "plan", "streams_by_memory", whole),
    ("streams in time", "plan", "streams_in_time", whole),
)


def plan_lines(rows: list[ProfileRow]) -> Lines:
    """Return the lines of a plan: its weights and stages are those that the models have."""
    parts: dict[tuple[str, str], str] = {}
    for row in rows:
        word = {"plan_weights": "weights", "plan_scratch": "while it runs"}.get(row.stage)
        parts |= {(row.stage, name): f"{name}, {word}" for name in row.values if word}
    each = sorted(parts, key=lambda key: key[0] != "plan_weights")
    return (*((parts[key], *key, size) for key in each), *PLAN)


def measured_lines(rows: tuple[ProfileRow, ...]) -> Lines:
    """Return what was measured: parts and stages to sound are those that the models have."""
    roles: dict[str, str] = {}
    stages: dict[str, float] = {}
    fixed = {stage for _, stage, _, _ in (*MODEL, *SPEECH)}
    for row in rows:
        parts = [key.removesuffix("_parameters") for key in row.values if "_parameters" in key]
        roles |= {part: "language model" if part == "lm" else part for part in parts}
        if row.measured and row.stage not in fixed and "rtf" in row.values:
            stages[row.stage] = row.values["seconds"]
    weights = (
        (f"{role} weights", "weights", f"{part}_bytes", size) for part, role in roles.items()
    )
    sound: list[tuple[str, str, str, Show]] = []
    for stage, seconds in stages.items():
        sound += [
            (f"{stage}, {seconds:g} s of speech", stage, "ms", milliseconds),
            ("  real-time factor", stage, "rtf", factor),
            ("  memory on top", stage, "peak_bytes", size),
        ]
    return (*weights, *MODEL, *sound, *SPEECH)


def words(result: ProfileResult) -> list[str]:
    """Return a table of what was measured, one of what was computed, and what to make of them."""
    where = {
        "device": f"{result.device} {result.dtype}, {result.environment.get('threads')} threads",
        "context": f"{result.seq} positions, {result.batch} at once",
    }
    if result.speech:
        where["context"] = f"{result.speech:g} s of speech after a prompt of {result.prompt:g} s"
    lines = ["profile", *facts(where)]
    for head, rows, measured in (
        ("measured here", measured_lines(result.rows), True),
        ("memory, measured here", MEMORY, True),
        ("estimated by formulas (language model)", ESTIMATED, False),
    ):
        chosen = [row for row in result.rows if row.measured is measured]
        shown = {stage for _, stage, _, _ in rows} & {row.stage for row in chosen}
        if shown:
            lines += ["", *stage_table(head, rows, chosen)]
    for measured, how in ((True, "as measured here"), (False, "by formulas")):
        chosen = [row for row in result.rows if row.measured is measured and row.stage in PLANNED]
        if chosen:
            lines += ["", *stage_table(f"plan, {how}", plan_lines(chosen), chosen)]
    for model in dict.fromkeys(row.model for row in result.savings):
        lines += ["", *saving_table(model, [r for r in result.savings if r.model == model])]
    if result.observed:
        held = ", ".join(f"{size(count)} {when}" for when, count in result.observed.items())
        lines += [
            f"the official program itself, measured once on a CPU: {held} "
            "(resident; no formula, and no scratch of long speech)",
        ]
    return [*lines, *(["", *result.verdict] if result.verdict else []), "", HONEST]


def saving_table(model: str, rows: list[SavingRow]) -> list[str]:
    """Return the steps from the official pipeline to ours, and what all of them come to."""
    first = rows[0].peak
    lines = [
        (
            row.name,
            "-" if row is rows[0] else signed(-row.own),
            size(row.peak),
            f"{100 * row.peak / first:.0f} %",
        )
        for row in rows
    ]
    head = (f"{model}, by formulas", "step", "most at once", "of official")
    lean = [row for row in rows if not row.hybrid][-1]
    told = [f"without a hybrid {100 * (1 - lean.peak / first):.1f} % less than official"]
    changes = [signed(row.peak - lean.peak) for row in rows if row.hybrid]
    if changes:
        told.append(f"the exchange of layers changes the peak by {', '.join(changes)}")
    return [*table(head, lines), *told]


def signed(count: int) -> str:
    """Return a change in bytes in words."""
    return f"{'-' if count < 0 else '+'}{size(abs(count))}"


def stage_table(head: str, stages: Lines, rows: list[ProfileRow]) -> list[str]:
    """Return a table with a column a model and a line a number; of two, the change between."""
    models = list(dict.fromkeys(row.model for row in rows))
    values = {(row.model, row.stage): row.values for row in rows}
    lines = []
    for label, stage, key, show in stages:
        cells = [values.get((model, stage), {}).get(key) for model in models]
        if any(cell is not None for cell in cells):
            words = ["-" if cell is None else show(cell) for cell in cells]
            lines.append((label, *words, *([change(*cells)] if len(models) == 2 else [])))
    return table((head, *models, *(["first to second"] if len(models) == 2 else [])), lines)


def change(first: float | None, second: float | None) -> str:
    """Return the first of two numbers beside the second, in words."""
    if first is None or second is None:
        return "-"
    if not second or first == second:
        return "" if first == second else "-"
    return f"{100 * (first / second - 1):+.1f} %"
