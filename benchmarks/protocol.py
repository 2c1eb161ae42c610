"""The form in which a measurement is kept: one JSON object, and a Markdown page beside it.

A record says how it was measured, when, with what versions on what machine, and holds what came
of it. `publish` prints JSON, then Markdown, or writes both beside each other.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from mamtra_cli.engine.measuring.meter import environment


def record(
    name: str, protocol: str, *, device: torch.device | None = None, **found: Any
) -> dict[str, Any]:
    """A measurement as it is kept.

    Args:
        name: of the script.
        protocol: how it was measured, in a sentence.
        device: that it ran on; the CPU if absent.
        found: what came of it; `rows` where it is a table.
    """
    where = environment(device or torch.device("cpu"))
    facts = {"name": name, "protocol": protocol, "date": date.today().isoformat()}
    return {**facts, "environment": where, **found}


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers to three or four digits."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(shown, row)) + " |" for row in rows]
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def out_option(parser: argparse.ArgumentParser) -> None:
    """Add `--out`."""
    parser.add_argument(
        "--out", type=Path, help="write OUT.json and OUT.md in place of printing both"
    )


def publish(kept: Mapping[str, Any], text: str, out: Path | None = None) -> None:
    """Print both forms, or write `out`.json and `out`.md."""
    head = f"# {kept['name']}\n\n{kept['protocol']}\n\n{kept['date']}; " + ", ".join(
        f"{name} {value}" for name, value in kept["environment"].items()
    )
    page = f"{head}\n\n{text}\n"
    if out is None:
        print(json.dumps(kept))
        print(f"\n{page}", end="")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(page, encoding="utf-8")
