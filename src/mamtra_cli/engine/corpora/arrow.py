"""Datasets of the Hugging Face Hub: Parquet or Arrow files whose audio column holds bytes.

Reads the files as they are, without the package `datasets`: an audio column is a struct of
`bytes` and `path`, or plain bytes. A row is named by its `id`, else by its file and number.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamtra_cli.engine.corpora.clip import TEXT_KEYS, Bad, Clip, Entries, Held
from mamtra_cli.engine.preparing.shards import arrow_parts
from mamtra_cli.errors import DataError
from mamtra_cli.part import Part

AUDIO = ("audio", "speech", "wav", "mp3", "flac")
BATCH = 16


def entries(
    root: Path, files: list[Path], *, part: Part, text_key: str = "", audio_key: str = ""
) -> Entries:
    """Yield the rows of some files.

    Args:
        root: what names are relative to.
        files: Parquet and Arrow files.
        part: only its rows are read in full.
        text_key, audio_key: columns; "" finds them by their usual names.
    """
    for path in files:
        name = path.relative_to(root).as_posix()
        try:
            yield from _file(path, name, part, text_key, audio_key)
        except _damage() as error:
            cause = f"the file cannot be read on: {_first_line(error)}"
            yield Bad(id=name, source=name, code="unreadable", cause=cause)


def _file(path: Path, name: str, part: Part, text_key: str, audio_key: str) -> Entries:
    number = 0
    for batch in _batches(path):
        names = batch.schema.names
        audio_name = _column(names, audio_key, AUDIO, "audio", name)
        text_name = _column(names, text_key, TEXT_KEYS, "text", name)
        ids = batch.column("id").to_pylist() if "id" in names else [None] * batch.num_rows
        texts, sounds = batch.column(text_name).to_pylist(), batch.column(audio_name)
        for index, text in enumerate(texts):
            source = f"{name}#{number}"
            id = str(ids[index]) if ids[index] not in (None, "") else source
            number += 1
            if not part.takes(id):
                continue
            sound = sounds[index].as_py()
            struct = sound if isinstance(sound, dict) else {"bytes": sound}
            data, path_there = struct.get("bytes"), struct.get("path")
            if not isinstance(text, str):
                yield Bad(id=id, source=source, code="no_text", cause=f"`{text_name}` is no text")
            elif isinstance(data, bytes) and data:
                yield Clip(id=id, text=text, source=source, audio=Held(data))
            elif path_there and (path.parent / path_there).is_file():
                yield Clip(id=id, text=text, source=source, audio=path.parent / path_there)
            else:
                cause = f"`{audio_name}` holds no bytes" + (f" of {path_there}" * bool(path_there))
                yield Bad(id=id, source=source, code="missing", cause=cause)


def _batches(path: Path) -> Iterator[Any]:
    arrow, parquet = arrow_parts()
    if path.suffix == ".parquet":
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=BATCH)
        return
    with arrow.memory_map(str(path)) as mapped:
        try:
            reader = arrow.ipc.open_stream(mapped)
        except arrow.ArrowInvalid:
            mapped.seek(0)
            reader = arrow.ipc.open_file(mapped)
            reader = (reader.get_batch(i) for i in range(reader.num_record_batches))
        for batch in reader:
            for start in range(0, batch.num_rows, BATCH):
                yield batch.slice(start, BATCH)


def _column(names: list[str], asked: str, usual: tuple[str, ...], what: str, name: str) -> str:
    found = next((n for n in ((asked,) if asked else usual) if n in names), None)
    if found is None:
        option = f"`--{what}-key`"
        raise DataError(
            f"`{name}` has no column `{asked}`" if asked else f"`{name}` has no {what} column",
            hint=f"name one of its columns with {option}: {', '.join(names)}",
        )
    return found


def _damage() -> tuple[type[BaseException], ...]:
    arrow, _ = arrow_parts()
    return arrow.ArrowException, OSError


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
