"""Sound to the ears of who sits at this machine: by sounddevice, or by a player of the system.

Knows samples, no models and no files.
"""

import shutil
import subprocess
from typing import Any, Protocol

import numpy as np

from mamtra_cli.audio import Samples, pcm16
from mamtra_cli.errors import MamtraError, MissingDependencyError

PLAYERS = {
    "pw-cat": ("-p", "--rate={rate}", "--channels=1", "--format=s16", "--raw", "-"),
    "paplay": ("--raw", "--rate={rate}", "--channels=1", "--format=s16le"),
    "aplay": ("-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", "{rate}", "-"),
    "play": ("-q", "-t", "raw", "-e", "signed", "-b", "16", "-c", "1", "-r", "{rate}", "-"),
    "ffplay": ("-loglevel", "error", "-nodisp", "-autoexit", "-f", "s16le", "-ar", "{rate}", "-"),
}
"""Programs that play raw 16-bit samples from stdin, and how each is told."""


class PlayingError(MamtraError):
    """There is no sound device, or it failed."""

    code = "playing"


class Player(Protocol):
    """Plays samples as they come."""

    def write(self, samples: Samples) -> None:
        """Play (S,) float32 after what was written before; waits while much is unplayed."""
        ...

    def close(self) -> None:
        """Wait until all is played."""
        ...


def open_player(rate: int) -> Player:
    """What plays here.

    Raises:
        MissingDependencyError: nothing does.
        PlayingError: there is no sound device.
    """
    try:
        import sounddevice  # type: ignore[import-untyped,unused-ignore]
    except (ImportError, OSError):  # OSError: the package without its library
        pass
    else:
        return _Device(sounddevice, rate)
    for name, arguments in PLAYERS.items():
        program = shutil.which(name)
        if program is not None:
            return _Program([program, *(part.format(rate=rate) for part in arguments)])
    raise MissingDependencyError(
        f"nothing here plays sound: no package sounddevice, none of {', '.join(PLAYERS)}",
        "pip install 'mamtra-cli[play]', or write a file with `-o`",
    )


class _Device:
    """The package sounddevice."""

    def __init__(self, package: Any, rate: int) -> None:
        self._package = package
        try:
            self._stream = package.OutputStream(samplerate=rate, channels=1, dtype="float32")
            self._stream.start()
        except package.PortAudioError as error:
            raise PlayingError(
                f"no sound device: {error}", "write a file with `-o`, without `--play`"
            ) from error

    def write(self, samples: Samples) -> None:
        self._stream.write(np.ascontiguousarray(samples, np.float32)[:, None])

    def close(self) -> None:
        self._stream.stop()
        self._stream.close()


class _Program:
    """A program that reads from a pipe."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._name = command[0].rpartition("/")[2]

    def write(self, samples: Samples) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pcm16(samples))
            self._process.stdin.flush()
        except BrokenPipeError:
            self.close()

    def close(self) -> None:
        _, told = self._process.communicate()
        if self._process.returncode:
            words = told.decode(errors="replace").strip().splitlines()
            raise PlayingError(
                f"`{self._name}` could not play: {words[0][:200] if words else 'it ended'}",
                "write a file with `-o`, without `--play`",
            )
