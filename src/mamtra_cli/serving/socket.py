"""Speech over a WebSocket: text comes in parts, sound leaves while it comes, either can stop.

Messages from the caller are JSON: `{"type": "start", "voice": ..., "format": "pcm"}` once,
`{"type": "text", "text": "..."}` any number of times, `{"type": "end"}`, and at any time
`{"type": "interrupt"}`. Sound goes out as binary messages, everything else as JSON with a `type`.
"""

import asyncio
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mamtra_cli.engine.speaking.studio import Order
from mamtra_cli.errors import MamtraError, UsageError
from mamtra_cli.serving.answers import error_words, piece_words
from mamtra_cli.serving.desk import Desk, Visit
from mamtra_cli.serving.encoding import MEDIA, StreamEncoder, check_stream_format, open_encoder
from mamtra_cli.serving.requests import FIELDS, check_kind, order_fields, read_json

POLICY, TOO_BIG = 1008, 1009
MOST_MESSAGE = 65_536
OWN = ("type", "format")
SPOKEN = tuple(
    name for name in FIELDS if name not in ("model", "input", "response_format", "stream_format")
)
STREAMED = ("pcm", "wav", "mp3", "opus", "flac", "aac")


async def speech_socket(socket: WebSocket, desk: Desk, *, allowed: bool, most: int) -> None:
    """Serve one connection; any number of utterances one after the other."""
    if not allowed:
        await socket.close(POLICY)
        return
    await socket.accept()
    mail = _Mail(socket)
    try:
        while await _utterance(socket, mail, desk, most):
            pass
    except WebSocketDisconnect:
        return
    finally:
        mail.close()
    if socket.client_state is WebSocketState.CONNECTED:
        await socket.close()


class _Mail:
    """The messages of a caller, one at a time; one that comes while an utterance ends is kept."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._next: asyncio.Future[dict[str, Any]] | None = None

    def coming(self) -> "asyncio.Future[dict[str, Any]]":
        """The next message, which stays the next until it is taken."""
        if self._next is None:
            self._next = asyncio.ensure_future(_message(self._socket))
        return self._next

    async def take(self) -> dict[str, Any]:
        """The next message."""
        coming, self._next = self.coming(), None
        return await coming

    def close(self) -> None:
        """Wait for no more."""
        if self._next is not None:
            self._next.cancel()
            self._next.add_done_callback(lambda last: last.cancelled() or last.exception())


async def _utterance(socket: WebSocket, mail: _Mail, desk: Desk, most: int) -> bool:
    """One utterance; says whether another may follow."""
    visit: Visit | None = None
    speaking: asyncio.Task[None] | None = None
    heard = 0
    try:
        while True:
            coming: set[asyncio.Future[Any]] = {mail.coming()}
            waiting = coming if speaking is None else coming | {speaking}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if speaking is not None and speaking.done():
                await speaking
                return True
            message = await mail.take()
            kind = message.get("type")
            if kind == "start" and visit is None:
                visit, encoder = await _begin(desk, message)
                rate: Any = await desk.ask(lambda studio: studio.sample_rate)
                facts: dict[str, Any] = {"type": "started", "sample_rate": rate}
                facts |= {"format": message.get("format", "pcm")}
                if visit.order.voice != message.get("voice", ""):
                    facts |= {"voice": visit.order.voice}
                await socket.send_json(facts)
                speaking = asyncio.create_task(_speak(socket, visit, encoder))
            elif kind == "text" and visit is not None:
                text = message.get("text")
                if not isinstance(text, str):
                    raise UsageError("a `text` message has no text", '{"type": "text", "text": ""}')
                heard += len(text)
                if heard > most:
                    raise UsageError(
                        f"more than {most:,} characters in one utterance", "end it, start another"
                    )
                visit.hear(text)
            elif kind == "end" and visit is not None:
                visit.close()
            elif kind == "interrupt":
                if visit is not None:
                    visit.leave()
                await socket.send_json({"type": "interrupted"})
                return True
            else:
                known = "start" if visit is None else "text, end or interrupt"
                raise UsageError(f"no message of type `{str(kind)[:40]}` now", f"send {known}")
    except MamtraError as error:
        await socket.send_json(error_words(error))
        return True
    finally:
        if speaking is not None and not speaking.done():
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        if visit is not None:
            visit.leave()


async def _message(socket: WebSocket) -> dict[str, Any]:
    """The next message as an object."""
    received = await socket.receive()
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received["code"], received.get("reason"))
    text = received.get("text")
    if text is None:
        raise UsageError("a message is binary", 'send text: {"type": "start"}')
    if len(text) > MOST_MESSAGE:
        raise UsageError(f"a message of {len(text):,} characters", f"at most {MOST_MESSAGE:,}")
    value = read_json(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, dict):
        raise UsageError("a message is no JSON object", '{"type": "start"}')
    return value


async def _begin(desk: Desk, message: dict[str, Any]) -> tuple[Visit, StreamEncoder]:
    """Take an order whose text is to come."""
    format = message.get("format", "pcm")
    if format not in STREAMED or format not in MEDIA:
        raise UsageError(f"no format `{str(format)[:40]}`", f"one of: {', '.join(STREAMED)}")
    given = {name: value for name, value in message.items() if name not in OWN}
    for name, value in given.items():
        if name not in SPOKEN:
            known = ", ".join(("format", *SPOKEN))
            raise UsageError(f"the start has an unknown field `{name[:40]}`", f"known: {known}")
        check_kind(name, value, "the start")
    given = {name: value for name, value in given.items() if value is not None}
    rate: Any = await desk.ask(lambda studio: studio.sample_rate)
    check_stream_format(format, rate)
    visit = await desk.visit(Order(text=None, **order_fields(given, "the start")))
    return visit, open_encoder(format, rate, {"ICMT": "synthetic speech"})


async def _speak(socket: WebSocket, visit: Visit, encoder: StreamEncoder) -> None:
    """Send what is spoken until it ends."""
    seconds = 0.0
    try:
        async for event in visit:
            seconds = event.seconds
            if event.audio is not None and (encoded := encoder.push(event.audio)):
                await socket.send_bytes(encoded)
            for sign in event.skipped:
                await socket.send_json({"type": "skipped", "sign": sign})
            if event.text is not None:
                await socket.send_json({"type": "piece", **piece_words(event)})
        if rest := encoder.finish():
            await socket.send_bytes(rest)
    finally:
        encoder.abandon()
    await socket.send_json({"type": "done", "seconds": round(seconds, 3)})
