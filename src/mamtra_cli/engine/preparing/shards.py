"""Prepared speech on disk: Parquet shards of text ids, speech tokens and speaker vectors.

A shard is one file; a folder of shards is a corpus, and corpora are merged by putting their files
into one folder. Each shard states which model's tokenizer and front end made its ids, by hash: ids
of another tokenizer look the same and mean something else. Knows files, not audio;
shard_writer.py writes what is read here, both by pyarrow (extra `train`).
Format: https://parquet.apache.org.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.config import from_dict, parse_json
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import DataError, MissingDependencyError, UsageError
from mamtra_cli.families.lessons import Example

FORMAT_VERSION = 2
KEY = b"mamtra"
SUFFIX = ".parquet"
REDO = "prepare the data again with this model, `mamtra prepare INPUT -o DIR --model MODEL`"
REMAKE = "delete it and run the same `mamtra prepare` again: only its rows are redone"
HASH = re.compile("[0-9a-f]{64}")
COLUMNS = ("id", "text", "text_ids", "speech_tokens", "speaker", "seconds", "source", "sha256")


@dataclass(frozen=True, kw_only=True)
class ModelHashes:
    """SHA-256 of what turns speech and text into ids; "" where the model has no such file."""

    speech_tokenizer: str = ""
    front_end: str = ""


@dataclass(frozen=True, kw_only=True)
class ShardHeader:
    """What a shard says of itself.

    Attributes:
        speech_tokenizer, front_end: see `ModelHashes`.
        frame_rate: frames a second.
        codebooks: ids of a frame; the column `speech_tokens` has one frame after the other.
        speech_vocab, text_vocab: sizes that ids stay below.
        speaker_dim: numbers of a speaker vector.
        synthetic: whether the tokens are the model's own speech.
        made: seed and options of what was made, for people.
    """

    format_version: int = FORMAT_VERSION
    model: str
    family: str
    speech_tokenizer: str
    front_end: str
    frame_rate: float
    codebooks: int = 1
    speech_vocab: int
    text_vocab: int
    speaker_dim: int = 192
    synthetic: bool = False
    made: dict[str, Any] = field(default_factory=dict)


def upgrade_1_to_2(header: dict[str, Any]) -> dict[str, Any]:
    """Format 1 knew frames of one id only, by the name of tokens."""
    kept = {name: value for name, value in header.items() if name != "token_rate"}
    return {**kept, "frame_rate": header["token_rate"], "codebooks": 1}


Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
UPGRADES: tuple[Upgrade, ...] = (upgrade_1_to_2,)  # UPGRADES[n - 1] turns format n into n + 1


def model_hashes(engine: Engine) -> ModelHashes:
    """Hash the files that turn speech and text into ids."""
    return ModelHashes(
        speech_tokenizer=engine.fingerprint("speech_tokenizer"),
        front_end=engine.fingerprint("front_end"),
    )


def header_of(engine: Engine, *, synthetic: bool = False, **made: Any) -> ShardHeader:
    """Return the header of shards that a model makes."""
    facts, hashes = engine.facts, model_hashes(engine)
    return ShardHeader(
        model=Path(engine.name).name if Path(engine.name).is_dir() else engine.name,
        family=engine.family.name,
        speech_tokenizer=hashes.speech_tokenizer,
        front_end=hashes.front_end,
        frame_rate=facts.frame_rate,
        codebooks=facts.codebooks,
        speech_vocab=facts.codes,
        text_vocab=facts.text_ids,
        speaker_dim=facts.speaker_dim,
        synthetic=synthetic,
        made=made,
    )


def list_shards(folder: Path) -> list[Path]:
    """Return the shards of a folder by name; a shard itself is a folder of one.

    Raises:
        DataError: there is none.
    """
    if folder.is_file() and folder.suffix == SUFFIX:
        return [folder]
    found = sorted(p for p in folder.glob(f"*{SUFFIX}") if not p.name.startswith("."))
    if not found:
        raise DataError(
            f"`{folder}` holds no prepared shards (*{SUFFIX})",
            hint=f"make them with `mamtra prepare INPUT -o {folder}`",
        )
    return found


def read_header(path: Path) -> ShardHeader:
    """Read what a shard says of itself.

    Raises:
        DataError: the file is damaged, or no shard of ours, or of a newer format.
    """
    _, parquet = arrow_parts()
    with shard_errors(path):
        metadata = parquet.read_schema(path).metadata or {}
    if KEY not in metadata:
        raise DataError(
            f"`{path}` was not written by `mamtra prepare`",
            hint=f"prepare it first, `mamtra prepare {path.parent} -o DIR`",
        )
    try:
        data = parse_json(metadata[KEY])
        version = data["format_version"]
        if version > FORMAT_VERSION:
            raise DataError(
                f"shard `{path}` was written by format {version}; this version reads up to "
                f"{FORMAT_VERSION}",
                hint="upgrade with `pip install -U mamtra-cli`",
            )
        for upgrade in UPGRADES[version - 1 :]:
            data = upgrade(data)
        data["format_version"] = FORMAT_VERSION
        return from_dict(ShardHeader, data, f"the header of `{path}`")
    except (ValueError, KeyError, TypeError, UsageError) as error:
        raise DataError(f"the header of shard `{path}` is damaged: {error}") from error


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard as dictionaries, a row group at a time.

    Ids are int32 arrays and speaker a float32 array or `None`.
    """
    _, parquet = arrow_parts()
    with shard_errors(path), parquet.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=list(columns) if columns else None)
            check_columns(table, columns or COLUMNS, path)
            arrays = {name: _values(table.column(name)) for name in table.column_names}
            for index in range(table.num_rows):
                yield {name: values[index] for name, values in arrays.items()}


