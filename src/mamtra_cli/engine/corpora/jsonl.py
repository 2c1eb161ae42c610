"""Lists of audio files and texts: JSONL, and the `metadata.jsonl` of an audio folder.

A line is `{"audio": "a.wav", "text": "..."}`, with `id`, `start` and `duration` (seconds) where
wanted; paths are relative to the list. Other usual names of the keys are understood.
"""

import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mamtra_cli.config import parse_json, reason
from mamtra_cli.engine.corpora.clip import Bad, Clip, Entries, find_text, name_of
from mamtra_cli.errors import DataError
from mamtra_cli.text.encoding import encoding_of

AUDIO_KEYS = ("audio", "audio_filepath", "audio_path", "audio_file", "file_name", "wav", "path")
START_KEYS = ("start", "offset")
LENGTH_KEYS = ("duration", "seconds")
LONGEST = 16 << 20  # bytes of a line
EMPTY = 1_000_000  # empty lines of a file; more of them unfold from an archive of a few bytes
MOST = 1e308  # seconds: beyond every clip, which is told where it is cut


def entries(path: Path, *, text_key: str = "") -> Entries:
    """Yield the lines of a list."""
    for number, record in records(path):
        where = f"{path.name}:{number}"
        if isinstance(record, Bad):
            yield record
            continue
        named = (record.get(key) for key in AUDIO_KEYS)
        audio = next((path for path in named if isinstance(path, str) and path), None)
        text = find_text(record, text_key)
        if audio is None or text is None:
            lacking = "an audio path (`audio`)" if audio is None else f"`{text_key or 'text'}`"
            yield Bad(id=where, source=where, code="entry", cause=f"the line has no {lacking}")
            continue
        start, seconds = _number(record, START_KEYS), _number(record, LENGTH_KEYS)
        given = record.get("id", record.get("utt_id"))
        name = name_of(audio) if not Path(audio).is_absolute() else Path(audio).stem or where
        place = f"@{start:g}" if start else ""
        yield Clip(
            id=str(given) if isinstance(given, str | int) else name + place,
            text=text,
            source=(audio if not Path(audio).is_absolute() else Path(audio).name) + place,
            audio=path.parent / audio,
            start=start or 0.0,
            # A length is a cut only where a start is given; alone it merely describes the file.
            seconds=seconds if start is not None else None,
        )


def records(path: Path) -> Iterator[tuple[int, dict[str, Any] | Bad]]:
    """Yield the number and the object of every line of a JSONL file, gzipped or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            wide = encoding_of(file.read(2)) == "utf-16"
            file.seek(0)
            source: Any = io.TextIOWrapper(file, encoding="utf-16", newline="\n") if wide else file
            # A line in an archive may be larger than the memory.
            empty = 0
            lines: Iterable[str | bytes] = iter(lambda: source.readline(LONGEST), source.read(0))
            for number, line in enumerate(lines, 1):
                if len(line) >= LONGEST:
                    raise DataError(f"line {number} of `{path}` has more than {LONGEST >> 20} MB")
                if not line.strip():
                    empty += 1
                    if empty > EMPTY:
                        raise DataError(f"`{path}` has more than {EMPTY:,} empty lines")
                    continue
                where = f"{path.name}:{number}"
                try:
                    record = parse_json(line)
                except ValueError as error:
                    cause = f"the line is not JSON: {error}"
                    if isinstance(error, UnicodeDecodeError):
                        cause = "the line is not UTF-8 text"
                    yield number, Bad(id=where, source=where, code="entry", cause=cause)
                    continue
                if isinstance(record, dict):
                    yield number, record
                else:
                    cause = "the line is not a JSON object"
                    yield number, Bad(id=where, source=where, code="entry", cause=cause)
    except (OSError, EOFError) as error:
        raise DataError(f"cannot read `{path}`: {reason(error)}") from error


def _number(record: dict[str, Any], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = record.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = min(value, MOST)  # whole numbers of JSON have no end
            return float(value) if value >= 0 else None
    return None
