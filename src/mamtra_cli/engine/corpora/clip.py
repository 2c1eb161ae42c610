"""What a corpus holds: clips with their texts, and entries that cannot be used, with the cause.

A clip's sound is read when it is asked for, so listing a corpus reads no audio. Knows files and
bytes; nothing of models. Readers of one kind of corpus each are beside this file.
"""

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch

from mamtra_cli.audio import Samples
from mamtra_cli.config import reason
from mamtra_cli.errors import AudioError
from mamtra_cli.model_rate import to_rate
from mamtra_cli.recording import mix_down

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aiff", ".aif", ".au", ".m4a")
TEXT_KEYS = (
    "text",
    "text_normalized",
    "normalized_text",
    "transcription",
    "transcript",
    "sentence",
    "raw_text",
)


@dataclass(frozen=True, kw_only=True)
class Bad:
    """An entry that cannot be used.

    Attributes:
        id, source: see `Clip`.
        code: kind of the cause, one word.
        cause: the cause in words.
        sha256: of what was read, where the cause cannot change unless that does.
    """

    id: str
    source: str
    code: str
    cause: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A stretch of sound and what is said in it.

    Attributes:
        id: unique in its corpus.
        text: what is said.
        source: file (and member) it comes from, relative to the corpus.
        audio: a file, or a function that returns the bytes of one.
        start: seconds into the file.
        seconds: how long; `None` for all of it.
        channel: of the file; `None` mixes all.
    """

    id: str
    text: str
    source: str
    audio: Path | Callable[[], bytes]
    start: float = 0.0
    seconds: float | None = None
    channel: int | None = None

    def sha256(self) -> str:
        """Hash audio, text and place: what a row depends on.

        Raises:
            AudioError: the audio cannot be read.
        """
        sound = _file_hash(*_stamp(self.audio)) if isinstance(self.audio, Path) else ""
        joined = hashlib.sha256(sound.encode())
        if not isinstance(self.audio, Path):
            joined.update(hashlib.sha256(self.audio()).hexdigest().encode())
        place = f"\0{self.start!r}\0{self.seconds!r}\0{self.channel!r}\0"
        joined.update(place.encode() + self.text.encode("utf-8", "surrogatepass"))
        return joined.hexdigest()

    def load(self, sample_rate: int, longest: float) -> Samples:
        """Read as mono float32 (S,) at a sample rate.

        Args:
            sample_rate: of the result.
            longest: seconds from which a clip is refused before it is read.

        Raises:
            AudioError: there is no audio, it is empty, too long, or not finite.
        """
        import soundfile

        name = self.source
        try:
            with soundfile.SoundFile(self._source()) as file:
                rate = int(file.samplerate)
                # A list may say anything: 1e308 seconds times a rate is no number of samples.
                whole = file.frames / rate
                first = min(round(min(self.start, whole) * rate), file.frames)
                count = file.frames - first
                if self.seconds is not None:
                    count = min(count, round(min(self.seconds, whole) * rate))
                if count > longest * rate:
                    raise TooLongError(f"`{name}` takes {count / rate:.1f} s")
                file.seek(first)
                samples = file.read(count, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError) as error:
            raise AudioError(f"cannot read `{name}`: {reason(error)}") from error
        if self.channel is not None and self.channel >= samples.shape[1]:
            raise AudioError(f"`{name}` has no channel {self.channel}")
        mono = mix_down(samples) if self.channel is None else samples[:, self.channel]
        if not len(mono):
            raise AudioError(f"`{name}` holds no samples")
        if not bool(np.isfinite(mono).all()):
            raise AudioError(f"`{name}` holds samples that are not finite")
        wave = torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32))
        with torch.inference_mode():
            changed: Samples = to_rate(wave, rate, sample_rate).numpy()
        return changed

    def _source(self) -> Path | bytes | io.BytesIO:
        """What soundfile opens; a name that is no UTF-8 it takes as bytes only."""
        if not isinstance(self.audio, Path):
            return io.BytesIO(self.audio())
        return self.audio if is_whole(str(self.audio)) else os.fsencode(self.audio)


@dataclass(frozen=True)
class Held:
    """Bytes that are there already, as a function."""

    data: bytes

    def __call__(self) -> bytes:
        """Return them."""
        return self.data


class TooLongError(AudioError):
    """A clip that is longer than the caller takes."""


Entries = Iterator[Clip | Bad]


class Named(Protocol):
    """An entry that can be used."""

    @property
    def id(self) -> str:
        """Unique among entries."""

    @property
    def source(self) -> str:
        """Where it comes from."""


E = TypeVar("E", bound=Named)


def once(entries: Iterable[E | Bad]) -> Iterator[E | Bad]:
    """Yield entries, those that repeat the id of an earlier one as bad."""
    seen: set[str] = set()
    for entry in entries:
        if isinstance(entry, Bad):
            yield entry
        elif entry.id in seen:
            cause = "an earlier entry has this id"
            yield Bad(id=entry.id, source=entry.source, code="twice", cause=cause)
        else:
            seen.add(entry.id)
            yield entry


def writable(name: str) -> str:
    """Return a name that can be written as UTF-8; bytes of a file name that are none as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def is_whole(text: str) -> bool:
    """Whether a text holds whole characters: JSON can escape half of one (a lone surrogate)."""
    return writable(text) == text


def name_of(path: str) -> str:
    """Name a clip by its path, without the suffix."""
    return str(Path(path).with_suffix("")) if Path(path).name else path


def find_text(record: dict[str, object], key: str = "") -> str | None:
    """Return the text of a record: of `key`, or of the first usual name that it has."""
    for name in (key,) if key else TEXT_KEYS:
        value = record.get(name)
        if isinstance(value, str):
            return value
    return None


def _stamp(path: Path) -> tuple[Path, int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # a name with a zero byte is no name
        raise AudioError(f"there is no audio file `{path.name}`") from error
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"`{path.name}` is no file")
    return path, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def _file_hash(path: Path, size: int, modified: int) -> str:
    """Hash a file; many clips of one recording hash it once."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"cannot read `{path.name}`: {reason(error)}") from error