def check_columns(table: Any, wanted: Sequence[str], path: Path) -> None:
    """Refuse a table of a shard in which a column is missing, of another type, or not whole.

    Raises:
        DataError: it names the shard and the column.
    """
    arrow, _ = arrow_parts()
    import pyarrow.compute as compute

    for name in wanted:
        if name not in table.column_names:
            raise DataError(f"shard `{path}` has no column `{name}`", hint=REMAKE)
        column = table[name]
        if not _fits(name, column.type, arrow.types):
            raise DataError(f"column `{name}` of shard `{path}` holds {column.type}", hint=REMAKE)
        ids = name in ("text_ids", "speech_tokens")
        missing = name != "speaker" and column.null_count > 0
        if missing or (ids and compute.list_flatten(column).null_count):
            raise DataError(f"column `{name}` of shard `{path}` lacks values", hint=REMAKE)
        if name == "sha256" and not all(map(HASH.fullmatch, column.to_pylist())):
            raise DataError(f"column `{name}` of shard `{path}` holds no hashes", hint=REMAKE)
        if name == "seconds" and not np.isfinite(np.asarray(column, np.float64)).all():
            raise DataError(f"column `{name}` of shard `{path}` is not finite", hint=REMAKE)


def _fits(name: str, kind: Any, types: Any) -> bool:
    """Whether an Arrow type is that of a column."""
    listed = types.is_list(kind) or types.is_large_list(kind)
    if name in ("text_ids", "speech_tokens"):
        return bool(listed and types.is_integer(kind.value_type))
    if name == "speaker":
        fixed = types.is_fixed_size_list(kind)
        return bool((listed or fixed) and types.is_floating(kind.value_type))
    if name == "seconds":
        return bool(types.is_floating(kind))
    return bool(types.is_string(kind) or types.is_large_string(kind))


