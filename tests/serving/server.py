"""A real server on loopback, in a thread of the test, and one question to it."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from mamtra_cli.serving.app import Settings, make_app
from mamtra_cli.serving.desk import Desk, Limits
from mamtra_cli.serving.metrics import Metrics


@contextmanager
def served(
    studio: Any, limits: Limits | None = None, settings: Settings | None = None
) -> Iterator[str]:
    """The address of a server over a studio."""
    metrics = Metrics()
    desk = Desk(lambda: studio, limits or Limits(), metrics)
    app = make_app(desk, metrics, settings or Settings(patience=2.0))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def ask(
    host: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection(host, timeout=30)
    plain = body is None or isinstance(body, bytes | Iterator)
    data = body if plain else json.dumps(body).encode()
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()
