"""`mamtra convert`: flags to a recipe, the result to words."""

from mamtra_cli.cli.console import Console, amount, facts, size, table
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.convert import ConvertRecipe, ConvertResult
from mamtra_cli.recipes.selection import LayerSelection


def complete_placement() -> list[str]:
    """Return the names `--placement` takes."""
    from mamtra_cli.backbone.auto import METHODS
    from mamtra_cli.backbone.plan import STRATEGIES

    return [*STRATEGIES, *(f"auto:{method}" for method in METHODS)]


def complete_mixer() -> list[str]:
    """Return the names `--mixer` takes."""
    from mamtra_cli.layers.mixer_config import PRESETS

    return list(PRESETS)


@command(ConvertRecipe, words={"placement": complete_placement, "mixer": complete_mixer})
def convert(recipe: ConvertRecipe, console: Console) -> None:
    """Replace attention layers of a teacher with Mamba-2 layers.

    Each replaced layer starts from the weights of the attention it replaces, and its output is
    fitted to the teacher's. The result speaks poorly until it is trained: see `mamtra distill`.

    \b
    Examples:
      $ mamtra convert mini --ratio 1:3 --placement spread -o student
      $ mamtra convert ./CosyVoice2-0.5B --plan T=0,8,11,16 --dry-run
      $ mamtra convert mini --ratio 1:3 --placement auto:restore -o student
      $ mamtra convert --config recipe.toml --gate none -o student-ungated
    """
    from mamtra_cli.tasks.convert import convert as run

    result = run(recipe, console.report)
    console.result(result, words(result))


def words(result: ConvertResult) -> list[str]:
    """Return what was made, where, the numbers and the next command."""
    rows = {
        "parameters": f"{amount(result.parameters_before)} -> {amount(result.parameters_after)}",
        "cache": f"{size(result.cache_before)} -> {size(result.cache_after)} per token, "
        f"and {size(result.state_bytes)} once",
    }
    if result.break_even is not None:
        rows["smaller"] = f"from {result.break_even} tokens of context on"
    if result.check is not None:
        check = result.check
        rows["check"] = (
            f"CE {check.ce_teacher:.3f} -> {check.ce_student:.3f}, KL {check.kl:.3f}, "
            f"{check.agreement:.1%} of {check.tokens} tokens agree"
        )
    if result.dry_run:
        total = sum(file.bytes for file in result.files)
        rows["files"] = f"{len(result.files)}, {size(total)}; nothing was written"
        head = f"would write {result.output}" if result.output else "dry run"
    else:
        rows["next"] = f"mamtra distill {result.output} -o {result.output}-tuned"
        head = str(result.output)
    return [head, *facts(rows), *(chosen_layers(result.selection) if result.selection else [])]


def chosen_layers(selection: LayerSelection) -> list[str]:
    """Return the layer scores and what the plan they led to is worth, as tables."""
    from mamtra_cli.backbone.auto import ALIGNED

    places = {layer: place for place, layer in enumerate(selection.ranking, 1)}
    layers = table(
        ("layer", selection.unit, "rank", "stays"),
        [
            (
                str(i),
                "-" if score is None else f"{score:.4f}",
                str(places[i]),
                "T" if i in selection.kept else "",
            )
            for i, score in enumerate(selection.scores)
        ],
    )
    others = [plan for plan in selection.spoken if plan.kinds != selection.chosen.kinds]
    heading = "plan, aligned" if selection.method in ALIGNED else "plan, untrained"
    plans = table(
        (heading, "T", "KL", "CE", "WER"),
        [
            (
                plan.name,
                ",".join(str(i) for i, letter in enumerate(plan.kinds) if letter == "T"),
                f"{plan.kl:.4f}",
                f"{plan.ce:.4f}",
                "" if plan.wer is None else f"{plan.wer:.1%}",
            )
            for plan in (selection.chosen, *others, *selection.rivals)
        ],
        left=2,
    )
    origin = "measured before" if selection.cached else f"measured in {selection.seconds:.0f} s"
    steps = " -> ".join(step.name for step in selection.steps)
    heard = ""
    if selection.teacher_wer is not None:
        heard = f", its WER {selection.teacher_wer:.1%}"
    tokens = f"on {selection.tokens} speech tokens, teacher CE {selection.teacher_ce:.4f}{heard}"
    return ["", f"{origin} {tokens}; {steps}", *layers, "", *plans]
