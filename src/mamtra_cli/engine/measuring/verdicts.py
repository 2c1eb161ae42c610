"""What a budget means, in numbers and in a sentence: does it fit, for how many, what would.

Plans are sums of `planner`; other models and lengths are looked through by formulas (`sizing`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mamtra_cli.engine.measuring import planner
from mamtra_cli.engine.measuring.planner import Budget, Footprint, Pace
from mamtra_cli.engine.measuring.sizing import Sizing


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One model in a budget.

    Attributes:
        name: of the model.
        measured: the bytes were measured here, else they are those of formulas.
        seconds, positions: of each utterance at its end.
        streams: utterances at once that are asked for; `None` for as many as there may be.
        footprint: bytes.
        budget: what there is.
        pace: seconds of work for a second of sound, where they are known.
        whole: the bytes are those of the whole pipeline, not of the language model alone.
    """

    name: str
    measured: bool
    seconds: float
    positions: int
    streams: int | None
    footprint: Footprint
    budget: Budget
    pace: Pace | None = None
    whole: bool = True

    @property
    def by_memory(self) -> int:
        """Utterances that fit."""
        return self.footprint.streams(self.budget.room)

    @property
    def in_time(self) -> int | None:
        """Utterances that keep up with their sound, where that is known."""
        return None if self.pace is None else self.pace.streams

    @property
    def most(self) -> int:
        """Utterances that do both."""
        return self.by_memory if self.in_time is None else min(self.by_memory, self.in_time)

    @property
    def chosen(self) -> int:
        """Utterances that are counted."""
        return max(self.most, 1) if self.streams is None else self.streams

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self.footprint.total(self.chosen)

    @property
    def fits(self) -> bool:
        """Whether it does."""
        return self.total <= self.budget.room

    @property
    def kept(self) -> bool:
        """Whether so many fit and keep up with their sound; of `auto`, at least one."""
        return self.fits and self.most >= self.chosen

    def numbers(self) -> dict[str, dict[str, float]]:
        """Everything, by row and name."""
        plan = {
            "streams": float(self.chosen),
            "seconds": self.seconds,
            "positions": float(self.positions),
            "stream_bytes": float(self.footprint.stream),
            "libraries_bytes": float(self.footprint.libraries),
            "total_bytes": float(self.total),
            "budget_bytes": float(self.budget.total),
            "room_bytes": float(self.budget.room),
            "streams_by_memory": float(self.by_memory),
        }
        if self.in_time is not None:
            plan["streams_in_time"] = float(self.in_time)
        return {
            "plan_weights": _floats(self.footprint.weights),
            "plan_scratch": _floats(self.footprint.scratch),
            "plan": plan,
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What comes of a question about a model: plans, a sentence, and whether a budget is kept."""

    model: str
    plans: tuple[Plan, ...]
    sentence: str
    kept: bool


def _floats(counts: Mapping[str, int]) -> dict[str, float]:
    return {name: float(count) for name, count in counts.items()}


def planned(sizing: Sizing, frames: int, streams: int | None, budget: Budget) -> Plan:
    """A plan by formulas."""
    return Plan(
        name=sizing.name,
        measured=False,
        seconds=frames / sizing.facts.frame_rate,
        positions=sizing.needs(frames).positions,
        streams=streams,
        footprint=sizing.footprint(frames),
        budget=budget,
        pace=sizing.pace(frames),
        whole=sizing.measures is not None,
    )


def told(plan: Plan) -> str:
    """A plan in a sentence."""
    how = "as measured here" if plan.measured else "by formulas"
    how += "" if plan.whole else ", its language model alone"
    room, each = gigabytes(plan.budget.room), f"of {plan.seconds:,.3g} s"
    if plan.streams is None:
        sentence = f"{plan.name}: {counted(plan.most)} {each} at once, {how}; "
        if plan.in_time is None:
            return sentence + f"{room} hold them; `--bandwidth` tells whether they keep up"
        words = f"{plan.by_memory:,} fit into {room}, {plan.in_time:,} {_keep_up(plan)}"
        return sentence + f"{words}, so {_bound(plan)} decides"
    verb = "needs" if plan.streams == 1 else "need"
    need = f"{counted(plan.streams)} {each} {verb} {gigabytes(plan.total)} of {room}, {how}"
    if not plan.fits:
        missing = gigabytes(plan.total - plan.budget.room)
        return f"{plan.name}: no, {need}; {missing} are missing, most takes {_largest(plan)}"
    if not plan.kept:
        return f"{plan.name}: it fits, {need}; but only {plan.in_time:,} {_keep_up(plan)}"
    left = gigabytes(plan.budget.room - plan.total)
    return f"{plan.name}: yes, {need}; {left} are left"


def remedies(plan: Plan, sizing: Sizing, frames: int) -> list[str]:
    """What would make a plan fit that does not, by formulas."""
    streams, found = plan.chosen, []

    def fits(other: Sizing, length: int = frames) -> bool:
        return other.footprint(length).total(streams) <= plan.budget.room

    if sizing.precision.weights > 2 and fits(sizing.halved):
        found.append("`--dtype bfloat16`")
    now = sizing.footprint(frames).stream
    for ratio, other in sizing.ratios():
        if other.footprint(frames).stream < now and fits(other):
            found.append(f"layers exchanged {ratio}")
            break
    if 0 < plan.by_memory < streams:
        found.append(counted(plan.by_memory))
    length = planner.longest(lambda count: fits(sizing, count)) or 0
    if length >= sizing.facts.frame_rate:
        found.append(f"utterances of {length / sizing.facts.frame_rate:,.0f} s")
    return found


def answered(plan: Plan, sentence: str = "") -> Answer:
    """One plan as an answer."""
    return Answer(model=plan.name, plans=(plan,), sentence=sentence or told(plan), kept=plan.kept)


def answer(
    sizing: Sizing, frames: int, streams: int | None, budget: Budget, solve: str = ""
) -> Answer:
    """What formulas say of one model.

    Args:
        sizing: the model.
        frames: of each utterance.
        streams: utterances at once; `None` for as many as there may be.
        budget: what there is.
        solve: `ratio` or `seq` to look for what fits; else whether this does.
    """
    if solve == "ratio":
        return least_ratio(sizing, frames, streams or 1, budget)
    if solve == "seq":
        return longest_speech(sizing, streams or 1, budget)
    plan = planned(sizing, frames, streams, budget)
    if plan.fits:
        return answered(plan)
    helps = ", ".join(remedies(plan, sizing, frames))
    return answered(plan, f"{told(plan)}. What would fit: {helps or 'nothing that is known here'}")


def least_ratio(sizing: Sizing, frames: int, streams: int, budget: Budget) -> Answer:
    """Plans at every ratio, up to the one that exchanges least and fits."""
    plans: list[Plan] = []

    def found(sentence: str, kept: bool) -> Answer:
        return Answer(model=sizing.name, plans=tuple(plans), sentence=sentence, kept=kept)

    for ratio, other in sizing.ratios():
        plan = planned(other, frames, streams, budget)
        plans.append(plan)
        if plan.fits:
            smaller = f"no smaller exchange than {ratio} fits"
            return found(
                f"{told(plan)}; {smaller if plans[1:] else 'nothing need be exchanged'}", True
            )
    if not plans:
        return found(f"{sizing.name}: there are no layers to exchange", False)
    least = min(plans, key=lambda plan: plan.total)
    return found(f"no exchange of layers fits. {told(least)}", False)


def longest_speech(sizing: Sizing, streams: int, budget: Budget) -> Answer:
    """The plan of the longest utterances that fit."""
    frames = planner.longest(lambda count: sizing.footprint(count).total(streams) <= budget.room)
    if frames is None:
        sentence = f"{sizing.name}: of any length, nothing here grows with it"
        return Answer(model=sizing.name, plans=(), sentence=sentence, kept=True)
    plan = planned(sizing, max(frames, 1), streams, budget)
    if not frames:
        return answered(plan, f"not even the shortest speech fits. {told(plan)}")
    words = f"{counted(streams)} of up to {plan.seconds:,.0f} s ({plan.positions:,} positions)"
    return answered(plan, f"{sizing.name}: {words} fit into {gigabytes(budget.room)}, by formulas")


def compared(model: Sizing, reference: Sizing, frames: int, streams: int) -> str:
    """What one model needs beside another, part by part, by formulas."""
    ours, theirs = model.footprint(frames), reference.footprint(frames)
    change = ours.total(streams) - theirs.total(streams)
    whole = theirs.total(streams)
    parts = {
        "weights": sum(ours.weights.values()) - sum(theirs.weights.values()),
        "keys, values and states": streams * (ours.stream - theirs.stream),
        "scratch": ours.scratch.get(ours.stage, 0) - theirs.scratch.get(theirs.stage, 0),
    }
    each = ", ".join(f"{_signed(count)} {name}" for name, count in parts.items())
    seconds = frames / model.facts.frame_rate
    return (
        f"{model.name} beside {reference.name}: {_signed(change)} "
        f"({100 * change / whole:+.1f} %) for {counted(streams)} of {seconds:,.0f} s, by formulas; "
        f"of it {each}"
    )


def gigabytes(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e9:,.2f} GB" if abs(count) >= 1e8 else f"{count / 1e6:,.1f} MB"


def counted(streams: int) -> str:
    """Streams in words."""
    return "1 stream" if streams == 1 else f"{streams:,} streams"


def _signed(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{gigabytes(abs(count))}"


def _keep_up(plan: Plan) -> str:
    words = "keep up with their sound"
    return words if plan.measured else f"{words} at best, their language model alone"


def _bound(plan: Plan) -> str:
    assert plan.in_time is not None
    return "memory" if plan.by_memory <= plan.in_time else "time"


def _largest(plan: Plan) -> str:
    """What needs most."""
    footprint = plan.footprint
    parts = {f"the {name} weights": count for name, count in footprint.weights.items()}
    parts["keys, values and states"] = plan.chosen * footprint.stream
    if footprint.stage:
        parts[f"{footprint.stage} (scratch)"] = footprint.scratch[footprint.stage]
    return max(parts, key=lambda name: parts[name])
