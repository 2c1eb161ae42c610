"""A study as a file: its data, its rows, and the name under which a row's results are kept.

A row is a conversion and a lesson; what it leaves out comes from the study. Two rows that mean
the same (the same layers, options, data and seed) have the same digest, so they are done once.
Knows recipes and plans; nothing is run here.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.config import from_dict, to_dict
from mamtra_cli.errors import UsageError
from mamtra_cli.layers.mixer_config import MixerConfig, preset
from mamtra_cli.recipes import ConvertRecipe, DistillRecipe
from study.layers import CONTEXTS

LOCAL = {
    *("teacher", "student", "output", "data", "resume", "device", "force", "dry_run"),
    "report_sentences",
}


@dataclass(frozen=True, kw_only=True)
class Data:
    """Speech that the teacher makes once for all rows of a study.

    Attributes:
        training_tokens: speech tokens to learn from; rows may take the first part of them.
        training_seed, held_out_seed: of sentences and draws.
        held_out_tokens: speech tokens on which CE and KL are measured.
        curve_tokens: the first part of those, for the measurements during training.
    """

    training_tokens: int = 20_000
    training_seed: int = 7
    held_out_tokens: int = 4000
    held_out_seed: int = 70_000
    curve_tokens: int = 2000


@dataclass(frozen=True, kw_only=True)
class Listening:
    """How word errors are measured.

    Attributes:
        sentences: how many, from the first on, of benchmarks/everyday_sentences.txt.
        seed: of the draws; every sentence has its own.
        seeds: how often all are said, each time with other draws.
        retries: of a sentence that the guards refuse.
    """

    sentences: int = 40
    seed: int = 0
    seeds: int = 1
    retries: int = 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a study's table, for one seed or several.

    Attributes:
        name: what the table calls it.
        seeds: of conversion and training; the table gives mean and range.
        tokens: speech tokens of the training data it may see; 0 is all.
        sentences: to be heard; None takes the study's number, 0 hears none.
        curve: measure the held-out set every so many steps; 0 only at both ends.
        smoke: whether the short version of the study has it.
        convert, distill: options in place of the study's.
    """

    name: str
    seeds: tuple[int, ...] = (0,)
    tokens: int = 0
    sentences: int | None = None
    curve: int = 0
    smoke: bool = False
    convert: dict[str, Any] = field(default_factory=dict)
    distill: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question, the rows that answer it, and what they share."""

    title: str
    question: str
    teacher: str = "mini"
    data: Data = Data()
    listening: Listening = Listening()
    targets: tuple[float, ...] = ()  # of the held-out KL, for steps to the same loss
    against: str = ""  # a row that the KL of the others is compared with, sentence by sentence
    layer_rounds: int = 0  # tell what a layer of each mixer costs, its step timed in so many rounds
    layer_contexts: tuple[int, ...] = CONTEXTS  # that the timed steps have behind them
    convert: dict[str, Any] = field(default_factory=dict)
    distill: dict[str, Any] = field(default_factory=dict)
    row: tuple[Row, ...] = ()
    smoke: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row with one seed: what is done, and the digest of everything that decides it."""

    row: Row
    seed: int
    kinds: str
    convert: ConvertRecipe
    distill: DistillRecipe
    digest: str

    @property
    def mixer(self) -> MixerConfig:
        """Choices of its new layers."""
        chosen = self.convert
        return preset(chosen.mixer, gate=chosen.gate, state=chosen.state, window=chosen.window)

    @property
    def name(self) -> str:
        """The row with its seed."""
        return f"{self.row.name} seed {self.seed}"


def read_study(path: Path, *, smoke: bool = False, changes: Sequence[str] = ()) -> Study:
    """Read a study; with `smoke` its short version, made of the rows marked so.

    Args:
        path: the file.
        smoke: short.
        changes: `key=value` or `table.key=value` in place of what the file says, values as in TOML.

    Raises:
        UsageError: an unknown or ill-typed key.
    """
    try:
        given = _underscored(tomllib.loads(path.read_text(encoding="utf-8")))
        for change in changes:
            _change(given, _underscored(tomllib.loads(change)))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read `{path}`: {error}") from error
    short = given.get("smoke", {})
    if smoke:
        _change(given, short)
    study = from_dict(Study, given, str(path))
    if not smoke:
        return study
    half = study.data.training_tokens // 2
    return replace(
        study,
        row=tuple(
            replace(
                row,
                seeds=row.seeds[:1],
                sentences=None,
                curve=min(row.curve, 2),
                tokens=half if row.tokens else 0,
                convert={**row.convert, **short.get("convert", {})},
                distill={**row.distill, **short.get("distill", {})},
            )
            for row in study.row
            if row.smoke
        ),
    )


def _change(given: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put values in the place of others; those of a table one by one."""
    for key, value in changes.items():
        given[key] = {**given.get(key, {}), **value} if isinstance(value, Mapping) else value


def runs(study: Study, n_layers: int, teacher: str) -> Iterator[Run]:
    """Every row once, then the rows that have a second seed, and so on.

    Args:
        study: the study.
        n_layers: layers of the teacher.
        teacher: what tells its lessons from another's; part of each digest.
    """
    most = max((len(row.seeds) for row in study.row), default=0)
    for number in range(most):
        for row in study.row:
            if number < len(row.seeds):
                yield make_run(study, row, row.seeds[number], n_layers, teacher)


def make_run(
    study: Study,
    row: Row,
    seed: int,
    n_layers: int,
    teacher: str,
) -> Run:
    """One row with one seed."""
    where = f"row `{row.name}`"
    options = {"placement": "block-begin", **study.convert, **row.convert, "seed": seed}
    convert = from_dict(ConvertRecipe, options, where)
    lesson = {"check_tokens": 0, "report": False, **study.distill, **row.distill, "seed": seed}
    distill = from_dict(DistillRecipe, lesson, where)
    text = convert.plan or f"{convert.ratio}@{convert.placement}"
    kinds = LayerPlan.parse(text, n_layers, rounded=convert.round).kinds
    plain = replace(
        convert, plan=f"pattern:{kinds}", ratio="1:1", placement="block-begin", round=False
    )
    facts = {
        "kinds": kinds,
        "convert": {k: v for k, v in to_dict(plain).items() if k not in LOCAL},
        "distill": {k: v for k, v in to_dict(distill).items() if k not in LOCAL},
        "tokens": row.tokens,
        "data": to_dict(study.data),
        "teacher": teacher,
    }
    return Run(
        row=row, seed=seed, kinds=kinds, convert=plain, distill=distill, digest=digest_of(facts)
    )


def digest_of(facts: Any) -> str:
    """Twelve hex digits of plain data."""
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _underscored(value: Any) -> Any:
    """Keys as fields are named: recipe files write `batch-tokens`."""
    if isinstance(value, Mapping):
        return {key.replace("-", "_"): _underscored(item) for key, item in value.items()}
    return [_underscored(item) for item in value] if isinstance(value, list) else value
