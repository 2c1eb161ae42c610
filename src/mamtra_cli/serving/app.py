"""The HTTP and WebSocket face of a desk: OpenAI's speech endpoint and what stands around it.

Answers start when the first sound is there, so that what fails before it has a status of its own;
a caller that leaves is forgotten at once. Every error is JSON with a message and a hint.
"""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message

from mamtra_cli import __version__
from mamtra_cli.config import to_dict
from mamtra_cli.engine.speaking.studio import Spoken
from mamtra_cli.errors import MamtraError, ModelNotFoundError, UsageError
from mamtra_cli.serving.answers import (
    NoKeyError,
    SoundResponse,
    TooLargeError,
    answer_error,
    error_words,
    piece_words,
    told,
    zipped,
)
from mamtra_cli.serving.desk import Desk, Visit
from mamtra_cli.serving.encoding import MEDIA, StreamEncoder, check_stream_format, open_encoder
from mamtra_cli.serving.leaving import GONE, unless_gone
from mamtra_cli.serving.metrics import Metrics
from mamtra_cli.serving.requests import SpeechRequest, placed, read_batch, read_json, read_speech
from mamtra_cli.serving.socket import speech_socket
from mamtra_cli.sink import speech_tags

MOST_FIELD = 64_000  # bytes of a field of a form, beside its recording
AddVoice = Callable[[str, bytes, str, str], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server answers.

    Attributes:
        key: what callers must show as a bearer token; "" for nothing.
        max_body: bytes of a body; max_clip: of an uploaded recording.
        max_characters: of one text.
        patience: seconds that speech under way is given when the server closes.
        warmup: speak a word before the first caller comes.
        unready: hears of what kept it from that; `None` raises it.
        add_voice: makes a voice of a clip: name, bytes, transcript, consent; `None` where callers
            may not.
    """

    key: str = ""
    max_body: int = 2_000_000
    max_clip: int = 20_000_000
    max_characters: int = 20_000
    patience: float = 30.0
    warmup: bool = False
    unready: Callable[[MamtraError], object] | None = None
    add_voice: AddVoice | None = None


def make_app(desk: Desk, metrics: Metrics, settings: Settings) -> Starlette:
    """The application over a desk."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        try:
            if settings.warmup:
                async for _ in await desk.visit(read_speech({"input": "Ready."}, most=10).order):
                    pass
        except MamtraError as error:
            if settings.unready is None:
                raise
            settings.unready(error)
        yield
        await desk.close(settings.patience)

    face = _Face(desk, metrics, settings)
    routes = [
        Route("/", face.page),
        Route("/healthz", face.health),
        Route("/metrics", face.metrics_text),
        Route("/unload", face.unload, methods=["POST"]),
        Route("/v1/models", face.models),
        Route("/v1/audio/voices", face.voices),
        Route("/v1/audio/voices", face.new_voice, methods=["POST"]),
        Route("/v1/audio/speech", face.speech, methods=["POST"]),
        Route("/v1/audio/reading", face.reading, methods=["POST"]),
        Route("/v1/audio/speech/batch", face.batch, methods=["POST"]),
        WebSocketRoute("/v1/audio/speech/stream", face.socket),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    for kind in (MamtraError, HTTPException, Exception):
        app.add_exception_handler(kind, face.failed)
    return app


class _Face:
    """The endpoints."""

    def __init__(self, desk: Desk, metrics: Metrics, settings: Settings) -> None:
        self.desk, self.metrics, self.settings = desk, metrics, settings

    async def page(self, request: Request) -> Response:
        """The page for people; it asks for the key itself."""
        del request
        return HTMLResponse(files("mamtra_cli.serving").joinpath("page.html").read_text("utf-8"))

    async def health(self, request: Request) -> Response:
        """Whether the server answers, and how full it is."""
        del request
        facts = {"status": "ok", "version": __version__, "model_loaded": self.desk.loaded}
        room = {name: getattr(self.desk, name) for name in ("present", "queued", "running")}
        return JSONResponse({**facts, **room})

    async def metrics_text(self, request: Request) -> Response:
        """Counters for Prometheus."""
        self._check_key(request)
        text = self.metrics.text(self.desk.running, self.desk.queued)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def unload(self, request: Request) -> Response:
        """Let the model go until somebody asks again."""
        self._check_key(request)
        done = await self.desk.unload()
        return JSONResponse({"unloaded": done}, status_code=200 if done else 409)

    async def models(self, request: Request) -> Response:
        """The model, in OpenAI's form."""
        self._check_key(request)
        name = await self.desk.ask(lambda studio: studio.name)
        entry = {"id": name, "object": "model", "created": 0, "owned_by": "mamtra"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def voices(self, request: Request) -> Response:
        """Names of the voices."""
        self._check_key(request)
        names: Any = await self.desk.ask(lambda studio: studio.voices())
        return JSONResponse({"voices": [{"id": name, "name": name} for name in names]})

    async def new_voice(self, request: Request) -> Response:
        """Make a voice of a recording, with consent, where the server allows it."""
        self._check_key(request)
        make = self.settings.add_voice
        if make is None:
            return answer_error(
                403,
                "forbidden",
                "this server makes no voices",
                "start it with --allow-voices",
            )
        body = await _body(request, self.settings.max_clip)

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        bounded = Request(request.scope, receive)  # forms are read to their end, however far
        async with bounded.form(max_files=1, max_fields=8, max_part_size=MOST_FIELD) as form:
            clip = form.get("audio_sample") or form.get("clip") or form.get("file")
            if clip is None or isinstance(clip, str):
                raise UsageError(
                    "the form has no recording", "curl -F audio_sample=@clip.wav -F name=NAME ..."
                )
            data = await clip.read()
            words = {name: str(form.get(name) or "") for name in ("name", "ref_text", "consent")}
        made = await make(words["name"], data, words["ref_text"], words["consent"])
        return JSONResponse(made, status_code=201)

    async def speech(self, request: Request) -> Response:
        """Speak a text, as bytes while they are made or as events."""
        self._check_key(request)
        asked = read_speech(await self._json(request), most=self.settings.max_characters)
        encoder, rate = await self._encoder(asked)
        try:
            visit = await self.desk.visit(asked.order)
        except BaseException:
            encoder.abandon()
            raise
        events = aiter(visit)
        try:
            first = await unless_gone(request, anext(events))
        except ClientDisconnect:
            visit.leave()
            encoder.abandon()
            return Response(status_code=GONE)
        except BaseException:
            visit.leave()
            encoder.abandon()
            raise
        sse = asked.stream == "sse"
        made = _sse(visit, first, events, encoder) if sse else _bytes(visit, first, events, encoder)
        self.metrics.answered("speech", 200)
        headers = {"X-Sample-Rate": str(rate), "Cache-Control": "no-store"}
        if visit.order.voice != asked.order.voice:
            headers["X-Voice"] = visit.order.voice
        media = "text/event-stream" if sse else MEDIA[asked.format]
        return SoundResponse(made, media_type=media, headers=headers)

    async def reading(self, request: Request) -> Response:
        """The words and phones that would be said for a text."""
        self._check_key(request)
        asked = read_speech(await self._json(request), most=self.settings.max_characters)
        found = await self.desk.ask(lambda studio: studio.read(asked.order))
        self.metrics.answered("reading", 200)
        return JSONResponse(to_dict(found))

    async def batch(self, request: Request) -> Response:
        """Speak many texts: JSON with the sounds in base64, or a zip where it is accepted."""
        self._check_key(request)
        items = read_batch(await self._json(request), most=self.settings.max_characters)
        results = [await self._item(number, item) for number, item in enumerate(items)]
        # All are under way together.
        try:
            every = asyncio.gather(*(result() for result in results))
            entries = await unless_gone(request, every)
        except ClientDisconnect:
            return Response(status_code=GONE)
        self.metrics.answered("batch", 200)
        if "application/zip" not in request.headers.get("accept", ""):
            return JSONResponse({"object": "list", "data": entries})
        packed = await run_in_threadpool(zipped, entries)
        return Response(packed, media_type="application/zip")

    async def socket(self, socket: Any) -> None:
        """Text in parts, sound while it arrives."""
        given = socket.headers.get("authorization", "")
        await speech_socket(
            socket,
            self.desk,
            allowed=self._allowed(given)
            or self._allowed(f"Bearer {socket.query_params.get('key')}"),
            most=self.settings.max_characters,
        )

    async def failed(self, request: Request, error: Exception) -> Response:
        """An error as JSON."""
        answer = told(error)
        self.metrics.answered(request.url.path.rsplit("/", 1)[-1][:24], answer.status_code)
        return answer

    async def _item(
        self, number: int, item: SpeechRequest | UsageError
    ) -> Callable[[], Awaitable[dict[str, Any]]]:
        """Put one item of a batch under way; what comes back waits for it."""
        encoder: StreamEncoder | None = None
        try:
            if isinstance(item, UsageError):
                raise item
            encoder, rate = await self._encoder(item)
            visit = await self.desk.visit(item.order)
        except MamtraError as error:
            if encoder is not None:
                encoder.abandon()
            failed = {"index": number, "error": error_words(error)}

            async def refused() -> dict[str, Any]:
                return failed

            return refused
        wanted, opened = item, encoder

        async def spoken() -> dict[str, Any]:
            parts, pieces, seconds = [], [], 0.0
            skipped: list[str] = []
            try:
                async for event in visit:
                    seconds = event.seconds
                    skipped += event.skipped
                    if event.text is not None:
                        pieces.append(piece_words(event))
                    if event.audio is not None:
                        parts.append(opened.push(event.audio))
                parts.append(opened.finish())
            except MamtraError as error:
                return {"index": number, "error": error_words(error)}
            finally:
                visit.leave()
                opened.abandon()
            audio = base64.b64encode(b"".join(parts)).decode()
            facts: dict[str, Any] = {"seconds": round(seconds, 3), "sample_rate": rate}
            if wanted.order.words:
                facts["pieces"] = pieces
            if skipped:
                facts["skipped"] = skipped
            if visit.order.voice != wanted.order.voice:
                facts["voice"] = visit.order.voice
            return {"index": number, "format": wanted.format, **facts, "audio": audio}

        return spoken

    async def _encoder(self, asked: SpeechRequest) -> tuple[StreamEncoder, int]:
        facts: Any = await self.desk.ask(
            lambda studio: (studio.name, studio.sample_rate, placed(asked.order, studio.voices))
        )
        name, rate, order = facts
        if asked.model not in ("", name, "tts-1", "tts-1-hd", "gpt-4o-mini-tts"):
            raise ModelNotFoundError(
                f"no model `{asked.model[:60]}` here", f"this server speaks with `{name}`"
            )
        check_stream_format(asked.format, rate)
        tags = speech_tags(name, order.voice, order.seed)
        return open_encoder(asked.format, rate, tags), rate

    async def _json(self, request: Request) -> Any:
        return read_json(await _body(request, self.settings.max_body))

    def _check_key(self, request: Request) -> None:
        if not self._allowed(request.headers.get("authorization", "")):
            raise NoKeyError

    def _allowed(self, header: str) -> bool:
        key = self.settings.key
        return not key or hmac.compare_digest(header.encode(), f"Bearer {key}".encode())


async def _body(request: Request, most: int) -> bytes:
    """The body, never more of it than is allowed; one that says it is larger is not read."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise TooLargeError(most)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLargeError(most)
        parts.append(part)
    return b"".join(parts)


async def _bytes(
    visit: Visit, first: Spoken, events: AsyncIterator[Spoken], encoder: StreamEncoder
) -> AsyncIterator[bytes]:
    """The sound as it is made."""
    try:
        async for audio in _audio(first, events):
            if encoded := encoder.push(audio):
                yield encoded
        yield encoder.finish()
    finally:
        visit.leave()
        encoder.abandon()


async def _sse(
    visit: Visit, first: Spoken, events: AsyncIterator[Spoken], encoder: StreamEncoder
) -> AsyncIterator[str]:
    """The sound as events, the last of which says how much it was."""
    seconds = first.seconds
    try:
        event: Spoken | None = first
        while event is not None:
            seconds = event.seconds
            if event.audio is not None and (encoded := encoder.push(event.audio)):
                yield _event(type="speech.audio.delta", audio=base64.b64encode(encoded).decode())
            if visit.order.words and event.skipped:
                yield _event(type="speech.skipped", signs=list(event.skipped))
            if visit.order.words and event.text is not None:
                yield _event(type="speech.piece", **piece_words(event))
            try:
                event = None if event.done else await anext(events, None)
            except MamtraError as error:
                yield _event(type="error", error=error_words(error))
                return
        if rest := encoder.finish():
            yield _event(type="speech.audio.delta", audio=base64.b64encode(rest).decode())
        yield _event(type="speech.audio.done", seconds=round(seconds, 3))
    finally:
        visit.leave()
        encoder.abandon()


async def _audio(first: Spoken, events: AsyncIterator[Spoken]) -> AsyncIterator[Any]:
    """The samples of an utterance."""
    event: Spoken | None = first
    while event is not None:
        yield np.zeros(0, np.float32) if event.audio is None else event.audio
        event = None if event.done else await anext(events, None)


def _event(**fields: Any) -> str:
    return f"data: {json.dumps(fields)}\n\n"
