"""What answers hold: errors as a status and JSON, pieces as they are told, batches as archives."""

import base64
import io
import json
import logging
import zipfile
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Send

from mamtra_cli.config import to_dict
from mamtra_cli.engine.speaking.studio import Spoken
from mamtra_cli.errors import MamtraError
from mamtra_cli.serving.desk import BusyError
from mamtra_cli.text.subtitles import cues

STATUS = {
    "usage": 400,
    "bad_text": 400,
    "bad_audio": 400,
    "not_found": 404,
    "output": 409,
    "missing_dependency": 501,
}
"""By the cause word of an error; 500 for the others."""


log = logging.getLogger(__name__)


class SoundResponse(StreamingResponse):
    """A body that is sent while it is made; what fails on the way breaks it off.

    Its status has gone by then: the caller knows by a body without an end, the log by a line.
    """

    async def stream_response(self, send: Send) -> None:
        """See `StreamingResponse.stream_response`."""
        try:
            await super().stream_response(send)
        except MamtraError as error:
            log.warning("speech was broken off: %s", error)


class NoKeyError(MamtraError):
    """A caller without the key."""

    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__("the key is missing or wrong", "send Authorization: Bearer KEY")


class TooLargeError(MamtraError):
    """A body beyond its bound."""

    code = "too_large"

    def __init__(self, most: int) -> None:
        super().__init__(f"the body is larger than {most:,} bytes", "send less at once")


def error_words(error: MamtraError) -> dict[str, Any]:
    """An error as clients of OpenAI read it, and its hint."""
    return {"message": error.message, "hint": error.hint, "code": error.code, "type": "error"}


def piece_words(event: Spoken) -> dict[str, Any]:
    """A piece that has ended: text and seconds, its words if they are known, and its subtitles."""
    assert event.text is not None
    start, end = round(event.start, 3), round(event.seconds, 3)
    return {
        "text": event.text,
        "start": start,
        "end": end,
        "words": [to_dict(word) for word in event.words],
        "cues": [to_dict(cue) for cue in cues(event.text, start, end, event.words)],
        "tokens": event.tokens,
        "attempts": event.attempts,
        "rejected": list(event.rejected),
        "cut": event.cut,
    }


def zipped(entries: list[dict[str, Any]]) -> bytes:
    """The sounds of a batch as files named by their number, and what was said of each."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive:
        for entry in entries:
            if "audio" in entry:
                name = f"{entry['index']:05d}.{entry['format']}"
                archive.writestr(name, base64.b64decode(entry.pop("audio")))
                entry["file"] = name
        archive.writestr("results.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))
    return memory.getvalue()


def told(error: Exception) -> JSONResponse:
    """An error as an answer."""
    if isinstance(error, BusyError):
        answer = JSONResponse({"error": error_words(error)}, status_code=error.status)
        answer.headers["Retry-After"] = str(error.retry_after)
        return answer
    if isinstance(error, NoKeyError):
        return JSONResponse({"error": error_words(error)}, status_code=401)
    if isinstance(error, TooLargeError):
        return JSONResponse({"error": error_words(error)}, status_code=413)
    if isinstance(error, MamtraError):
        return JSONResponse({"error": error_words(error)}, status_code=STATUS.get(error.code, 500))
    if isinstance(error, ClientDisconnect):
        return answer_error(499, "gone", "the caller has left", None)
    status = getattr(error, "status_code", 500)
    known = {404: ("not_found", "there is no such endpoint"), 405: ("method", "wrong method")}
    code, message = known.get(status, ("internal", "something failed; see the server's log"))
    if status not in known:
        detail = getattr(error, "detail", "")
        if 400 <= status < 500:
            code, message = "usage", str(detail)[:200]
    return answer_error(status, code, message, "see GET / and docs/serve.md")


def answer_error(status: int, code: str, message: str, hint: str | None) -> JSONResponse:
    """An answer that says what is wrong."""
    words = {"message": message, "hint": hint, "code": code, "type": "error"}
    return JSONResponse({"error": words}, status_code=status)
