"""More rows than there is memory for are refused before the first is begun, with how many fit."""

import pytest

from mamtra_cli.engine.measuring import room
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import OutOfMemoryError


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("mini", device="cpu")


def test_rows_that_do_not_fit_are_refused_with_how_many_do(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "free_bytes", lambda: 200_000_000)
    room.check_room(engine, 2)
    with pytest.raises(OutOfMemoryError, match=r"1024 pieces at once .* 0\.2 GB are") as said:
        room.check_room(engine, 1024)
    assert said.value.hint is not None
    fits = int(said.value.hint.split()[1].strip("`"))
    room.check_room(engine, fits)
    with pytest.raises(OutOfMemoryError):
        room.check_room(engine, fits + 1)
    monkeypatch.setattr(engine, "free_bytes", lambda: 1000)
    with pytest.raises(OutOfMemoryError) as none:
        room.check_room(engine, 1)
    assert "not even one" in str(none.value.hint)
    monkeypatch.setattr(engine, "free_bytes", lambda: None)
    room.check_room(engine, 1024)
