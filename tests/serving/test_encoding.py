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
from mamtra_cli.serving.metrics import Metrics
from mamtra_cli.serving.requests import read_speech


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


def test_the_encoders_of_a_batch_are_closed_when_its_caller_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Any] = []

    def remembered(*args: Any) -> Any:
        opened.append(open_encoder(*args))
        return opened[-1]

    class Endless:
        order = SimpleNamespace(voice="", words=False)

        async def __aiter__(self) -> AsyncIterator[Spoken]:
            await asyncio.Event().wait()
            yield Spoken(id=0)

        def leave(self) -> None: ...

    class Desk:
        async def ask(self, what: Any) -> Any:
            return what(SimpleNamespace(name="toy", sample_rate=24_000, voices=list))

        async def visit(self, order: Any) -> Endless:
            return Endless()

    async def leave() -> None:
        face = app._Face(cast(Any, Desk()), Metrics(), app.Settings())
        asked = read_speech({"input": "Hello.", "response_format": "mp3"}, most=100)
        item = asyncio.ensure_future((await face._item(0, asked))())
        await asyncio.sleep(0)
        item.cancel()
        await asyncio.gather(item, return_exceptions=True)

    monkeypatch.setattr(app, "open_encoder", remembered)
    asyncio.run(leave())
    assert [encoder._file.closed for encoder in opened] == [True]
