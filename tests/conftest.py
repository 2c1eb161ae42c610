"""House-wide test rules: NaN-filled `torch.empty`, no network, a GPU, where the goldens are."""

import gc
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.command import close_fork_server, share_fork_server
from tests.pretended_cuda import pretended_cuda
from tests.ray_cluster import cluster
from torch.utils._device import _device_constructors

HERE = Path(__file__).parent

# Torch looks its constructors up once: were `empty` replaced by then, `torch.device("meta")` and
# the like would no longer apply to it.
_device_constructors()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--goldens",
        type=Path,
        default=HERE / "goldens",
        help="folder with hybrid/ and cosyvoice2/ reference data (default: tests/goldens)",
    )

    parser.addoption(
        "--ray", action="store_true", help="run the tests that start a Ray here (a minute each)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep what tests cache in a folder of this run, which its workers inherit, not the user's.

    Workers also share what programs under test are forked from: its imports take seconds.
    Programs under test must hear Ctrl-C, also where the whole run is told not to.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what it puts aside
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="mamtra-cache-")
        config.add_cleanup(folder.cleanup)
        os.environ["MAMTRA_CACHE"] = folder.name
        if config.getoption("numprocesses", None) and hasattr(os, "fork"):
            share_fork_server()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a Ray, unless it is asked for."""
    if config.getoption("--ray"):
        return
    skip = pytest.mark.skip(reason="starts a Ray: run with --ray")
    for item in items:
        if "ray" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Let no collection of garbage look again at what was imported."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """End what the tests have started processes with."""
    close_fork_server()


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Address of a Ray of two cores that runs on this machine."""
    with cluster() as address:
        yield address


def pytest_report_header() -> str:
    if torch.cuda.is_available():
        return f"gpu tests: on {torch.cuda.get_device_name()}"
    return "gpu tests: no GPU is here; on a pretended device, which runs no kernels"


@pytest.fixture(scope="session")
def small_models() -> Path:
    """The kept reference data as models to speak with; `--goldens` names none of these."""
    return HERE / "goldens"


@pytest.fixture(scope="session")
def goldens(request: pytest.FixtureRequest) -> Path:
    """Folder of reference data, one sub-folder a system."""
    folder = request.config.getoption("--goldens")
    assert isinstance(folder, Path)
    return folder


@pytest.fixture(autouse=True)
def unset_memory_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill `torch.empty` with NaN, so that what was never written cannot pass unseen."""
    for name in ("empty", "empty_like"):
        make = getattr(torch, name)

        def filled(*args: Any, _make: Any = make, **options: Any) -> torch.Tensor:
            tensor: torch.Tensor = _make(*args, **options)
            return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

        monkeypatch.setattr(torch, name, filled)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail any connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "local"
        if host not in {"127.0.0.1", "::1", "localhost", "local"}:
            raise AssertionError(f"test tried to reach {host}")
        return connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def some_gpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give a test that wants a GPU a pretended one where there is none."""
    if "gpu" not in request.keywords or torch.cuda.is_available():
        yield
        return
    with pretended_cuda():
        yield
