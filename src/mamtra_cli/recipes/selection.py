"""What choosing attention layers by measurement gives: scores, steps and the plan they led to."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SelectionStep:
    """One step of the choice.

    Attributes:
        name: what was done.
        scores: one number a layer, `None` where the step did not try it.
        kept: attention layers after the step.
        kl: of the plan that keeps them, to the teacher, in nats a token.
    """

    name: str
    scores: tuple[float | None, ...]
    kept: tuple[int, ...]
    kl: float


@dataclass(frozen=True, kw_only=True)
class PlanMeasure:
    """A whole plan on the same speech, calibrated and untrained.

    Attributes:
        name: of the placement.
        kinds: its letters.
        kl: forward KL to the teacher, nats a token.
        ce: cross entropy, nats a token.
        wer: word error rate where it was spoken, as a fraction.
    """

    name: str
    kinds: str
    kl: float
    ce: float
    wer: float | None = None


@dataclass(frozen=True, kw_only=True)
class LayerSelection:
    """Which layers stay attention, and why.

    Attributes:
        method: how layers were scored.
        request: the whole request as a plan expression.
        unit: of the scores; more always means worth keeping.
        scores: one number a layer, `None` where it was not measured.
        ranking: layers, the most worth keeping first.
        steps: the way from the scores to the plan.
        kept: attention layers of the plan.
        chosen: the plan, measured.
        rivals: rule-based plans that keep as many layers.
        spoken: plans that were judged by ear (`wer`).
        teacher_ce: cross entropy of the teacher.
        teacher_wer: its word error rate, where plans were spoken.
        tokens: speech tokens that plans were compared on.
        seconds: the measurement took.
        cached: read from an earlier run.
    """

    method: str
    request: str
    unit: str
    scores: tuple[float | None, ...]
    ranking: tuple[int, ...]
    steps: tuple[SelectionStep, ...]
    kept: tuple[int, ...]
    chosen: PlanMeasure
    rivals: tuple[PlanMeasure, ...]
    spoken: tuple[PlanMeasure, ...]
    teacher_ce: float
    teacher_wer: float | None
    tokens: int
    seconds: float
    cached: bool = False
