"""The card of a model folder as it is published: what the folder's own files tell goes into it.

Scores with intervals (`report/result.json`), sound to listen to (`report/report.md`), memory by
formulas with their conditions, and how the model was made (`mamtra.json`). What a card has already
stays as its owner wrote it. Local paths are the caller's business.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mamtra_cli import card
from mamtra_cli.backbone.costs import Precision
from mamtra_cli.checkpoint import README, ModelFolder, read_json
from mamtra_cli.config import dump_json, from_dict
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.errors import MamtraError
from mamtra_cli.families import registry
from mamtra_cli.privacy import without_paths

RESULT = "report/result.json"
REPORT = "report/report.md"
LENGTHS = (5, 20, 80, 320)  # seconds of speech in the table of memory
PROMPT = 10.0  # seconds of a voice's clip before them
PLAYED = 3  # samples that the hub shows with a player
SAMPLE = re.compile(r"^- (?P<text>.+) \(\[student\]\((?P<file>audio/[\w.-]+)\)", re.MULTILINE)
SAID = ("data", "synthetic", "preset", "steps", "own_steps")
"""Knobs of training that a reader asks for first; all of them are in `mamtra.json`."""


def public_card(folder: ModelFolder, names: Sequence[str]) -> str:
    """The card of a folder of which these files are published."""
    text = (folder.path / README).read_text(encoding="utf-8")
    if RESULT in names:
        text = card.with_scores(text, without_paths(read_json(folder.path / RESULT)))
    text = card.with_section(text, "Memory", memory(folder))
    if REPORT in names:
        heard = (folder.path / REPORT).read_text(encoding="utf-8")
        samples = [one for one in SAMPLE.finditer(heard) if f"report/{one['file']}" in names]
        text = card.with_header(text, "widget", [_widget(one) for one in samples[:PLAYED]])
        text = card.with_section(text, "Samples", _listening(heard) if samples else "")
    return card.with_section(text, "How it was made", records(folder))


def memory(folder: ModelFolder) -> str:
    """Bytes by formulas at some lengths, and their conditions; "" where nothing is known."""
    with suppress(MamtraError):
        family = registry.family(folder.family)
        config = from_dict(family.config_class, folder.config, "config.json")
        sizing = Sizing(name="", family=family, config=config, precision=Precision(), prompt=PROMPT)
        return _memory_table(sizing) if sizing.known else ""
    return ""


def _memory_table(sizing: Sizing) -> str:
    attention = sizing.exchanged("1:0")
    rows: list[tuple[str, ...]] = []
    for seconds in LENGTHS:
        frames = round(seconds * sizing.facts.frame_rate)
        found = sizing.footprint(frames)
        whole = attention.footprint(frames).stream if attention else found.stream
        most = found.scratch.get(found.stage, 0)
        rows.append((f"{seconds} s", *map(_megabytes, (found.stream, whole, most))))
    weights = _megabytes(sum(sizing.footprint(1).weights.values()))
    about = (
        f"Weights take {weights} MB. By formulas (`mamtra profile --estimate`), not measured: "
        f"weights, keys and values in 16 bits, recurrent states in 32, one stream, a voice prompt "
        f"of {PROMPT:g} s, in MB (10^6 bytes), without libraries."
    )
    head = ("speech", "cache and states of a stream", "with attention alone", "most while it works")
    return f"{about}\n\n{card.table(head, rows)}"


def records(folder: ModelFolder) -> str:
    """How the model was made, as rows; "" where its folder does not tell."""
    told: dict[str, Any] = without_paths(folder.provenance)
    recipe, plan = told.get("recipe"), told.get("plan")
    rows: dict[str, object] = {}
    if "mamtra" in told:
        rows["made by"] = f"mamtra {told['mamtra']} {told.get('task', '')}".strip()
    if isinstance(recipe, dict):
        rows["teacher"] = recipe.get("teacher")
        digest = hashlib.sha256(dump_json(recipe).encode()).hexdigest()
        rows["recipe"] = f"sha256:{digest[:16]}, its knobs in mamtra.json"
        rows |= {name.replace("_", " "): recipe.get(name) for name in SAID}
    if isinstance(plan, dict):
        rows["layers"] = plan.get("source")
        rows["fingerprint of the layers"] = plan.get("fingerprint")
    shown = [(name, str(value)) for name, value in rows.items() if value]
    return card.table(("", ""), shown) if shown else ""


def _listening(report: str) -> str:
    """The list of samples of a report, with links that lead there from the card."""
    found = re.search(r"^## Listen\n\n((?:- .*\n?)+)", report, re.MULTILINE)
    return found[1].replace("](audio/", "](report/audio/") if found else ""


def _widget(sample: re.Match[str]) -> dict[str, object]:
    """A sample as the hub's player takes it."""
    text = re.sub(r"\\(.)", r"\1", sample["text"])
    return {"text": text, "output": {"url": f"report/{sample['file']}"}}


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"
