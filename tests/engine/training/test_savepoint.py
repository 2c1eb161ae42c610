"""Saves: whole, checked, two of them; a damaged one is passed over; no space loses nothing."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.command import environment, python

from mamtra_cli.engine.training.savepoint import (
    CHECKSUM,
    PREVIOUS_FILE,
    STATE_FILE,
    checksum,
    has_state,
    read_state,
    write_state,
)
from mamtra_cli.errors import TrainingError
from mamtra_cli.events import Event, Note


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {
        "weight.a": torch.full((300,), value),
        "weight.half": torch.full((3,), value, dtype=torch.bfloat16),
        "step.a": torch.tensor(value),
        "empty": torch.zeros(0),
    }


def test_save_is_read_back_with_its_metadata(tmp_path: Path) -> None:
    write_state(tmp_path, tensors(1.5), {"step": "3"})
    found, told = read_state(tmp_path)
    assert told["step"] == "3"
    assert all(torch.equal(found[name], value) for name, value in tensors(1.5).items())


def test_last_two_saves_are_kept(tmp_path: Path) -> None:
    assert not has_state(tmp_path)
    for step in (1, 2, 3):
        write_state(tmp_path, tensors(step), {"step": str(step)})
    assert sorted(path.name for path in tmp_path.iterdir()) == [PREVIOUS_FILE, STATE_FILE]
    assert read_state(tmp_path)[1]["step"] == "3"
    (tmp_path / STATE_FILE).unlink()
    assert has_state(tmp_path)
    assert read_state(tmp_path)[1]["step"] == "2"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(bytes(data))


def other_values(path: Path) -> None:
    """A sound file whose tensors are not the ones its checksum was made of."""
    found = load_file(path)
    save_file(found, path, {"format": "2", CHECKSUM: checksum(tensors(9.0))})


@pytest.mark.parametrize("spoil", [cut, flip, other_values], ids=lambda f: f.__name__)
def test_damaged_newest_save_is_passed_over_with_a_warning(tmp_path: Path, spoil: object) -> None:
    for step in (1, 2):
        write_state(tmp_path, tensors(step), {"step": str(step)})
    spoil(tmp_path / STATE_FILE)  # type: ignore[operator]
    heard: list[Event] = []
    assert read_state(tmp_path, heard.append)[1]["step"] == "1"
    (note,) = heard
    assert isinstance(note, Note)
    assert note.warning
    assert "damaged" in note.text
    spoil(tmp_path / PREVIOUS_FILE)  # type: ignore[operator]
    with pytest.raises(TrainingError, match="damaged"):
        read_state(tmp_path)


def test_what_a_killed_save_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / f".{STATE_FILE}.12345").write_bytes(b"half")
    write_state(tmp_path, tensors(1), {})
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


NO_SPACE = """
import resource, signal, sys
from pathlib import Path
import torch
from mamtra_cli.engine.training.savepoint import write_state
from mamtra_cli.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
write_state(folder, {"a": torch.ones(10)}, {"step": "1"})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_state(folder, {"a": torch.ones(100_000)}, {"step": "2"})
except OutputError as error:
    print(error.message, "|", error.hint, "|", error.exit_code)
"""


def test_no_space_keeps_the_last_save_and_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [*python(), "-c", NO_SPACE, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot write" in done.stdout
    assert "--resume" in done.stdout
    assert done.stdout.strip().endswith("| 1")
    assert read_state(tmp_path)[1]["step"] == "1"
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]
