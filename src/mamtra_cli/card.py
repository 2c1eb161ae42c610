"""The text of a model card: YAML header and body, from facts given as values.

The header follows the Hub's model-card metadata
(https://github.com/huggingface/hub-docs/blob/main/modelcard.md). Values are written as JSON,
which is YAML, so no text can break out of its place. Knows no model and no file but the text.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mamtra_cli.config import dump_json

UNKNOWN = "unknown"
HUB_METRICS = ("wer", "cer")  # scores that the hub knows by these names
HEADER = re.compile(r"---[ \t]*\r?\n(.*?)\n---", re.DOTALL)
LIMITS = """A converted model that was not trained on speaks poorly. Speech from this model is
synthetic: say so where people hear it, and copy the voice of a person only with their consent.
The recurrent layers reduce what grows with length and with the number of streams; one short
utterance saves no memory."""


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card tells.

    Attributes:
        name: name of the model.
        license: identifier of the hub, such as apache-2.0; copied from the teacher.
        language: codes of the languages it speaks.
        base_model: repositories it was made from.
        datasets: data sets it was trained on.
        tags: words to find it by.
        summary: one sentence.
        plan: the layer plan on one line.
        tables: heading to rows of names and values.
        recipe: the resolved knobs.
        notices: licences and origins that must travel with the model.
    """

    name: str
    license: str
    language: Sequence[str] = ("en",)
    base_model: Sequence[str] = ()
    datasets: Sequence[str] = ()
    tags: Sequence[str] = ()
    summary: str = ""
    plan: str = ""
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    recipe: Mapping[str, object] = field(default_factory=dict)
    notices: str = ""


def model_card(facts: CardFacts) -> str:
    """Return the card as Markdown with its header."""
    parts = [header(facts), f"# {escape(facts.name)}"]
    if facts.summary:
        parts.append(escape(facts.summary))
    if facts.plan:
        parts.append(f"## Layers\n\n{fenced(facts.plan)}")
    for heading, rows in facts.tables.items():
        lines = [f"| {cell(name)} | {cell(value)} |" for name, value in rows.items()]
        parts.append("\n".join([f"## {escape(heading)}", "", "| | |", "|---|---|", *lines]))
    parts.append(
        "## Use\n\n" + fenced(f'mamtra synth "Hello there." -m {facts.name} -o hello.wav', "sh")
    )
    parts.append(f"## Limits and misuse\n\n{LIMITS}")
    if facts.recipe:
        parts.append(f"## Recipe\n\n{fenced(dump_json(dict(facts.recipe)).rstrip(), 'json')}")
    if facts.notices:
        parts.append(f"## Notices\n\n{facts.notices.strip()}")
    return "\n\n".join(parts) + "\n"


def header(facts: CardFacts) -> str:
    """Return the YAML header, empty lists left out."""
    entries: dict[str, object] = {
        "language": list(facts.language),
        "license": facts.license,
        "library_name": "mamtra",
        "pipeline_tag": "text-to-speech",
        "base_model": list(facts.base_model),
        "base_model_relation": "finetune" if facts.base_model else "",
        "datasets": list(facts.datasets),
        "tags": list(dict.fromkeys(facts.tags)),
    }
    lines = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items() if value
    ]
    return "\n".join(["---", *lines, "---"])


def with_scores(card: str, result: Mapping[str, Any]) -> str:
    """Return a card with what an evaluation found: `model-index` in its header, a table at its end.

    Args:
        card: its text; one that has a `model-index` already, or no header, stays as it is.
        result: of an evaluation, as `eval` writes it (`EvalResult`).
    """
    match = HEADER.match(card)
    values: Mapping[str, float] = result.get("scores", {}).get("values", {})
    if match is None or not values or re.search(r"^model-index:", match[1], re.MULTILINE):
        return card
    judge = " ".join(str(word) for word in result.get("recogniser", {}).values())
    about = f"{result.get('sentences', '?')} sentences, {judge or 'no recogniser'}"
    title = re.search(r"^# (.+)$", card, re.MULTILINE)
    index = [
        {
            "name": title[1].replace("\\", "") if title else str(result.get("model", "")),
            "results": [
                {
                    "task": {"type": "text-to-speech", "name": "Text to speech"},
                    "dataset": {"type": "sentences", "name": about},
                    "metrics": [
                        {"type": name, "value": value, "name": name}
                        for name, value in values.items()
                    ],
                }
            ],
        }
    ]
    intervals = result["scores"].get("intervals", {})
    teacher = (result.get("teacher") or {}).get("values", {})
    scores = table(
        ("measure", "this model", "95 % interval", "its teacher"),
        (
            (name, f"{value:.4g}", _ends(intervals.get(name)), _figure(teacher.get(name)))
            for name, value in values.items()
        ),
    )
    card = with_header(card, "metrics", [name for name in values if name in HUB_METRICS])
    card = with_header(card, "model-index", index)
    return with_section(card, "Evaluation", f"{escape(about)}, by `mamtra eval`.\n\n{scores}")


def with_header(card: str, key: str, value: object) -> str:
    """Return a card whose header has one more entry; as it is where that is there, or nothing."""
    match = HEADER.match(card)
    if match is None or not value or re.search(rf"^{key}:", match[1], re.MULTILINE):
        return card
    entry = f"{key}: {json.dumps(value, ensure_ascii=False)}"
    return f"---\n{match[1]}\n{entry}\n---{card[match.end() :]}"


def with_section(card: str, heading: str, body: str) -> str:
    """Return a card with one more section; as it is where that is there, or nothing to tell."""
    if not body or re.search(rf"^## {re.escape(heading)}[ \t]*$", card, re.MULTILINE):
        return card
    return f"{card.rstrip()}\n\n## {heading}\n\n{body.strip()}\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of texts as they are."""
    lines = [[cell(text) for text in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ends(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def read_license(card: str) -> str:
    """Return the licence a card's header states, `unknown` where it states none."""
    match = HEADER.match(card)
    found = re.search(r"^license:[ \t]*(.+?)\s*$", match[1], re.MULTILINE) if match else None
    value = found[1].strip("\"'") if found else ""
    return value if re.fullmatch(r"[A-Za-z0-9][\w.+-]*", value) else UNKNOWN


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", flat)


def cell(text: str) -> str:
    """Return a text for a table cell: as `escape`, without stray line breaks."""
    return escape(text) or " "


def fenced(text: str, language: str = "") -> str:
    """Return a code block whose fence is longer than any inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
