"""Which layer of a stack is what: `LayerPlan`, its grammar, its printing and its storage.

    plan      := ratio ["@" strategy] | "pattern:" pattern | "T=" set | "M=" set
               | "preset:" name | "file:" path | auto             (auto: see auto.py)
    ratio     := INT ":" INT                 attention : mixer, reduced; 1:0 and 0:1 allowed
    strategy  := block-begin | block-end | front | middle | back | sandwich | spread
    pattern   := unit ["*" INT] { unit ["*" INT] } ; unit := run+ | "(" run+ ")"
    run       := KIND [INT]                  e.g. TM3 , (TM3)*6 , T2M20T2
    set       := item {"," item} ; item := INT | INT "-" INT [":" INT]

A ratio or a set may end in `,kind=X`: the converted layers are then of kind X instead of M.
The letters are those of `kinds/`. Knows letters and numbers only: no torch, no model. Where a
ratio puts its layers is in `placement.py`.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

from mamtra_cli.backbone.auto import is_auto, read_auto
from mamtra_cli.backbone.kinds import kinds as all_kinds
from mamtra_cli.backbone.kinds import replacing, told
from mamtra_cli.backbone.placement import ALIASES, PRESETS, attention_count, fitting, place
from mamtra_cli.backbone.placement import STRATEGIES as STRATEGIES
from mamtra_cli.config import nearest, parse_json
from mamtra_cli.errors import PlanError

_RATIO = re.compile(r"(\d{1,9}):(\d{1,9})(?:@([A-Za-z-]+))?")
_UNIT = re.compile(r"(?:\(((?:[A-Z]\d*)+)\)|((?:[A-Z]\d*)+))(?:\*(\d+))?")
_RUN = re.compile(r"([A-Z])(\d*)")
_ITEM = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?")


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One letter a layer. `kinds` is the truth, `source` says where it came from."""

    kinds: str
    source: str = ""

    def __post_init__(self) -> None:
        if not self.kinds:
            raise PlanError("a layer plan has no layers", "give at least one letter, such as T")
        for letter in self.kinds:
            if letter not in all_kinds():
                raise PlanError(f"layer kind `{letter}` is unknown", told())

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.kinds)

    @property
    def attention(self) -> tuple[int, ...]:
        """Indices of the full-attention layers."""
        return self.indices("T")

    @property
    def converted(self) -> tuple[int, ...]:
        """Indices of the layers that stand where attention stood; not those a model had before."""
        return tuple(i for i, letter in enumerate(self.kinds) if letter in replacing())

    @property
    def restored(self) -> str:
        """The layers of the model before any was converted."""
        return "".join("T" if letter in replacing() else letter for letter in self.kinds)

    @property
    def exact(self) -> bool:
        """False where a ratio did not fit the depth and its count was rounded."""
        unit = self._unit()
        return unit is None or self.n_layers * unit[0] % sum(unit) == 0

    @property
    def fingerprint(self) -> str:
        """`sha1:` and eight hex digits over the number of layers and the kinds."""
        text = f"{self.n_layers}:{self.kinds}"
        return "sha1:" + hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8]

    @property
    def pattern(self) -> str:
        """Run-length form, such as `TM3TM3`; `pattern:` before it parses back."""
        runs = re.findall(r"((.)\2*)", self.kinds)
        return "".join(kind + (str(len(run)) if len(run) > 1 else "") for run, kind in runs)

    @property
    def ratio(self) -> str:
        """Attention layers to others as there are, in lowest terms: `1:3`."""
        kept, gone = len(self.attention), len(self.converted)
        common = gcd(kept, gone)
        return f"{kept // common}:{gone // common}"

    def within(self, kinds: str) -> "LayerPlan":
        """This plan as one of the attention layers of a model, whose other layers stay.

        Args:
            kinds: layers of the model, with as many T as this plan has layers.
        """
        own = iter(self.kinds)
        laid = "".join(next(own) if kind == "T" else kind for kind in kinds)
        return LayerPlan(kinds=laid, source=self.source if laid == self.kinds else "")

    def indices(self, kind: str) -> tuple[int, ...]:
        """Indices of the layers of one kind."""
        return tuple(i for i, letter in enumerate(self.kinds) if letter == kind)

    def __str__(self) -> str:
        """The plan on one line."""
        counts = Counter(self.kinds)
        numbers = " / ".join(f"{k} {counts[k]}" for k in all_kinds() if counts[k] or k in "TM")
        origin = self._origin()
        grouped = " ".join(
            self.kinds[i : i + self._group()] for i in range(0, self.n_layers, self._group())
        )
        kept = ",".join(map(str, self.attention)) or "none"
        noun = "layer" if self.n_layers == 1 else "layers"
        return (
            f"{self.n_layers} {noun}  {numbers}{f' ({origin})' if origin else ''}  "
            f"{grouped}  T={kept}  {self.fingerprint}"
        )

    def _origin(self) -> str:
        if self.source.startswith(("T=", "M=")):
            return ""
        words = self.source.replace("@", ", ").replace(",kind", ", kind")
        return words if self.exact else f"{words}, rounded"

    def _group(self) -> int:
        unit = self._unit()
        return sum(unit) if unit and self.exact and sum(unit) > 1 else 4

    def _unit(self) -> tuple[int, int] | None:
        match = _RATIO.fullmatch(self.source.partition(",")[0])
        if match is None or int(match[1]) + int(match[2]) == 0:
            return None
        return int(match[1]), int(match[2])

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"n_layers": self.n_layers, "kinds": self.kinds, "source": self.source}

    def to_json(self) -> str:
        """The JSON form as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: Any) -> "LayerPlan":
        """Read the JSON form; unknown or missing keys and a wrong count are errors."""
        if not isinstance(data, dict):
            raise PlanError("a stored layer plan is not a JSON object", _json_hint())
        unknown = sorted(set(data) - {"n_layers", "kinds", "source"})
        if unknown:
            raise PlanError(f"a stored layer plan has the unknown key `{unknown[0]}`", _json_hint())
        kinds, source = data.get("kinds"), data.get("source", "")
        if not isinstance(kinds, str) or not isinstance(source, str):
            raise PlanError("a stored layer plan has no `kinds` text", _json_hint())
        plan = cls(kinds=kinds, source=source)
        if data.get("n_layers", plan.n_layers) != plan.n_layers:
            raise PlanError(
                f"a stored layer plan says {data['n_layers']} layers but names {plan.n_layers}",
                _json_hint(),
            )
        return plan

    @classmethod
    def from_json(cls, text: str) -> "LayerPlan":
        """Read the JSON form from text."""
        try:
            data = parse_json(text)
        except ValueError as error:
            raise PlanError(f"a stored layer plan is not JSON: {error}", _json_hint()) from error
        return cls.from_dict(data)

    @classmethod
    def parse(cls, text: str, n_layers: int, *, rounded: bool = False) -> "LayerPlan":
        """Read a plan expression for a model of `n_layers`.

        Args:
            text: an expression of the grammar in the module docstring.
            n_layers: depth of the model.
            rounded: allow a ratio that does not fit; its attention count is rounded half up.
        """
        if n_layers < 1:
            raise ValueError(f"n_layers must be at least 1, got {n_layers}")
        text = text.strip()
        if is_auto(text):
            read_auto(text, n_layers, rounded=rounded, letters=replacing())
            raise PlanError(
                f"layer plan `{text}` is measured on a teacher, which is not at hand here",
                f"`mamtra convert MODEL --plan {text} --dry-run` shows the layers to name",
            )
        head, _, rest = text.partition(":")
        if head == "pattern":
            return cls(kinds=_expand(rest, n_layers), source=text)
        if head == "preset":
            return cls(kinds=_preset(rest, n_layers), source=text)
        if head == "file":
            return _from_file(rest, n_layers)
        body, kind = _split_kind(text)
        if body.startswith(("T=", "M=")):
            chosen = _indices(body[2:], n_layers, text)
            picked, other = ("T", kind) if body[0] == "T" else (kind, "T")
            kinds = "".join(picked if i in chosen else other for i in range(n_layers))
            return cls(kinds=kinds, source=text)
        return cls._from_ratio(body, kind, n_layers, rounded, text)

    @classmethod
    def _from_ratio(
        cls, body: str, kind: str, n_layers: int, rounded: bool, text: str
    ) -> "LayerPlan":
        match = _RATIO.fullmatch(body)
        if match is None:
            raise PlanError(
                f"layer plan `{text}` cannot be read",
                "write a ratio (1:3, 1:3@spread), a set (T=0,8), `pattern:TM3` or "
                f"`preset:mamtra-1:1`; {fitting(n_layers)}",
            )
        a, b = int(match[1]), int(match[2])
        count = attention_count(a, b, n_layers, rounded=rounded)
        a, b = a // gcd(a, b), b // gcd(a, b)
        strategy = _strategy(match[3] or "block-begin")
        kept = set(place(n_layers, count, strategy, unit=(a, b)))
        kinds = "".join("T" if i in kept else kind for i in range(n_layers))
        suffix = "" if kind == "M" else f",kind={kind}"
        return cls(kinds=kinds, source=f"{a}:{b}@{strategy}{suffix}")

    def compare(self, other: "LayerPlan") -> tuple[tuple[int, str, str], ...]:
        """List the layers that differ as (index, kind here, kind there)."""
        if self.n_layers != other.n_layers:
            raise PlanError(
                f"plans of {self.n_layers} and {other.n_layers} layers cannot be compared",
                "give two plans of one depth",
            )
        pairs = enumerate(zip(self.kinds, other.kinds, strict=True))
        return tuple((i, mine, theirs) for i, (mine, theirs) in pairs if mine != theirs)

    def warning(self) -> str | None:
        """Say what is known to go wrong with this plan on a CosyVoice 2 teacher, if anything."""
        if self.kinds[0] == "T":
            return None
        return (
            "layer 0 is not attention: of the placements published for a CosyVoice 2 teacher "
            "(arXiv 2603.12342, figure 4) every one without it stayed above 100 % WER"
        )


def _json_hint() -> str:
    return 'expected {"n_layers": 24, "kinds": "TMMM...", "source": "1:3@block-begin"}'


def _strategy(name: str) -> str:
    strategy = ALIASES.get(name.lower(), name.lower())
    if strategy not in STRATEGIES:
        near = nearest(name, STRATEGIES)
        hint = f"did you mean `{near}`?" if near else f"use {', '.join(STRATEGIES)};"
        raise PlanError(
            f"placement `{name}` is unknown",
            f"{hint} `auto:METHOD` measures it, `auto:swap` for example",
        )
    return strategy


def _split_kind(text: str) -> tuple[str, str]:
    body, found, kind = text.partition(",kind=")
    if not found:
        return text, "M"
    if len(kind) != 1 or kind not in replacing():
        raise PlanError(f"layer kind `{kind}` cannot replace attention", told())
    return body, kind


def _expand(pattern: str, n_layers: int) -> str:
    """Write a pattern out to one letter a layer."""
    kinds, at = "", 0
    while at < len(pattern):
        match = _UNIT.match(pattern, at)
        if match is None:
            raise PlanError(
                f"pattern `{pattern}` cannot be read at `{pattern[at:]}`",
                "write kinds and counts, such as TM3, (TM3)*6 or T2M20T2",
            )
        unit = ""
        for letter, digits in _RUN.findall(match[1] or match[2]):
            unit += letter * _count(pattern, digits, n_layers)
        repeats = _count(pattern, match[3] or "", n_layers)
        if len(kinds) + len(unit) * repeats > n_layers:
            raise PlanError(
                f"pattern `{pattern}` is longer than {n_layers} layers", fitting(n_layers)
            )
        kinds += unit * repeats
        at = match.end()
    if not kinds or n_layers % len(kinds):
        raise PlanError(
            f"pattern `{pattern}` of {len(kinds)} layers does not divide {n_layers} layers",
            fitting(n_layers),
        )
    return kinds * (n_layers // len(kinds))


def _count(pattern: str, digits: str, n_layers: int) -> int:
    value = int(digits[:9]) if digits else 1
    if value == 0:
        raise PlanError(f"pattern `{pattern}` holds a count of 0", "leave the run out")
    if value > n_layers:
        raise PlanError(f"pattern `{pattern}` is longer than {n_layers} layers", fitting(n_layers))
    return value


def _indices(items: str, n_layers: int, text: str) -> set[int]:
    """Read a set of layer indices; `none` or nothing is the empty set."""
    chosen: set[int] = set()
    for item in items.split(",") if items not in ("", "none") else []:
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise PlanError(
                f"layer set `{text}` cannot be read at `{item}`",
                "write indices and ranges, such as T=0,8,11,16 or M=1-7,9-21:2",
            )
        first, last = int(match[1]), int(match[2] or match[1])
        step = int(match[3] or 1)
        if last < first or step == 0:
            raise PlanError(f"range `{item}` of `{text}` is empty", "write first-last:step")
        if last >= n_layers:
            raise PlanError(
                f"layer {last} of `{text}` does not exist",
                f"the model has layers 0 to {n_layers - 1}",
            )
        chosen.update(range(first, last + 1, step))
    return chosen


def _preset(name: str, n_layers: int) -> str:
    if name not in PRESETS:
        raise PlanError(f"plan preset `{name}` is unknown", "use " + ", ".join(PRESETS))
    depth, attention = PRESETS[name]
    if depth != n_layers:
        raise PlanError(
            f"plan preset `{name}` is for {depth} layers, the model has {n_layers}",
            fitting(n_layers),
        )
    return "".join("T" if i in attention else "M" for i in range(depth))


def _from_file(path: str, n_layers: int) -> LayerPlan:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise PlanError(
            f"plan file `{path}` cannot be read: {error}", "give a plan saved as JSON"
        ) from error
    plan = LayerPlan.from_json(text)
    if plan.n_layers != n_layers:
        raise PlanError(
            f"plan file `{path}` is for {plan.n_layers} layers, the model has {n_layers}",
            fitting(n_layers),
        )
    return plan
