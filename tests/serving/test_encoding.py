"""What encodes an answer is let go of however the answer ends."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("starlette")

from mamtra_cli.engine.speaking.studio import Spoken
from mamtra_cli.errors import TextError
from mamtra_cli.serving import app
from mamtra_cli.serving.encoding import open_encoder


@pytest.mark.parametrize("made", [app._bytes, app._sse])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "broken-off"])
def test_an_encoder_is_closed_when_its_answer_ends(made: Any, whole: bool) -> None:
    visit: Any = SimpleNamespace(leave=lambda: None, over=True, order=SimpleNamespace(words=False))
    encoder = cast(Any, open_encoder("mp3", 24_000, {}))
    sound = np.zeros(2400, np.float32)

    async def events() -> AsyncIterator[Spoken]:
        yield Spoken(id=0, audio=sound, seconds=0.2, done=whole)
        if not whole:
            raise TextError("no good speech")

    async def answer() -> None:
        with_sound = events()
        first = await anext(with_sound)
        async for _ in made(visit, first, with_sound, encoder):
            pass

    try:
        asyncio.run(answer())
    except TextError:
        assert not whole
    assert encoder._file.closed
