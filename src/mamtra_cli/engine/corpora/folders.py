"""Folders of audio files: LibriTTS and LibriTTS-R, LJSpeech, audio with texts beside, CSV lists.

LibriTTS has `<name>.normalized.txt` and `<name>.original.txt` beside `<name>.wav`; LJSpeech has
`metadata.csv` (name|text|normalised text) and `wavs/`; any other folder has a `.txt` or `.lab`
beside each clip. What has sound without text, or text without sound, is told.
"""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from mamtra_cli.engine.corpora.clip import SUFFIXES, Bad, Clip, Entries, find_text, name_of
from mamtra_cli.errors import DataError
from mamtra_cli.text.encoding import read_text

NORMALIZED, ORIGINAL = ".normalized.txt", ".original.txt"
BESIDE = (".txt", ".lab")
METADATA = "metadata.csv"


def libritts(folder: Path, *, text_key: str = "") -> Entries:
    """Yield LibriTTS clips; `text_key` is `normalized` (the default) or `original`."""
    if text_key not in ("", "normalized", "original"):
        raise DataError(f"LibriTTS has no text `{text_key}`", hint="use `normalized` or `original`")
    wanted = ORIGINAL if text_key == "original" else NORMALIZED
    texts = (wanted, *(() if text_key else (ORIGINAL,)))
    yield from _beside(folder, texts, ignored=(NORMALIZED, ORIGINAL))


def plain(folder: Path) -> Entries:
    """Yield the clips of any folder with texts beside."""
    yield from _beside(folder, BESIDE)


def ljspeech(folder: Path, *, text_key: str = "") -> Entries:
    """Yield LJSpeech clips; `text_key` is `normalized` (the default) or `raw`."""
    if text_key not in ("", "normalized", "raw"):
        raise DataError(f"LJSpeech has no text `{text_key}`", hint="use `normalized` or `raw`")
    home = folder / "wavs" if (folder / "wavs").is_dir() else folder
    for number, line in enumerate(_lines(folder / METADATA), 1):
        if not line.strip():
            continue
        name, *texts = line.split("|")
        name = name.strip()
        where = f"{METADATA}:{number}"
        if not name or not texts:
            cause = "the line is not `name|text|normalised text`"
            yield Bad(id=where, source=where, code="entry", cause=cause)
            continue
        text = texts[0] if text_key == "raw" or not texts[-1].strip() else texts[-1]
        audio = _audio(home / name)
        if audio is None:
            cause = f"there is no audio `{name}` in `{home.name}`"
            yield Bad(id=name, source=where, code="missing", cause=cause)
            continue
        source = audio.relative_to(folder).as_posix()
        yield Clip(id=name, text=text.strip(), source=source, audio=audio)


def table(path: Path, *, text_key: str = "") -> Entries:
    """Yield the rows of a CSV or TSV file with a header: `file_name` (or `path`) and a text.

    The columns of a CSV file are parted by `;` where its header has more of them than commas.

    In TSV a quotation mark is one of the text, as Common Voice writes it: taken for a bracket, an
    odd one would swallow the rows that follow.
    """
    text = _read(path)
    file, plain = io.StringIO(text, newline=""), path.suffix == ".tsv"
    header = text.partition("\n")[0]
    comma = ";" if header.count(";") > header.count(",") else ","
    rows: csv.DictReader[str] = csv.DictReader(
        file,
        delimiter="\t" if plain else comma,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
    )
    try:
        for row in rows:
            where = f"{path.name}:{rows.line_num}"
            name = next((row[k] for k in ("file_name", "audio", "path") if row.get(k)), None)
            spoken = find_text(dict(row), text_key)
            if name is None or spoken is None:
                lacking = "`file_name`" if name is None else f"`{text_key or 'text'}`"
                columns = ", ".join(f"`{column}`" for column in rows.fieldnames or ())
                cause = f"the row has no {lacking}; columns: {columns}"
                yield Bad(id=where, source=where, code="entry", cause=cause)
                continue
            home = path.parent
            # Common Voice keeps the clips of `train.tsv` in `clips/`.
            beside = home / name if (home / name).exists() else home / "clips" / name
            audio = beside if beside.exists() else home / name
            source = Path(name).name if Path(name).is_absolute() else name
            yield Clip(id=name_of(name), text=spoken, source=source, audio=audio)
    except csv.Error as error:
        raise DataError(f"cannot read `{path}`: {error}") from error


def _beside(folder: Path, texts: tuple[str, ...], ignored: tuple[str, ...] = ()) -> Entries:
    """Yield every audio file with the first of `texts` beside it, by name."""
    for home, names in _walk(folder):
        there = set(names)
        used = set()
        for name in names:
            audio = home / name
            if audio.suffix.lower() not in SUFFIXES:
                continue
            source = audio.relative_to(folder).as_posix()
            id = audio.relative_to(folder).with_suffix("").as_posix()
            text_name = next((audio.stem + s for s in texts if audio.stem + s in there), None)
            used |= {audio.stem + suffix for suffix in (*texts, *ignored)}
            if text_name is None:
                cause = f"there is no {' or '.join(audio.stem + s for s in texts)} beside it"
                yield Bad(id=id, source=source, code="no_text", cause=cause)
                continue
            try:
                text = _read(home / text_name).strip()
            except DataError as error:
                yield Bad(id=id, source=source, code="no_text", cause=error.message)
                continue
            yield Clip(id=id, text=text, source=source, audio=audio)
        if not used:
            continue  # no audio here: a licence or a list of speakers
        for name in names:
            alone = next((name.removesuffix(s) for s in texts if name.endswith(s)), None)
            if alone is not None and name not in used:
                path = (home / name).relative_to(folder)
                cause = "there is no audio file of this name"
                id = path.with_name(alone).as_posix()
                yield Bad(id=id, source=path.as_posix(), code="missing", cause=cause)


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder with the sorted names of its visible files, in order."""
    for home, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(home), sorted(name for name in names if not name.startswith("."))


def _audio(stem: Path) -> Path | None:
    """Return the audio file of a name that may lack its suffix."""
    if stem.suffix.lower() in SUFFIXES and stem.is_file():
        return stem
    for suffix in SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return None


def _lines(path: Path) -> list[str]:
    """Return lines; characters that only some programs end a line at stay in it."""
    return _read(path).replace("\r\n", "\n").split("\n")


def _read(path: Path) -> str:
    return read_text(path, absent=DataError, foreign=DataError)