def iterate_folder(
    folder: Path,
    *,
    speech_tokenizer: str | None = None,
    front_end: str | None = None,
    text_vocab: int,
    speech_vocab: int,
    codebooks: int = 1,
    speaker_dim: int = 0,
) -> Iterator[Example]:
    """Yield the examples of a folder of shards; see `read_folder`."""
    for path in list_shards(folder):
        header = read_header(path)
        check_header(header, path, speech_tokenizer=speech_tokenizer, front_end=front_end)
        if header.codebooks != codebooks:
            raise DataError(
                f"shard `{path}` holds frames of {header.codebooks} ids, the model's have "
                f"{codebooks}",
                hint=REDO,
            )
        columns = ["id", "text_ids", "speech_tokens"]
        if speaker_dim and header.speaker_dim == speaker_dim:
            columns.append("speaker")
        for row in read_rows(path, columns):
            voice = row.get("speaker")
            where = f"row `{row['id']}` of shard `{path}`"
            _check_ids(row["text_ids"], text_vocab, "text id", where)
            _check_ids(row["speech_tokens"], speech_vocab, "speech token", where)
            yield Example(
                id=row["id"],
                text_ids=tuple(row["text_ids"].tolist()),
                tokens=tuple(row["speech_tokens"].tolist()),
                codebooks=codebooks,
                voice=() if voice is None else tuple(voice.tolist()),
            )


def read_folder(
    folder: Path,
    *,
    speech_tokenizer: str | None = None,
    front_end: str | None = None,
    text_vocab: int,
    speech_vocab: int,
    codebooks: int = 1,
    speaker_dim: int = 0,
) -> list[Example]:
    """Read a folder of shards, or one shard, whole.

    Args:
        folder: as `mamtra prepare` writes it.
        speech_tokenizer, front_end: hashes of the model that will read the ids (`model_hashes`);
            `None` does not ask, and a side that has no such file ("") is not compared.
        text_vocab, speech_vocab: sizes that ids must stay below.
        codebooks: ids of one frame.
        speaker_dim: numbers of a speaker vector, 0 where none are wanted.

    Raises:
        DataError: no shards, a damaged one (named), or one made with another tokenizer.
    """
    return list(
        iterate_folder(
            folder,
            speech_tokenizer=speech_tokenizer,
            front_end=front_end,
            text_vocab=text_vocab,
            speech_vocab=speech_vocab,
            codebooks=codebooks,
            speaker_dim=speaker_dim,
        )
    )


def check_header(
    header: ShardHeader,
    path: Path,
    *,
    speech_tokenizer: str | None = None,
    front_end: str | None = None,
) -> None:
    """Refuse a shard whose ids another tokenizer or front end made."""
    pairs = (
        ("speech tokenizer", header.speech_tokenizer, speech_tokenizer),
        ("text front end", header.front_end, front_end),
    )
    for what, theirs, ours in pairs:
        if theirs and ours and theirs != ours:
            raise DataError(
                f"shard `{path}` was made with the {what} {theirs[:12]} of `{header.model}`, "
                f"the model has {ours[:12]}",
                hint=REDO,
            )


class shard_errors:
    """Turns what pyarrow says of a damaged file into a `DataError` that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        arrow, _ = arrow_parts()
        if isinstance(error, arrow.ArrowException | OSError | LookupError | ValueError | TypeError):
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"shard `{self.path}` cannot be read: {first}",
                hint=REMAKE,
            ) from error


def _values(column: Any) -> Sequence[Any]:
    """Return a column as a sequence: arrays where its values are lists."""
    arrow, _ = arrow_parts()
    if not arrow.types.is_list(column.type) and not arrow.types.is_fixed_size_list(column.type):
        found: list[Any] = column.to_pylist()
        return found
    return [
        None if not value.is_valid else value.values.to_numpy(zero_copy_only=False)
        for value in column
    ]


def _check_ids(ids: NDArray[np.int32], size: int, what: str, where: str) -> None:
    """Refuse ids that are missing, none, or outside 0..size-1."""
    if ids is None or not len(ids):
        raise DataError(f"{where} has no {what}s")
    wrong = ids[(ids < 0) | (ids >= size)]
    if len(wrong):
        raise DataError(
            f"{what} {wrong[0]} in {where} is outside 0..{size - 1}",
            hint="the data may be made for another model",
        )


def arrow_parts() -> tuple[Any, Any]:
    """Import pyarrow and its Parquet part."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingDependencyError(
            "prepared data need the package pyarrow", "pip install 'mamtra-cli[train]'"
        ) from None
    return pyarrow, parquet
