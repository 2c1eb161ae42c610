"""Sound as bytes while it is made: WAV, raw samples, FLAC, MP3, Opus; AAC where ffmpeg is.

MP3 and Opus go out as they are made. FLAC is held back until it is whole: its header says how long
it is, and readers that trust it fail on a stream. Knows no HTTP.
"""

import contextlib
import io
import shutil
import subprocess
import threading
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np

from mamtra_cli.audio import CODECS, RATES, Samples, pcm16, wav_header
from mamtra_cli.errors import MissingDependencyError, UsageError

MEDIA = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "f32": "audio/pcm; encoding=float32",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "aac": "audio/aac",
}
READ_SIZE = 16_384


class StreamEncoder(Protocol):
    """Samples in, bytes out."""

    def push(self, samples: Samples) -> bytes:
        """Encode (S,) float32; what is complete comes back, often nothing."""
        ...

    def finish(self) -> bytes:
        """The rest."""
        ...

    def abandon(self) -> None:
        """Let go of everything; nothing more is wanted. May follow `finish`."""
        ...


def check_stream_format(name: str, rate: int) -> str:
    """The format of that name, if it can be made here at that rate.

    Raises:
        UsageError: there is no such format, or it lacks the rate.
        MissingDependencyError: it needs ffmpeg, which is not here.
    """
    if name not in MEDIA:
        raise UsageError(f"unknown audio format `{name}`", f"one of: {', '.join(MEDIA)}")
    if name == "aac" and shutil.which("ffmpeg") is None:
        raise MissingDependencyError(
            "aac needs the program ffmpeg, which is not here", "ask for mp3, opus, flac or wav"
        )
    if rate not in RATES.get(name, (rate,)):
        raise UsageError(f"{name} has no sample rate of {rate}", "ask for wav or flac")
    return name


def open_encoder(name: str, rate: int, tags: dict[str, str]) -> StreamEncoder:
    """An encoder of a checked format; `tags` are INFO names to text, where there is a place."""
    if name == "aac":
        return _Ffmpeg(rate, ["-f", "adts", "-c:a", "aac"])
    if name in CODECS:
        return _Libsndfile(name, rate, tags)
    if name == "f32":
        return _Floats()
    return _Plain(wav_header(rate, tags, None) if name == "wav" else b"")


class _Plain:
    """16-bit samples behind a header or none."""

    def __init__(self, header: bytes) -> None:
        self._header = header

    def push(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + pcm16(samples)

    def finish(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def abandon(self) -> None:
        return


class _Floats:
    """32-bit little-endian floats as they are: for programs that encode themselves."""

    def push(self, samples: Samples) -> bytes:
        return samples.astype("<f4").tobytes()

    def finish(self) -> bytes:
        return b""

    def abandon(self) -> None:
        return


class _Libsndfile:
    """An encoder that writes to memory, from which what is new is handed out."""

    def __init__(self, name: str, rate: int, tags: dict[str, str]) -> None:
        import soundfile

        container, subtype = CODECS[name]
        self._memory = io.BytesIO()
        self._name = name
        self._sent = 0
        # Without the header that is written last, the length of MP3 is told by its bit rate.
        options = {"bitrate_mode": "CONSTANT", "compression_level": 0.5} if name == "mp3" else {}
        self._file: Any = soundfile.SoundFile(
            self._memory, "w", rate, 1, subtype=subtype, format=container, **options
        )
        for field, value in (("software", "ISFT"), ("comment", "ICMT")):
            if value in tags:
                setattr(self._file, field, tags[value])

    def push(self, samples: Samples) -> bytes:
        self._file.write(np.clip(samples, -1, 1))
        return b"" if self._name == "flac" else self._new()

    def finish(self) -> bytes:
        self._file.close()
        return self._new()

    def abandon(self) -> None:
        self._file.close()

    def _new(self) -> bytes:
        place = self._memory.tell()
        value = self._memory.getvalue()
        self._memory.seek(place)
        head = b""
        if self._name == "mp3" and not self._sent:
            # The first frame stays empty until the end: it is left out, not sent empty.
            start = _tag_size(value)
            self._sent = max(value.find(value[start : start + 2], start + 4), 0)
            if not self._sent:
                return b""
            head = value[:start]
        new = value[self._sent :]
        self._sent += len(new)
        return head + new


def _tag_size(value: bytes) -> int:
    """Bytes of the ID3 tag that an MP3 begins with, if any (id3.org, ID3v2.4, section 3.1)."""
    if value[:3] != b"ID3":
        return 0
    size = 0
    for byte in value[6:10]:
        size = size << 7 | byte
    return 10 + size


class _Ffmpeg:
    """An encoder in a process of its own."""

    def __init__(self, rate: int, arguments: list[str]) -> None:
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-f", "s16le", "-ar", str(rate)]
        command += ["-ac", "1", "-i", "pipe:0", *arguments, "pipe:1"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._parts: SimpleQueue[bytes] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while part := self._process.stdout.read1(READ_SIZE):  # type: ignore[attr-defined]
            self._parts.put(part)

    def push(self, samples: Samples) -> bytes:
        assert self._process.stdin is not None
        self._process.stdin.write(pcm16(samples))
        self._process.stdin.flush()
        return self._new()

    def finish(self) -> bytes:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._end()
        return self._new()

    def abandon(self) -> None:
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self._reader.join()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass  # waits, and closes the pipes

    def _new(self) -> bytes:
        parts = []
        while not self._parts.empty():
            parts.append(self._parts.get())
        return b"".join(parts)
