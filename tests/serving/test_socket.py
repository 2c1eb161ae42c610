"""Speech over a WebSocket by a real client."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from tests.serving.fake_studio import RATE, FakeStudio
from tests.serving.server import served
from websockets.sync import client

from mamtra_cli.serving.app import Settings
from mamtra_cli.serving.socket import _Mail

PATH = "/v1/audio/speech/stream"
PATIENCE = 300  # seconds until what does not come is taken for lost, on a busy machine too


@pytest.fixture(scope="module")
def studio() -> FakeStudio:
    return FakeStudio()


@pytest.fixture(scope="module")
def host(studio: FakeStudio) -> Iterator[str]:
    with served(studio) as address:
        yield address


def connected(host: str) -> client.ClientConnection:
    return client.connect(f"ws://{host}{PATH}", open_timeout=PATIENCE, ping_timeout=PATIENCE)


def until(socket: Any, kind: str) -> tuple[bytes, dict[str, Any]]:
    """Sound up to the next message of a kind, and that message."""
    sound = b""
    while True:
        message = socket.recv(timeout=PATIENCE)
        if isinstance(message, bytes):
            sound += message
        elif (told := json.loads(message))["type"] == kind:
            return sound, told


def test_text_in_parts_is_heard_before_it_ends(host: str) -> None:
    with connected(host) as socket:
        socket.send(json.dumps({"type": "start", "voice": "f1"}))
        assert until(socket, "started")[1]["sample_rate"] == RATE
        socket.send(json.dumps({"type": "text", "text": "five "}))
        first = b""
        while len(first) < RATE:
            first += socket.recv(timeout=PATIENCE)
        socket.send(json.dumps({"type": "text", "text": "signs"}))
        socket.send(json.dumps({"type": "end"}))
        rest, told = until(socket, "done")
        assert len(first) + len(rest) == 2 * RATE
        assert told["type"] == "done"
        # The same connection serves another utterance.
        socket.send(json.dumps({"type": "start", "format": "mp3"}))
        until(socket, "started")


def test_an_interruption_frees_the_studio(host: str, studio: FakeStudio) -> None:
    with connected(host) as socket:
        socket.send(json.dumps({"type": "start"}))
        socket.send(json.dumps({"type": "text", "text": "x" * 10_000}))
        socket.recv(timeout=PATIENCE)
        socket.send(json.dumps({"type": "interrupt"}))
        until(socket, "interrupted")
    deadline = time.monotonic() + 20
    while studio.inside and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not studio.inside


def test_a_message_that_comes_while_an_utterance_ends_is_the_first_of_the_next() -> None:
    class Line:
        async def receive(self) -> dict[str, str]:
            return {"type": "websocket.receive", "text": '{"type": "start"}'}

    async def two_utterances() -> None:
        mail = _Mail(Line())  # type: ignore[arg-type]
        await mail.coming()  # and the utterance ends here
        assert await mail.take() == {"type": "start"}
        mail.coming()
        mail.close()

    asyncio.run(two_utterances())


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ('{"type": "text", "text": "a"}', "no message of type `text` now"),
        ('{"type": "start", "voice": 3}', "`voice`"),
        ('{"type": "start", "format": "wma"}', "no format `wma`"),
        ('{"type": "start", "voice": "zz"}', "no voice `zz`"),
        ('{"type": "start", "speed": 1e400}', "`speed`"),
        ('{"type": "start", "response_format": "mp3"}', "unknown field `response_format`"),
        (b"\x00\xff", "is binary"),
    ],
)
def test_wrong_messages_are_told_and_the_line_stays_open(
    host: str, message: str | bytes, words: str
) -> None:
    with connected(host) as socket:
        socket.send(message)
        assert words in until(socket, "error")[1]["message"]
        socket.send(json.dumps({"type": "start", "voice": "alloy"}))
        assert until(socket, "started")[1]["voice"] == "f1"


def test_a_key_may_stand_in_the_address() -> None:
    with served(FakeStudio(), settings=Settings(key="k", patience=1.0)) as host:
        with pytest.raises(Exception, match="403"), connected(host):
            pass
        with client.connect(f"ws://{host}{PATH}?key=k") as socket:
            socket.send(json.dumps({"type": "start"}))
            until(socket, "started")
