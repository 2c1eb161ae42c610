"""Sound into files and pipes, chunk by chunk, resampled on the way; recording.py reads it.

WAV and raw samples are written here, other formats by libsndfile. A file appears under its name
only when it is whole; what is not finite is refused, never written. Rates and formats come as
arguments; nothing here knows models. WAV: https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE
"""

import contextlib
import os
import re
import shlex
import shutil
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.config import nearest, reason
from mamtra_cli.errors import AudioError, OutputError, UsageError
from mamtra_cli.publish import begin, end, settle

LISTENING_RATE = 16_000  # Hz: what recognisers and encoders of speech were made for
FORMATS = ("wav", "flac", "mp3", "opus")
RAW = "raw"
CODECS = {"flac": ("FLAC", "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS")}
RATES = {
    "opus": (8000, 12_000, 16_000, 24_000, 48_000),
    "mp3": (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
}
ALIASES = {"ogg": "opus", "wave": "wav", "pcm": RAW, "s16": RAW}
OPEN_ENDED = 0xFFFF_FFFF  # data size of a WAV whose length is not known yet
FULL_SCALE = 32_767

STREAM = re.compile(r"(?:/dev/fd|/proc/self/fd)/(\d{1,6})|/dev/(stdout|stderr)")
STANDARD = {"stdout": 1, "stderr": 2}

Samples = NDArray[np.float32]


def choose_format(name: str, path: str) -> str:
    """Return the format asked for, or the one of the file name; `wav` where neither says."""
    asked = name or Path(path).suffix.removeprefix(".")
    if not asked or (path == "-" and not name):
        return "wav"
    chosen = ALIASES.get(asked.lower(), asked.lower())
    if chosen in (*FORMATS, RAW):
        return chosen
    near = nearest(asked, FORMATS)
    known = f"did you mean `{near}`?" if near else f"one of: {', '.join(FORMATS)}"
    way = "" if name else " (or name it with `--format`)"
    raise UsageError(f"unknown audio format `{asked}`", f"{known}{way}")


def check_rate(format: str, rate: int) -> None:
    """Fail where a format has no such sample rate."""
    rates = RATES.get(format, (rate,))
    if rate not in rates:
        raise UsageError(
            f"{format} has no sample rate of {rate}", f"one of: {', '.join(map(str, rates))}"
        )


def pcm16(samples: Samples) -> bytes:
    """Return samples (S,) in -1..1 as 16-bit little-endian; louder ones are clipped.

    Raises:
        AudioError: a sample is not finite.
    """
    if not bool(np.isfinite(samples).all()):
        raise AudioError("refused to write audio that is not finite")
    return (np.clip(samples, -1, 1) * FULL_SCALE).round().astype("<i2").tobytes()


def wav_header(sample_rate: int, tags: Mapping[str, str], data: int | None) -> bytes:
    """Return everything of a mono 16-bit WAV before its samples.

    Args:
        sample_rate: samples a second.
        tags: four-letter INFO names (`ISFT`, `ICMT`) to text.
        data: bytes of samples; None where not known yet.
    """
    info = b""
    for name, text in tags.items():
        value = text.encode("utf-8") + b"\0"
        info += (
            name.encode("ascii") + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
        )
    listed = b"LIST" + struct.pack("<I", len(info) + 4) + b"INFO" + info if info else b""
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    size = OPEN_ENDED if data is None else data
    whole = OPEN_ENDED if data is None else 4 + len(form) + len(listed) + 8 + data
    riff = b"RIFF" + struct.pack("<I", min(whole, OPEN_ENDED)) + b"WAVE"
    return riff + form + listed + b"data" + struct.pack("<I", min(size, OPEN_ENDED))


class Spool:
    """A temporary file that an encoder of C writes; its calls cannot raise, so `check` does."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write, or remember why not."""
        try:
            return self.file.write(data)
        except OSError as error:
            self.failure = self.failure or error
            return len(data)

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place, which may write what is held back."""
        try:
            return self.file.seek(place, whence)
        except OSError as error:
            self.failure = self.failure or error
            return 0

    def tell(self) -> int:
        """The place."""
        return self.file.tell()

    def read(self, count: int = -1) -> bytes:
        """Read from the place."""
        return self.file.read(count)

    def check(self) -> None:
        """Raise what went wrong.

        Raises:
            OSError: no space, or the like.
        """
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Let the file go; what it still holds back is of no use."""
        with contextlib.suppress(OSError):
            self.file.close()


class AudioWriter:
    """Writes one clip as it is made; use as a context manager.

    Args:
        target: file path, or an open binary stream (a pipe).
        sample_rate: of the samples given.
        format: one of `FORMATS`, or `raw` for headerless 16-bit samples.
        output_rate: rate to write; None for the given one.
        tags: INFO names to text, kept where the format has a place for them.
        force: replace an existing file.

    Raises:
        OutputError: the file exists, or cannot be written.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        *,
        sample_rate: int,
        format: str = "wav",
        output_rate: int | None = None,
        tags: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> None:
        self.format = format
        self.rate = output_rate or sample_rate
        check_rate(format, self.rate)
        self.tags = dict(tags or {})
        self.samples = 0
        self.path: Path | None = None
        self.partial: Path | None = None
        self._resampler = _resampler(sample_rate, self.rate)
        self._encoder: Any = None
        self._spool: Any = None
        if isinstance(target, Path):
            check_output(target, force=force)
            self.path = target
        self._replace = force
        self._stream: BinaryIO | None = None if isinstance(target, Path) else target

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def _open(self) -> None:
        with _output_errors(self.path):
            if self._stream is None:
                assert self.path is not None
                number = descriptor(self.path)
                if number is not None:
                    self._stream = os.fdopen(os.dup(number), "wb")
                elif self.path.exists() and not self.path.is_file():
                    self._stream = self.path.open("wb")  # a device or a named pipe
                else:
                    self.partial = begin(self.path)
                    self._stream = self.partial.open("wb")
            self._begin(self._stream)

    def _begin(self, stream: BinaryIO) -> None:
        if self.format == "wav":
            stream.write(wav_header(self.rate, self.tags, None))
        elif self.format in CODECS:
            import soundfile

            container, subtype = CODECS[self.format]
            # The encoder goes back to patch its header, which a pipe does not allow.
            self._spool = Spool()
            self._encoder = soundfile.SoundFile(
                self._spool, "w", self.rate, 1, subtype=subtype, format=container
            )
            for name, value in (("software", "ISFT"), ("comment", "ICMT")):
                if value in self.tags:
                    setattr(self._encoder, name, self.tags[value])

    def write(self, samples: Samples) -> None:
        """Write samples (S,) float32."""
        if not bool(np.isfinite(samples).all()):
            raise AudioError("refused to write audio that is not finite")
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples))
        self._put(samples)

    def _put(self, samples: Samples) -> None:
        assert self._stream is not None
        self.samples += len(samples)
        with _output_errors(self.path):
            if self._encoder is not None:
                self._encoder.write(np.clip(samples, -1, 1))
                self._spool.check()
            else:
                self._stream.write(pcm16(samples))
                self._stream.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                with _output_errors(self.path):
                    self._finish()
        finally:
            self._close()

    def _finish(self) -> None:
        assert self._stream is not None
        if self._resampler is not None:
            self._put(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        if self._encoder is not None:
            self._encoder.close()
            self._spool.check()
            self._spool.seek(0)
            shutil.copyfileobj(self._spool.file, self._stream)
        elif self.format == "wav" and _can_seek(self._stream):
            end = self._stream.tell()
            header = wav_header(self.rate, self.tags, 2 * self.samples)
            self._stream.seek(end - 2 * self.samples - len(header))
            self._stream.write(header)
            self._stream.seek(end)
        self._stream.flush()
        if self.partial is not None:
            assert self.path is not None
            os.fsync(self._stream.fileno())
            self._stream.close()
            settle(self.partial, self.path, replace=self._replace)

    def _close(self) -> None:
        if self._spool is not None:
            with contextlib.suppress(Exception):
                self._encoder.close()
            self._spool.close()
        if self.path is not None and self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
        if self.partial is not None:
            end(self.partial)


def descriptor(path: Path) -> int | None:
    """Return the number of an open stream that a path such as `/dev/fd/3` stands for, if any."""
    match = STREAM.fullmatch(str(path))
    if match is None:
        return None
    return STANDARD[match[2]] if match[2] else int(match[1])


def check_output(path: Path, *, force: bool) -> None:
    """Fail where writing a file would replace another without `force`, or cannot work."""
    number = descriptor(path)
    if number is not None:
        with _output_errors(path):
            os.fstat(number)
        return
    if path.is_dir():
        raise OutputError(f"output `{path}` is a folder", "name a file in it")
    if path.is_file() and not force:
        raise OutputError(f"output `{path}` exists", "name another file, or add `--force`")
    if not path.parent.is_dir():
        raise OutputError(
            f"there is no folder `{path.parent}`", f"mkdir -p {shlex.quote(str(path.parent))}"
        )
    if not path.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"cannot write `{path}`: folder `{path.parent}` takes no new files",
            "choose a folder with space that you own",
        )


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """Return samples (S,) at another rate, by soxr at high quality."""
    if rate == wanted:
        return samples
    import soxr

    changed: Samples = soxr.resample(samples, rate, wanted).astype(np.float32)
    return changed


def _resampler(rate: int, wanted: int) -> Any:
    if rate == wanted:
        return None
    import soxr

    return soxr.ResampleStream(rate, wanted, 1, dtype="float32")


def _can_seek(stream: BinaryIO) -> bool:
    try:
        return stream.seekable()
    except (AttributeError, ValueError):
        return False


@contextlib.contextmanager
def _output_errors(path: Path | None) -> Any:
    """Turn an operating-system error into an `OutputError`; a closed pipe stays what it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write `{path or 'stdout'}`: {reason(error)}",
            "choose a folder with space that you own",
        ) from error
