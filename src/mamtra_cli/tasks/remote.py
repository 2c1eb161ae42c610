"""Speak a text by a server that runs: `synth --server URL`. No model is loaded here.

The server is sent what concerns the text; sound comes back as floats and is written here, so a file
is the same as one that is made without the server.
"""

import base64
import json
import os
import re
import time
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np

from mamtra_cli import errors
from mamtra_cli.config import reason
from mamtra_cli.errors import MamtraError, ServerError, UsageError
from mamtra_cli.events import Note, Report, Stage, ignore, remembering
from mamtra_cli.recipes.knob import check_bounds, check_heeded
from mamtra_cli.recipes.synth import SynthRecipe, SynthResult, cut_words
from mamtra_cli.recipes.times import TimedPiece, TimedWord
from mamtra_cli.sink import check_files, check_source, sound_sink, text_of, write_subtitles
from mamtra_cli.text.encoding import read_text

PATIENCE = 600.0  # seconds without a byte
HEEDED = frozenset(
    "text input_file output format sample_rate raw stream force model voice instruct speed volume "
    "tags lexicon on_unreadable words srt vtt seed server play threads".split()
)
"""Fields of the recipe that a server or this side heeds; the rest is the server's own."""


def synth_remote(recipe: SynthRecipe, report: Report = ignore) -> SynthResult:
    """Speak the text of a recipe by the server that it names.

    Raises:
        UsageError: something is asked for that the server decides.
        ServerError: there is no server, or one that is not ours.
        MamtraError: what the server refused, as if it had been refused here.
    """
    check(recipe)
    report, warnings = remembering(report)
    text = text_of(recipe)
    format = check_files(recipe)
    server = Server(recipe.server)
    started = time.perf_counter()
    model = server.ask("/v1/models")["data"][0]["id"]
    voices = server.ask("/v1/audio/voices")["voices"]
    voice = recipe.voice or (voices[0]["name"] if voices else "")
    report(Stage(name="speaking", detail=recipe.server))
    events = server.speak(_order(recipe, text))
    begun = next(events)
    rate, voice = begun["rate"], begun["voice"] or voice
    first: float | None = None
    samples = 0
    spoken: list[TimedPiece] = []
    made: list[dict[str, Any]] = []
    skipped: list[str] = []
    with sound_sink(recipe, rate=rate, format=format, model=model, voice=voice) as write:
        for event in events:
            if event["type"] == "speech.audio.delta":
                first = first or time.perf_counter()
                sound = np.frombuffer(base64.b64decode(event["audio"]), "<f4")
                write(sound)
                samples += len(sound)
            elif event["type"] == "speech.piece":
                made.append(event)
                if event.get("cut"):
                    report(Note(text=cut_words(event["text"], event["tokens"]), warning=True))
                spoken.append(_piece(event))
            elif event["type"] == "speech.skipped":
                skipped += event["signs"]
                report(Note(text=f"not read: {', '.join(event['signs'])}", warning=True))
            elif event["type"] == "error":
                raise _error(event["error"])
    write_subtitles(recipe, spoken)
    ended = time.perf_counter()
    seconds = samples / rate
    return SynthResult(
        output=recipe.output,
        model=model,
        voice=voice,
        mode="",
        seed=recipe.seed,
        seconds=seconds,
        sample_rate=recipe.sample_rate or rate,
        pieces=len(made),
        tokens=sum(piece["tokens"] for piece in made),
        attempts=sum(piece["attempts"] for piece in made),
        load_seconds=0.0,
        first_audio_seconds=(first or ended) - started,
        compute_seconds=ended - started,
        rtf=(ended - started) / seconds if seconds else 0.0,
        rejected=tuple(cause for piece in made for cause in piece["rejected"]),
        skipped=tuple({"sign": sign, "name": "", "sentence": ""} for sign in skipped),
        warnings=tuple(warnings),
        device=recipe.server,
        spoken=tuple(spoken),
    )


def check(recipe: SynthRecipe) -> None:
    """Refuse what a server decides for itself, and what cannot be."""
    check_source(recipe)
    hint = "leave it out, or leave out `--server`"
    check_heeded(recipe, HEEDED, "cannot be asked of a server", hint)
    check_bounds(recipe)


def _order(recipe: SynthRecipe, text: str) -> dict[str, Any]:
    """The body of the request."""
    order: dict[str, Any] = {
        "input": text,
        "voice": recipe.voice,
        "speed": recipe.speed,
        "volume": recipe.volume,
        "seed": recipe.seed,
        "instructions": recipe.instruct,
        "tags": recipe.tags,
        "on_unreadable": recipe.on_unreadable,
        "timestamps": True,
        "whole": not recipe.stream,
        "response_format": "f32",
        "stream_format": "sse",
    }
    if recipe.model != SynthRecipe.model:
        order["model"] = recipe.model
    if recipe.lexicon is not None:
        order["lexicon"] = read_text(recipe.lexicon)
    return order


def _piece(event: dict[str, Any]) -> TimedPiece:
    words = tuple(TimedWord(**word) for word in event["words"])
    return TimedPiece(text=event["text"], start=event["start"], end=event["end"], words=words)


class Server:
    """A server of ours at an address.

    Args:
        url: `http://HOST:PORT`, perhaps with a path.

    Raises:
        UsageError: it is no such address.
    """

    def __init__(self, url: str) -> None:
        self._url = url if "://" in url else f"http://{url}"
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", self._url):
            raise UsageError(f"`--server {url}` is no address", "such as http://127.0.0.1:8880")
        key = os.environ.get("MAMTRA_SERVE_KEY", "")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A server of ours is spoken to directly, whatever proxy the web is reached by.
        self._opener = build_opener(ProxyHandler({}))

    def ask(self, path: str) -> Any:
        """What a GET answers."""
        with self._request(path) as answer:
            return json.load(answer)

    def speak(self, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The rate, and the voice if it is another, in a first event; then those of the speech."""
        with self._request("/v1/audio/speech", json.dumps(order).encode()) as answer:
            told = answer.headers
            yield {"rate": int(told["X-Sample-Rate"]), "voice": told.get("X-Voice", "")}
            for line in answer:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def _request(self, path: str, body: bytes | None = None) -> Any:
        request = Request(self._url.rstrip("/") + path, body, self._headers)
        try:
            return self._opener.open(request, timeout=PATIENCE)
        except HTTPError as error:
            with error:
                told = error.read()
            raise self._refused(error.code, told) from None
        except (OSError, HTTPException, ValueError) as error:
            raise ServerError(
                f"no server answers at {self._url}: {_cause(error)}",
                "start one: mamtra serve",
            ) from error

    def _refused(self, status: int, told: bytes) -> MamtraError:
        try:
            return _error(json.loads(told)["error"])
        except (ValueError, KeyError, TypeError):
            return ServerError(f"{self._url} answers {status}, not as a server of mamtra does")


def _cause(error: Exception) -> str:
    """Why a request failed, in a few words."""
    inner = getattr(error, "reason", error)
    return reason(inner) if isinstance(inner, Exception) else str(inner)


def _error(told: dict[str, Any]) -> MamtraError:
    """What a server refused, as the error it was there."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    known = {kind.code: kind for kind in kinds if issubclass(kind, MamtraError)}
    kind = known.get(told["code"], MamtraError)
    return kind(told["message"], told.get("hint"))
