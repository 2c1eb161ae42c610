"""A recording as samples: through libsndfile, or ffmpeg for what telephones and browsers make.

Files and pipes, bounded before they are unfolded. Knows nothing of speech.
"""

import io
import shlex
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from mamtra_cli.audio import Samples, resample
from mamtra_cli.config import reason
from mamtra_cli.errors import AudioError

LOST = 3.0  # times the power of the mean that a channel may have
LARGEST = 512 << 20  # bytes of a clip's file
# Within the first bytes of M4A and MP4, WebM, WMA and AMR; ADTS begins AAC.
FOREIGN = (b"ftyp", b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR")
ADTS = (b"\xff\xf1", b"\xff\xf9")


def read_audio(path: Path, sample_rate: int) -> Samples:
    """Read a clip as mono float32 (S,) at a sample rate.

    Raises:
        AudioError: the file is missing, empty or no audio.
    """
    samples, rate = decode_file(path)
    return resample(mix_down(samples), rate, sample_rate)


def decode_file(path: Path) -> tuple[Samples, int]:
    """Read a clip as it is; see `decode`."""
    return decode(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """Return what is in a file, or comes through a pipe.

    Raises:
        AudioError: it is missing, or more than a clip can be.
    """
    if path.is_dir():
        raise AudioError(f"`{path}` is a folder", "name an audio file in it")
    if not path.exists():
        piped = "sound that comes through a pipe is /dev/stdin" if str(path) == "-" else None
        raise AudioError(f"there is no audio file `{path}`", piped)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise AudioError(f"cannot read `{path}`: {reason(error)}") from error
    if len(data) > LARGEST:
        raise AudioError(f"`{path}` is more than {LARGEST >> 20} MB", "cut out what is needed")
    return data


def decode(data: bytes, name: str, *, longest: float | None = None) -> tuple[Samples, int]:
    """Read sound as it is: (S, channels) float32, at least one sample, and its rate.

    Args:
        data: a whole file; what libsndfile does not know goes through ffmpeg where it is there.
        name: of the file.
        longest: seconds; a file that says it lasts longer is not unfolded.

    Raises:
        AudioError: it is empty, too long, no audio or not finite.
    """
    import soundfile

    if missing_bytes(data) < 0:  # the recorder was stopped before it wrote the length
        at = data.index(b"data", 12) + 4
        data = data[:at] + struct.pack("<I", len(data) - at - 4) + data[at + 4 :]
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            seconds, rate = file.frames / file.samplerate, int(file.samplerate)
            if longest is not None and seconds > longest:
                raise AudioError(
                    f"`{name}` lasts {seconds:.1f} s; at most {longest:g} s are taken",
                    "cut out what is needed",
                )
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        cause = getattr(error, "error_string", "").rstrip(".") or reason(error)
        return decode(_through_ffmpeg(data, name, cause, longest), name, longest=longest)
    if not len(samples):
        raise AudioError(f"`{name}` holds no samples")
    if not bool(np.isfinite(samples).all()):
        raise AudioError(f"`{name}` holds samples that are not finite")
    return samples, rate


def missing_bytes(data: bytes) -> int:
    """How much less than its header says a WAV file holds; below 0 where that says 0 of some.

    A length of all ones is what streams write that do not know it.
    """
    at = data.find(b"data", 12, 4096)
    if data[:4] != b"RIFF" or at < 0 or len(data) < at + 8:
        return 0
    (told,) = struct.unpack_from("<I", data, at + 4)
    there = len(data) - at - 8
    if told == 0:
        return -there
    return max(told - there, 0) if told < 0xFFFF_FF00 else 0


def _through_ffmpeg(data: bytes, name: str, cause: str, longest: float | None) -> bytes:
    """Return sound of another kind (M4A, WebM, AAC) as a WAV.

    Raises:
        AudioError: it is no such sound, or there is no ffmpeg.
    """
    wrong = f"cannot read `{name}`: {cause[:1].lower()}{cause[1:]}"
    known = "give a WAV, FLAC, MP3 or Opus file"
    if not any(mark in data[:64] for mark in FOREIGN) and data[:2] not in ADTS:
        raise AudioError(wrong, known)
    program = shutil.which("ffmpeg")
    if program is None:
        wav = Path(name).with_suffix(".wav")
        wav = wav.with_stem(f"{wav.stem}-converted") if str(wav) == name else wav
        command = f"ffmpeg -i {shlex.quote(name)} {shlex.quote(str(wav))}"
        raise AudioError(wrong, f"convert it first: {command}")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "sound", Path(folder) / "sound.wav"
        source.write_bytes(data)
        line = [program, "-v", "error", "-nostdin", "-format_whitelist", "mov,matroska,aac,asf,amr"]
        # Formats that name other files or addresses are not among these.
        line += ["-protocol_whitelist", "file", "-i", str(source), "-vn", "-c:a", "pcm_f32le"]
        line += [] if longest is None else ["-t", f"{longest + 1:g}"]
        done = subprocess.run([*line, str(target)], capture_output=True, text=True, check=False)
        if done.returncode or not target.is_file():
            told = done.stderr.strip().splitlines()[-1:] or ["ffmpeg wrote nothing"]
            raise AudioError(f"cannot read `{name}`: {told[0]}", known)
        return target.read_bytes()


def mix_down(samples: Samples) -> Samples:
    """Return channels (S, C) as one (S,): their mean, or the loudest where that loses much of it.

    Channels that speak against each other, or of which one is silent, would be weakened or gone.
    """
    if samples.shape[1] == 1 or not np.isfinite(samples).all() or not len(samples):
        return samples[:, 0]
    mean: Samples = samples.mean(axis=1, dtype=np.float32)
    power = samples.var(axis=0, dtype=np.float64)
    if float(power.max()) <= LOST * float(mean.var(dtype=np.float64)):
        return mean
    loudest: Samples = samples[:, int(power.argmax())]
    return loudest
