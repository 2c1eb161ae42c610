"""A request to choose attention layers by measurement: how it is written, and its defaults.

    auto    := ["auto:" method | ratio "@auto:" method] {"," key "=" value} ["," "from=" plan]
    method  := drop | cosine | swap | swap-train | restore | wer | smart
    key     := k | kind | exchange | steps | tokens | sentences | candidates | bistream

`k` is how many layers stay attention; a ratio or the plan of `from` may say it instead. `from`
comes last, since the plan after it may hold commas. Knows letters and numbers only; the
measuring is in `engine/choosing/search.py`.
"""

import re
from dataclasses import dataclass, fields

from mamtra_cli.backbone.placement import attention_count
from mamtra_cli.config import nearest
from mamtra_cli.errors import PlanError

METHODS = ("drop", "cosine", "swap", "swap-train", "restore", "wer", "smart")
ALIGNED = ("swap-train", "restore")  # methods whose mixers are trained a little before measuring

_HEAD = re.compile(r"(?:(\d{1,9}):(\d{1,9})@)?auto(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class AutoRequest:
    """What to measure and how many layers to keep.

    Attributes:
        method: one of `METHODS`.
        kept: layers that stay attention; 0 where only `start` can tell.
        kind: letter of the others.
        exchange: most passes that try every kept layer against every converted one.
        steps: alignment steps of all layers together before measuring (`swap-train`, `restore`).
        tokens: speech tokens on which plans are compared.
        sentences: sentences a candidate speaks (`wer`).
        candidates: plans that are spoken in the end (`wer`).
        bistream: percent of the utterances laid out in turns of text and speech; -1 is 50 where
            the model counts positions, as a published CosyVoice 2 does, and 0 elsewhere.
        start: a plan expression from which the exchange begins; "" for what the scores say.
    """

    method: str
    kept: int
    kind: str = "M"
    exchange: int = 1
    steps: int = 100
    tokens: int = 2048
    sentences: int = 20
    candidates: int = 3
    bistream: int = -1
    start: str = ""

    @property
    def source(self) -> str:
        """The request as a plan expression; defaults are left out."""
        text = f"auto:{self.method},k={self.kept}"
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("method", "kept", "start") and value != field.default:
                text += f",{field.name}={value}"
        return text + (f",from={self.start}" if self.start else "")


_LEAST = {"exchange": 0, "steps": 0, "tokens": 1, "sentences": 1, "candidates": 1, "bistream": 0}
_KEYS = ("k", "kind", *_LEAST, "from")


def is_auto(text: str) -> bool:
    """Whether a plan or a placement asks for measurement."""
    return _HEAD.fullmatch(text.strip()) is not None


def read_auto(
    text: str, n_layers: int, *, rounded: bool = False, letters: str = "M"
) -> AutoRequest:
    """Read a request for a model of `n_layers`.

    Args:
        text: as in the module docstring.
        n_layers: depth of the model.
        rounded: allow a ratio that does not fit, as in `LayerPlan.parse`.
        letters: kinds that may stand for converted layers.
    """
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a request to measure")
    body, _, start = (match[3] or "").partition(",from=")
    method, *options = body.split(",")
    if method not in METHODS:
        near = nearest(method, METHODS)
        hint = f"did you mean `auto:{near}`?" if near else "use " + ", ".join(METHODS)
        raise PlanError(f"importance score `{method}` is unknown", hint)
    values = _pairs(text, options)
    kind = values.pop("kind", "M")
    if kind not in letters or len(kind) != 1:
        raise PlanError(f"layer kind `{kind}` cannot replace attention", f"use one of {letters}")
    counted = "k" in values
    kept = _number(text, "k", values.pop("k"), 0) if counted else 0
    if match[1] is not None:
        if counted:
            raise PlanError(
                f"layer plan `{text}` gives both a ratio and k",
                f"leave out `k={kept}`, or write `--plan auto:{method},k={kept}`",
            )
        kept = attention_count(int(match[1]), int(match[2]), n_layers, rounded=rounded)
    said = match[1] is not None or counted
    if not start and not said:
        raise PlanError(
            f"layer plan `{text}` does not say how many layers stay",
            f"write auto:{method},k=N with N from 1 to {n_layers - 1}, or give a ratio",
        )
    if said and not 1 <= kept < n_layers:
        raise PlanError(
            f"layer plan `{text}` keeps {kept} of {n_layers} layers: there is nothing to choose",
            f"keep 1 to {n_layers - 1}",
        )
    numbers = {key: _number(text, key, value, _LEAST[key]) for key, value in values.items()}
    if numbers.get("bistream", 0) > 100:
        raise PlanError(f"`bistream` of `{text}` is a percentage", "0 to 100")
    if method == "smart" and said and kept < 2:
        raise PlanError(
            "`auto:smart` keeps both ends, so at least two layers", "use another method, or k=2"
        )
    return AutoRequest(method=method, kept=kept, kind=kind, start=start, **numbers)


def _pairs(text: str, options: list[str]) -> dict[str, str]:
    """Split options into known keys and values."""
    values: dict[str, str] = {}
    for option in options:
        key, found, value = option.partition("=")
        if not found or not value:
            raise PlanError(f"layer plan `{text}` cannot be read at `{option}`", "write key=value")
        if key not in _KEYS or key in values:
            fact = "is given twice" if key in values else "is unknown"
            raise PlanError(f"key `{key}` of `{text}` {fact}", "keys are " + ", ".join(_KEYS))
        values[key] = value
    return values


def _number(text: str, key: str, value: str, least: int) -> int:
    if not re.fullmatch(r"\d{1,9}", value) or int(value) < least:
        raise PlanError(f"`{key}` of `{text}` is no number", f"a whole number from {least} on")
    return int(value)
