"""`mamtra eval`: flags to a recipe, the result to words."""

from mamtra_cli.cli.console import Console, facts, table
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.evaluate import EvalRecipe, EvalResult
from mamtra_cli.recipes.score_words import direct_rows, score_rows


@command(EvalRecipe)
def evaluate(recipe: EvalRecipe, console: Console) -> None:
    """Score a model: word errors, voice, length, closeness to its teacher.

    The default recogniser knows only the words of the test. Its errors are for comparing models
    in one run; they are not those of people, nor those that papers report.

    \b
    Examples:
      $ mamtra eval mini --sentences 100
      $ mamtra eval student --teacher mini --max-wer-increase 2 --report scores
      $ mamtra eval student --teacher mini --ab compare
      $ mamtra eval student --list en/meta.lst --asr whisper:openai/whisper-large-v3
    """
    from mamtra_cli.tasks.evaluate import compare_blind, missed
    from mamtra_cli.tasks.evaluate import evaluate as run

    if recipe.ab is not None:
        page = compare_blind(recipe, console.report)
        told = f"{page.sentences} sentences of {page.model} and {page.teacher_model}: open it"
        console.result(page, [str(page.page), told])
        return
    result = run(recipe, console.report)
    console.result(result, words(result))
    console.missed(missed(result))


def words(result: EvalResult) -> list[str]:
    """Return the scores as tables, the teacher's beside them."""
    head: tuple[str, ...] = ("", result.model)
    if result.teacher is not None:
        head = ("", result.model, result.teacher_model, "difference")
    rows = score_rows(result.scores, result.teacher, result.difference, result.rules)
    values = result.scores.values
    about = {
        "sentences": f"{result.sentences}, {values['words']:.0f} words, "
        f"{values['audio_s']:.0f} s of speech",
        "recogniser": result.recogniser.get("name", ""),
        "intervals": "95 %, bootstrap over sentences",
    }
    if "name" in result.similarity:
        about["similarity"] = result.similarity["name"]
    lines = ["scores", *facts(about), "", *table(head, rows)]
    if result.difference is not None:
        lines += ["", *table(("student to teacher", ""), direct_rows(result.difference))]
    if result.absent:
        lines += ["", "not measured", *facts(result.absent)]
    if result.report is not None:
        lines += ["", f"report  {result.report}/report.md"]
    return lines
