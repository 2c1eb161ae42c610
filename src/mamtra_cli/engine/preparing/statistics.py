"""Numbers and a picture of prepared data, and what is wrong with it.

Counts, hours, and quantiles of lengths and of pace; lengths as an SVG by matplotlib (extra
`plot`). Reads columns, never whole rows. Knows shards, no models.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.engine.pictures import need_matplotlib
from mamtra_cli.engine.preparing.prepared import PLOT
from mamtra_cli.engine.preparing.shards import (
    ShardHeader,
    arrow_parts,
    check_columns,
    list_shards,
    read_header,
    read_rows,
    shard_errors,
)
from mamtra_cli.errors import DataError
from mamtra_cli.publish import write_whole

QUANTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
BINS = 40
POINTS = 5000

Columns = dict[str, NDArray[np.float64]]


def read_columns(folder: Path) -> Columns:
    """Return a number a row: seconds, tokens, text_ids, characters, speakers (1 or 0)."""
    arrow, parquet = arrow_parts()
    import pyarrow.compute as compute

    parts: list[Columns] = []
    names = ["text", "text_ids", "speech_tokens", "speaker", "seconds"]
    for path in list_shards(folder):
        header = read_header(path)
        with shard_errors(path):
            table = parquet.read_table(path, columns=names)
            check_columns(table, names, path)
            counted = {
                "seconds": table["seconds"],
                "tokens": compute.divide(
                    compute.list_value_length(table["speech_tokens"]), header.codebooks
                ),
                "text_ids": compute.list_value_length(table["text_ids"]),
                "characters": compute.utf8_length(table["text"]),
                "speakers": compute.is_valid(table["speaker"]).cast(arrow.int8()),
            }
            parts.append({name: np.asarray(c, np.float64) for name, c in counted.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def statistics(folder: Path, columns: Columns | None = None) -> dict[str, Any]:
    """Return counts and quantiles of a folder of shards."""
    columns = columns or read_columns(folder)
    paths = list_shards(folder)
    headers = [read_header(path) for path in paths]
    seconds, tokens = columns["seconds"], columns["tokens"]
    spread = {
        "seconds": seconds,
        "tokens": tokens,
        "text_ids": columns["text_ids"],
        "characters_per_second": columns["characters"] / np.maximum(seconds, 1e-3),
        "tokens_per_text_id": tokens / np.maximum(columns["text_ids"], 1),
    }
    return {
        "rows": len(seconds),
        "hours": float(seconds.sum() / 3600),
        "tokens": int(tokens.sum()),
        "text_ids": int(columns["text_ids"].sum()),
        "characters": int(columns["characters"].sum()),
        "speakers": int(columns["speakers"].sum()),
        "shards": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "models": sorted({header.model for header in headers}),
        "speech_tokenizer": sorted({header.speech_tokenizer for header in headers}),
        "synthetic": sorted({header.synthetic for header in headers}),
        "quantiles": {
            name: {
                f"p{q}": round(float(value), 4)
                for q, value in zip(QUANTILES, np.percentile(values, QUANTILES), strict=True)
            }
            for name, values in spread.items()
            if len(values)
        },
    }


def draw_lengths(folder: Path, columns: Columns) -> Path:
    """Draw how long the rows are and how text and speech go together.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    need_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    seconds, tokens, ids = columns["seconds"], columns["tokens"], columns["text_ids"]
    figure = Figure(figsize=(10.0, 3.2))
    FigureCanvasSVG(figure)
    lengths, pace, pairs = figure.subplots(1, 3)
    lengths.hist(seconds, bins=BINS)
    lengths.set(xlabel="seconds", ylabel="rows", title=f"{len(seconds)} rows")
    pace.hist(columns["characters"] / np.maximum(seconds, 1e-3), bins=BINS)
    pace.set(xlabel="characters a second", title=f"{seconds.sum() / 3600:.2f} h")
    chosen = np.random.default_rng(0).permutation(len(ids))[:POINTS]
    pairs.plot(ids[chosen], tokens[chosen], ".", markersize=2, alpha=0.4)
    pairs.set(xlabel="text ids", ylabel="speech tokens", title=f"{int(tokens.sum())} tokens")
    figure.tight_layout()
    drawn = io.StringIO()
    # Without salt and with a date the same data would make another file each time.
    with matplotlib.rc_context({"svg.hashsalt": "mamtra"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    path = folder / PLOT
    write_whole(path, drawn.getvalue())
    return path


def find_problems(folder: Path, hashes: Mapping[str, str] | None = None) -> list[str]:
    """Read everything and say what is wrong: damage, foreign ids, rows that are there twice.

    Args:
        folder: of shards.
        hashes: `speech_tokenizer` and `front_end` of a model to compare with; `None` compares the
            shards with each other.
    """
    problems: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    first: ShardHeader | None = None
    for path in list_shards(folder):
        try:
            header = read_header(path)
            first = first or header
            wanted = hashes or {
                "speech_tokenizer": first.speech_tokenizer,
                "front_end": first.front_end,
            }
            problems += [
                f"{path.name}: {what.replace('_', ' ')} {getattr(header, what)[:12]}, "
                f"not {value[:12]}"
                for what, value in wanted.items()
                if value and getattr(header, what) and getattr(header, what) != value
            ]
            for row in read_rows(path):
                key = (row["source"], row["id"])
                if key in seen:
                    problems.append(f"{path.name}: row `{row['id']}` is in {seen[key]} too")
                seen[key] = path.name
                sizes = (("text_ids", header.text_vocab), ("speech_tokens", header.speech_vocab))
                for name, size in sizes:
                    ids = row[name]
                    if not len(ids) or ids.min() < 0 or ids.max() >= size:
                        problems.append(
                            f"{path.name}: `{name}` of row `{row['id']}` are none, or not all in "
                            f"0..{size - 1}"
                        )
        except DataError as error:
            problems.append(f"{path.name}: {error.message}")
    left = sorted(p.name for p in folder.glob(".*.partial")) if folder.is_dir() else []
    return problems + [f"{name}: left by a run that was killed" for name in left]
