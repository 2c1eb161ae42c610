"""Speak to many callers over HTTP until stopped."""

import asyncio
import contextlib
import logging
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamtra_cli.engine.loading.light import Wishes
from mamtra_cli.engine.loading.opening import open_talker
from mamtra_cli.engine.speaking.many import EngineStudio
from mamtra_cli.engine.speaking.workshop import sound_threads
from mamtra_cli.errors import (
    AudioError,
    MamtraError,
    MissingDependencyError,
    OutputError,
    UsageError,
)
from mamtra_cli.events import Note, Report, ignore
from mamtra_cli.ray_pool import Cluster
from mamtra_cli.recipes.serve import LOOPBACK, ServeRecipe, ServeResult, ServeStart
from mamtra_cli.recipes.voice import VoiceAddRecipe, VoiceAddResult

if TYPE_CHECKING:
    from starlette.applications import Starlette

SENT = "the recording"
MakeVoice = Callable[[VoiceAddRecipe], VoiceAddResult]


def serve(
    recipe: ServeRecipe,
    report: Report = ignore,
    make_voice: MakeVoice | None = None,
    ready: Callable[[ServeStart], None] = lambda start: None,
) -> ServeResult:
    """Serve a model until the process is interrupted, which is how a server is stopped.

    Args:
        recipe: what to serve, where, and to how many.
        report: hears of progress.
        make_voice: the task that makes voices, for `allow_voices`.
        ready: hears where it is served, once callers may come.

    Raises:
        UsageError: another machine could call, and there is no key.
        OutputError: the address is taken.
        MamtraError: the model cannot speak, where it is to speak first (`warmup`).
        MissingDependencyError: the packages of the extra `serve` are not installed.
        KeyboardInterrupt: a second one came while callers were still spoken to, and cut them off.
    """
    check(recipe)
    try:
        import uvicorn

        import mamtra_cli.serving.app  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"serving needs a package that is not installed: {error.name}",
            "pip install 'mamtra-cli[serve]'",
        ) from error
    started = time.monotonic()
    line = _listen(recipe)
    host, port = line.getsockname()[:2]
    address = f"http://{host}:{port}"
    begun = ServeStart(model=recipe.model, address=address)

    def tell() -> None:
        report(Note(text=f"speaking at {address}, a page for people at {address}/"))
        ready(begun)

    if recipe.ray:
        from mamtra_cli.serving.replicas import serve_replicas

        line.close()  # it was free; Ray's proxy opens it itself
        with contextlib.suppress(KeyboardInterrupt):
            serve_replicas(
                Cluster(address=recipe.ray, workers=recipe.replicas, threads=recipe.threads),
                partial(_replica, recipe, make_voice),
                host=recipe.host,
                port=port,
                most=recipe.rows + recipe.queue,
                ready=tell,
            )
    else:
        failures: list[MamtraError] = []

        def stop(error: MamtraError) -> None:
            failures.append(error)
            server.should_exit = True

        config = uvicorn.Config(
            app_of(recipe, make_voice, report, unready=stop),
            log_level="warning",
            timeout_graceful_shutdown=round(recipe.patience) + 1,
        )
        server = uvicorn.Server(config)
        # Callers who are cut off are told as tracebacks; they were cut off on purpose.
        logging.getLogger("uvicorn.error").addFilter(lambda record: not server.force_exit)
        tell()
        # uvicorn raises the interrupt again once everybody was served.
        with line, contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[line])
        if failures:
            raise failures[0]
        if server.force_exit:
            raise KeyboardInterrupt
    return ServeResult(
        model=recipe.model, address=address, seconds=round(time.monotonic() - started, 3)
    )


def app_of(
    recipe: ServeRecipe,
    make_voice: MakeVoice | None = None,
    report: Report = ignore,
    unready: Callable[[MamtraError], object] | None = None,
) -> "Starlette":
    """The application over a model that is loaded when the first caller comes; see `Settings`."""
    from mamtra_cli.serving.app import Settings, make_app
    from mamtra_cli.serving.desk import Desk, Limits
    from mamtra_cli.serving.metrics import Metrics

    def open_studio() -> EngineStudio:
        wishes = Wishes(device=recipe.device, dtype=recipe.dtype, threads=recipe.threads)
        engine = open_talker(recipe.model, wishes, report=report)
        return EngineStudio(
            engine,
            rows=recipe.rows,
            library=recipe.voices,
            sounders=sound_threads(engine, recipe.threads),
        )

    async def new_voice(name: str, clip: bytes, transcript: str, consent: str) -> dict[str, Any]:
        assert make_voice is not None
        asked = partial(_new_voice, make_voice, recipe, name, clip, transcript, consent)
        return await asyncio.to_thread(asked)

    metrics = Metrics()
    limits = Limits(
        queue=recipe.queue,
        memory=round(recipe.memory_limit * 1e9),
        idle_unload=recipe.idle_unload,
    )
    desk = Desk(open_studio, limits, metrics)
    settings = Settings(
        key=recipe.key,
        max_characters=recipe.max_characters,
        patience=recipe.patience,
        warmup=recipe.warmup,
        unready=unready,
        add_voice=new_voice if recipe.allow_voices and make_voice else None,
    )
    return make_app(desk, metrics, settings)


def _replica(recipe: ServeRecipe, make_voice: MakeVoice | None, threads: int) -> "Starlette":
    """The application in a replica."""
    return app_of(replace(recipe, threads=threads), make_voice)


def check(recipe: ServeRecipe) -> None:
    """Refuse an address that others reach without a key."""
    if recipe.host not in LOOPBACK and not recipe.key:
        raise UsageError(
            f"`--host {recipe.host}` lets other machines call, and there is no key",
            "set MAMTRA_SERVE_KEY, or leave out `--host`",
        )


def _listen(recipe: ServeRecipe) -> socket.socket:
    """A listening socket, so that a taken port is told before anything is loaded."""
    family = socket.AF_INET6 if ":" in recipe.host else socket.AF_INET
    line = socket.socket(family, socket.SOCK_STREAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        line.bind((recipe.host, recipe.port))
        line.listen(128)
    except OSError as error:
        line.close()
        raise OutputError(
            f"cannot listen on {recipe.host}:{recipe.port}: {error.strerror}",
            "choose another port: `--port 0` takes a free one",
        ) from error
    return line


def _new_voice(
    make: MakeVoice, recipe: ServeRecipe, name: str, clip: bytes, transcript: str, consent: str
) -> dict[str, Any]:
    """Make a voice of an uploaded clip."""
    if not consent.strip():
        raise UsageError("a voice needs the consent of its speaker", "send the field `consent`")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        path.write_bytes(clip)
        asked = VoiceAddRecipe(
            name=name,
            clip=path,
            text=transcript,
            consent=consent,
            model=recipe.model,
            voices=recipe.voices,
            device=recipe.device,
        )
        try:
            made = make(asked)
        except AudioError as error:  # its file here is no business of a caller
            raise AudioError(error.message.replace(f"`{path}`", SENT), error.hint) from error
    advice = [line.replace(f"`{path}`", SENT) for line in made.advice]
    return {"id": made.voice.name, "name": made.voice.name, "advice": advice}
