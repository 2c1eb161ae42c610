"""Playing: by the system's player where there is one, a clear error elsewhere."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mamtra_cli.audio import pcm16
from mamtra_cli.errors import MissingDependencyError
from mamtra_cli.playing import PlayingError, open_player

SOUND = np.linspace(-1, 1, 4000, dtype=np.float32)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no package and no programs but those put into this folder."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(folder: Path, name: str, lines: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
    (folder / name).chmod(0o755)


def test_the_player_of_the_system_hears_the_samples_and_their_rate(programs: Path) -> None:
    put(programs, "aplay", f'echo "$@" > {programs}/told; /bin/cat > {programs}/heard')
    player = open_player(24_000)
    player.write(SOUND[:1000])
    player.write(SOUND[1000:])
    player.close()
    assert (programs / "heard").read_bytes() == pcm16(SOUND)
    assert "-r 24000" in (programs / "told").read_text()


def test_a_player_that_fails_says_why(programs: Path) -> None:
    put(programs, "aplay", "echo 'cannot find card 0' >&2; exit 1")
    player = open_player(24_000)
    with pytest.raises(PlayingError, match="cannot find card 0"):
        player.close()


def test_without_any_player_the_extra_is_named(programs: Path) -> None:
    with pytest.raises(MissingDependencyError, match="nothing here plays"):
        open_player(24_000)
