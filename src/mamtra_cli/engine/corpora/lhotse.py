"""Lhotse manifests read as data: recordings with supervisions, or cuts. JSONL, gzipped or not.

A supervision is one clip of its recording. Only sources of type `file` are read: a manifest's
commands are never run and its addresses never fetched. Format: https://lhotse.readthedocs.io.
"""

from pathlib import Path
from typing import Any

from mamtra_cli.engine.corpora.clip import Bad, Clip, Entries
from mamtra_cli.engine.corpora.jsonl import MOST, records
from mamtra_cli.errors import DataError

ENDS = (".jsonl", ".jsonl.gz")
KINDS = ("recordings", "supervisions", "cuts")


def kind(path: Path) -> str:
    """Return which manifest a file name says it is; "" for none."""
    if not path.name.endswith(ENDS):
        return ""
    return next((word for word in KINDS if word in path.name), "")


def manifests(folder: Path) -> list[Path]:
    """Return the cuts and the supervisions of a folder."""
    return sorted(p for p in folder.glob("*.jsonl*") if kind(p) in ("cuts", "supervisions"))


def entries(files: list[Path]) -> Entries:
    """Yield the clips of cuts and supervisions; recordings are found beside supervisions."""
    for path in files:
        if kind(path) == "cuts":
            yield from _cuts(path)
        else:
            yield from _supervisions(path)


def _supervisions(path: Path) -> Entries:
    beside = path.with_name(path.name.replace("supervisions", "recordings"))
    if not beside.is_file():
        other = ".jsonl" if path.name.endswith(".gz") else ".jsonl.gz"
        beside = beside.with_name(beside.name.removesuffix(".gz").removesuffix(".jsonl") + other)
    if not beside.is_file():
        raise DataError(
            f"there are no recordings beside `{path}`", hint=f"put `{beside.name}` beside it"
        )
    recordings = {}
    for _, record in records(beside):
        if isinstance(record, Bad):
            yield record
        else:
            recordings[str(record.get("id"))] = record
    for number, record in records(path):
        if isinstance(record, Bad):
            yield record
            continue
        recording = recordings.get(str(record.get("recording_id")))
        yield _clip(record, recording, 0.0, path, f"{path.name}:{number}")


def _cuts(path: Path) -> Entries:
    for number, cut in records(path):
        where = f"{path.name}:{number}"
        if isinstance(cut, Bad):
            yield cut
            continue
        said = cut.get("supervisions")
        if cut.get("type") not in ("MonoCut", "DataCut") or not isinstance(said, list) or not said:
            cause = f"a {cut.get('type', 'nameless')} cut without supervisions is no utterance"
            yield Bad(id=str(cut.get("id", where)), source=where, code="entry", cause=cause)
            continue
        for one in said:
            if isinstance(one, dict):
                yield _clip(one, cut.get("recording"), _float(cut, "start"), path, where)


def _clip(
    said: dict[str, Any], recording: object, offset: float, manifest: Path, where: str
) -> Clip | Bad:
    id = str(said.get("id", where))
    text = said.get("text")
    if not isinstance(text, str):
        return Bad(id=id, source=where, code="no_text", cause="the supervision has no `text`")
    if not isinstance(recording, dict):
        cause = f"there is no recording `{said.get('recording_id')}`"
        return Bad(id=id, source=where, code="missing", cause=cause)
    sources = recording.get("sources")
    source = sources[0] if isinstance(sources, list) and len(sources) == 1 else None
    if not isinstance(source, dict) or source.get("type") != "file":
        what = source.get("type") if isinstance(source, dict) else "several or no sources"
        cause = f"only recordings of one file are read, not {what}"
        return Bad(id=id, source=where, code="missing", cause=cause)
    channel = said.get("channel", 0)
    channels = source.get("channels") or [0]
    start = offset + _float(said, "start")
    name = str(source.get("source"))
    return Clip(
        id=id,
        text=text,
        source=f"{Path(name).name}@{start:g}",
        audio=_find(name, manifest),
        start=start,
        seconds=_float(said, "duration") or None,
        channel=channels.index(channel) if channel in channels and len(channels) > 1 else None,
    )


def _find(name: str, manifest: Path) -> Path:
    """Find a file whose path is as it was where the manifest was made."""
    homes = [Path(), *manifest.resolve().parents]
    return next((home / name for home in homes[:4] if (home / name).is_file()), Path(name))


def _float(record: dict[str, Any], key: str) -> float:
    value = record.get(key, 0.0)
    return float(min(value, MOST)) if isinstance(value, int | float) and value >= 0 else 0.0
