"""What `convert` says of a measured plan."""

from dataclasses import replace

from mamtra_cli.cli.convert import chosen_layers
from mamtra_cli.recipes import LayerSelection, PlanMeasure, SelectionStep

CHOSEN = PlanMeasure(name="auto:wer,k=1", kinds="MTM", kl=0.25, ce=1.5, wer=0.125)
SELECTION = LayerSelection(
    method="wer",
    request="auto:wer,k=1",
    unit="WER",
    scores=(0.5, 0.75, None),
    ranking=(1, 0, 2),
    steps=(SelectionStep(name="scores", scores=(0.5, 0.75, None), kept=(1,), kl=0.25),),
    kept=(1,),
    chosen=CHOSEN,
    rivals=(PlanMeasure(name="front", kinds="TMM", kl=1.0, ce=2.0),),
    spoken=(
        replace(CHOSEN, name="T=1"),
        PlanMeasure(name="T=0", kinds="TMM", kl=1.0, ce=2.0, wer=0.5),
    ),
    teacher_ce=1.25,
    teacher_wer=0.1,
    tokens=900,
    seconds=12.0,
)


def test_scores_and_plans_are_shown_once_each() -> None:
    lines = chosen_layers(SELECTION)
    assert "measured in 12 s on 900 speech tokens" in lines[1]
    assert "teacher CE 1.2500, its WER 10.0%" in lines[1]
    rows = {line.split()[0]: line.split() for line in lines[2:] if line}
    assert rows["1"] == ["1", "0.7500", "1", "T"]
    assert rows["2"] == ["2", "-", "3"]
    assert rows["auto:wer,k=1"] == ["auto:wer,k=1", "1", "0.2500", "1.5000", "12.5%"]
    assert rows["front"] == ["front", "0", "1.0000", "2.0000"]
    assert rows["T=0"][-1] == "50.0%"
    assert "T=1" not in rows


def test_answer_of_an_earlier_run_says_so() -> None:
    assert "measured before" in chosen_layers(replace(SELECTION, cached=True))[1]


def test_plans_are_called_what_was_measured_of_them() -> None:
    assert any(line.startswith("plan, untrained") for line in chosen_layers(SELECTION))
    aligned = chosen_layers(replace(SELECTION, method="swap-train"))
    assert any(line.startswith("plan, aligned") for line in aligned)
