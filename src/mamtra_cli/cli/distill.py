"""`mamtra distill`: flags to a recipe, the result to words."""

import os

from mamtra_cli.cli.console import Console, amount, facts
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.distill import PRESETS, DistillRecipe, DistillResult
from mamtra_cli.recipes.evaluate import Scores
from mamtra_cli.recipes.score_words import percent, points, shown
from mamtra_cli.recipes.shared import StartCheck


@command(DistillRecipe, presets=PRESETS)
def distill(recipe: DistillRecipe, console: Console) -> None:
    """Train a converted model to match its teacher.

    Only the new layers learn unless --lr-rest says otherwise. Ctrl-C and SIGTERM save the run in
    OUTPUT.run, to be taken up with --resume. Every step's numbers are in metrics.jsonl. At the end
    student and teacher say --report-sentences (extra `eval`); where that fails, the trained model
    is there all the same, with a warning.

    \b
    Examples:
      $ mamtra distill student -o student-tuned
      $ mamtra distill student --data speech.jsonl --steps 2000 -o student-tuned
      $ mamtra distill student --align-steps 200 --own-steps 100 -o student-tuned
      $ mamtra distill --resume student-tuned.run
      $ mamtra distill --family mvc --teacher mini --steps 2000 -o my-mvc
      $ mamtra distill student --flow-steps 2 -o student-2steps
      $ torchrun --nproc-per-node 8 -m mamtra_cli distill student -o student-tuned
    """
    from mamtra_cli.tasks.distill import distill as run

    result = run(recipe, console.report)
    if int(os.environ.get("RANK", "0")) == 0:
        console.result(result, words(result))


def words(result: DistillResult) -> list[str]:
    """Return what was made, where, the numbers and the next command."""
    rows = {
        "trains": f"{amount(result.trainable)} parameters, {amount(result.frozen)} frozen",
        "steps": f"{result.steps}, {amount(result.tokens)} speech tokens",
    }
    if result.checks:
        for when in ("before", "after"):
            parts = {k.removeprefix(f"{when}_"): v for k, v in result.checks.items() if when in k}
            rows[when] = ", ".join(
                f"{name.replace('_', ' ')} {value:.3f}" for name, value in parts.items()
            )
    if result.before is not None and result.after is not None:
        rows["before"] = check_words(result.before)
        rows["after"] = check_words(result.after)
    rows |= result.plan
    if result.curves is not None:
        rows["curves"] = str(result.curves)
    if result.report is not None:
        rows["heard"] = heard_words(result)
        rows["report"] = str(result.report)
    if result.dry_run:
        return [f"would train {result.student} to match {result.teacher}", *facts(rows)]
    rows["next"] = f'mamtra synth "Hello there." -m {result.output} -o hello.wav'
    return [str(result.output), *facts(rows)]


def check_words(check: StartCheck) -> str:
    """Return a comparison with the teacher in words."""
    return (
        f"CE {check.ce_student:.3f} (teacher {check.ce_teacher:.3f}), KL {check.kl:.3f}, "
        f"{check.agreement:.1%} of {check.tokens} tokens agree"
    )


def heard_words(result: DistillResult) -> str:
    """Return the word errors of both models with their intervals in words."""
    both = (result.scores, result.teacher_scores, result.difference)
    mine, theirs, apart = (scores or Scores() for scores in both)
    return (
        f"{shown(mine, 'wer', percent)} of words wrong, teacher {shown(theirs, 'wer', percent)}, "
        f"difference {shown(apart, 'wer', points)}"
    )
