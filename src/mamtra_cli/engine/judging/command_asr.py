"""Any recogniser that can be started from a command line.

The command is started once for many waves. It reads paths of WAV files (16 kHz, mono, 16 bit) from
stdin, one a line, and writes one line of text for each to stdout, in their order; its stderr is
left alone. Knows nothing of what the command does.
"""

import hashlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.audio import LISTENING_RATE, AudioWriter, resample
from mamtra_cli.errors import DataError, UsageError
from mamtra_cli.privacy import redacted


class CommandRecogniser:
    """A recogniser behind a command.

    Args:
        command: program and arguments, split as a shell would; no shell runs them.

    Raises:
        UsageError: there is no such program.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"`--asr command:{command}` cannot be split: {error}") from error
        program = shutil.which(self._words[0]) if self._words else None
        if program is None:
            raise UsageError(f"there is no program `{command.split(' ')[0]}` to listen with")
        files = [Path(program), *(Path(word) for word in self._words[1:])]
        hashes = {
            f"sha256 of {path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file()
        }
        self.about: Mapping[str, str] = {"name": redacted(command), **hashes}

    def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
        """Give the words of a mono wave (T,) between -1 and 1."""
        return self.transcribe_many([wave], rate)[0]

    def transcribe_many(self, waves: Sequence[NDArray[np.float32]], rate: int) -> list[str]:
        """Give the words of each wave.

        Raises:
            DataError: the command failed, or wrote another number of lines.
        """
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{place:06d}.wav" for place in range(len(waves))]
            for path, wave in zip(paths, waves, strict=True):
                with AudioWriter(path, sample_rate=LISTENING_RATE) as writer:
                    writer.write(resample(wave, rate, LISTENING_RATE))
            done = subprocess.run(
                self._words,
                input="".join(f"{path}\n" for path in paths).encode(),
                stdout=subprocess.PIPE,
                check=False,
            )
        if done.returncode:
            raise DataError(
                f"the recogniser `{self._words[0]}` failed with exit code {done.returncode}"
            )
        try:
            lines = done.stdout.decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"`{self._words[0]}` wrote what is not UTF-8: {error}") from error
        count = len(lines) if done.stdout else 0
        if count != len(waves):
            raise DataError(
                f"`{self._words[0]}` wrote {count} lines for {len(waves)} waves",
                "it reads WAV paths from stdin and writes one line of text for each",
            )
        return [line.strip() for line in lines]
