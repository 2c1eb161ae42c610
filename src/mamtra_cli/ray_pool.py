"""Groups of work over a pool of workers on Ray, each opened once and kept.

Ray Data holds the pool: it gives a worker one group after another, makes no more groups than are
soon needed, and does the groups of a worker that is lost again. Groups and answers travel pickled,
so the files of a run are written where it was started, by one process. Knows neither models nor
speech.
"""

import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, TextIO, TypeVar, cast

from mamtra_cli.errors import ClusterError, MamtraError, MissingDependencyError

LOCAL = "local"
MOST_THREADS = 4  # of a worker on CPUs, where nobody says how many
GROUP_SECONDS = 120.0  # of sound in a group at most: enough to fill a batch for long
SHARE = 4  # groups that each worker gets at least, where there is so much work
TRIES = 3  # new ones for a group whose worker is lost
AHEAD = 2  # groups that are with a worker at once: the next one is there when one is done
NO_TELEMETRY = {"RAY_USAGE_STATS_ENABLED": "0"}
OWN: dict[str, Any] = {"include_dashboard": False}  # of a cluster that is started here
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # as Ray does there: no other address

G = TypeVar("G")
R = TypeVar("R")
T = TypeVar("T")
Work = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Which Ray, and how much of it.

    Attributes:
        address: `local` starts one here for the time of the run; or that of one that runs.
        workers: how many hold the model; 0 is one a GPU, or one for `MOST_THREADS` cores.
        threads: CPU threads of a worker; 0 shares the cores.
    """

    address: str
    workers: int = 0
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Seats:
    """How workers are laid on a cluster: their number, and what each of them takes."""

    workers: int
    threads: int
    gpus: float


def spread(
    cluster: Cluster,
    open: Callable[[int], Callable[[G], R]],
    groups: Callable[[int], Iterable[G]],
    *,
    ordered: bool = False,
) -> Iterator[R]:
    """Yield what workers make of groups, each as it is done.

    Args:
        cluster: where.
        open: given its threads, makes in a worker what turns a group into an answer.
        groups: given the number of workers, makes the groups in a process of the cluster.
        ordered: yield answers in the order of their groups.

    Raises:
        MamtraError: what a worker raised.
        ClusterError: Ray cannot be reached, or a group lost its worker too often.
    """
    with connected(cluster.address) as ray, _told():
        seats = seats_on(cluster, ray.cluster_resources())
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = ordered
        context.target_max_block_size = 1  # a group a block: blocks are what workers are given
        done = (
            ray.data.read_datasource(
                _source(partial(groups, seats.workers)),
                num_cpus=0,
                override_num_blocks=1,
            )
            .map_batches(
                _Worker,
                fn_constructor_kwargs={"open": partial(open, seats.threads)},
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(
                    size=seats.workers, max_tasks_in_flight_per_actor=AHEAD
                ),
                num_cpus=seats.threads,
                num_gpus=seats.gpus,
                max_task_retries=TRIES,
                max_restarts=-1,
            )
            .iter_rows()
        )
        for row in done:
            answer = pickle.loads(row["answer"])
            if isinstance(answer, MamtraError):
                raise answer
            yield answer


def seats_on(cluster: Cluster, resources: dict[str, float]) -> Seats:
    """Lay workers on what a cluster has."""
    cores, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
    each = cluster.threads or MOST_THREADS
    workers = cluster.workers or int(gpus) or max(1, cores // each)
    threads = cluster.threads or max(1, min(MOST_THREADS, cores // workers))
    return Seats(workers=workers, threads=threads, gpus=min(1.0, gpus / workers))


def cut(
    items: Iterable[T], seconds: Callable[[T], float], workers: int, total: float = float("inf")
) -> Iterator[list[T]]:
    """Cut work into groups that take the same time each, in its order.

    Args:
        items: of any number.
        seconds: of sound that are expected of one: a count of items would leave some workers idle
            while others have the long ones.
        workers: that the groups go to.
        total: seconds of all items, where known: there are several groups a worker at least.
    """
    most = min(GROUP_SECONDS, total / (workers * SHARE))
    group: list[T] = []
    held = 0.0
    for item in items:
        takes = seconds(item)
        if group and held + takes > most:
            yield group
            group, held = [], 0.0
        group.append(item)
        held += takes
    if group:
        yield group


@contextmanager
def connected(address: str, part: str = "data") -> Iterator[Any]:
    """Give Ray, connected to a cluster for the time of the block.

    Args:
        address: see `Cluster`.
        part: of Ray that is used too: `data` or `serve`.

    Raises:
        MissingDependencyError: the extra `ray` is not installed.
        ClusterError: there is no cluster at that address.
    """
    here = address == LOCAL or address.startswith(("127.", "localhost:"))
    for name, value in (NO_TELEMETRY | (LOOPBACK if here else {})).items():
        os.environ.setdefault(name, value)
    try:
        ray = import_module("ray")
        import_module(f"ray.{part}")
    except ImportError as error:
        raise MissingDependencyError(
            "Ray is not installed", "pip install 'mamtra-cli[ray]'"
        ) from error
    started = not ray.is_initialized()
    if started:
        own = OWN if address == LOCAL else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:  # Ray raises it itself where a node does not come up
            raise ClusterError(
                f"there is no Ray at `{address}`, or it does not let us in",
                "start one with `ray start --head`; where it asks for a token, RAY_AUTH_MODE=token",
            ) from error
    for name in ("ray", "ray.data", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        # What Ray says of lost workers it prints, from a thread: stdout is for data alone.
        with redirect_stdout(cast(TextIO, _Apart(sys.stdout))):
            yield ray
    finally:
        if started:
            with redirect_stdout(sys.stderr):  # it says the rest now
                ray.shutdown()


class _Apart:
    """A stdout for the thread that made it; what others print goes to stderr."""

    def __init__(self, stdout: TextIO) -> None:
        self.stdout, self.owner = stdout, threading.get_ident()

    def write(self, text: str) -> int:
        """Write where the thread may."""
        owns = threading.get_ident() == self.owner
        return (self.stdout if owns else sys.stderr).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stdout, name)


class _Worker:
    """What Ray keeps in a process: opened at its first group, so that a failure is an answer."""

    def __init__(self, open: Callable[[], Work]) -> None:
        self.open = open
        self.work: Work | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Do the one group of a batch."""
        answer: Any
        try:
            self.work = self.work or self.open()
            answer = self.work(pickle.loads(batch["group"][0]))
        except MamtraError as error:
            answer = error
        return {"answer": [pickle.dumps(answer)]}


def _source(make: Callable[[], Iterable[Any]]) -> Any:
    """A source of rows that are made one by one, as fast as they are taken."""
    import pyarrow
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    def read() -> Iterator[Any]:
        for group in make():
            yield pyarrow.table({"group": [pickle.dumps(group)]})

    class Groups(Datasource):  # type: ignore[misc]
        """One task that makes all groups."""

        def get_read_tasks(self, parallelism: int, *args: Any, **more: Any) -> list[Any]:
            del parallelism, args, more
            unknown = BlockMetadata(
                num_rows=None, size_bytes=None, input_files=None, exec_stats=None
            )
            return [ReadTask(read, unknown)]

        def estimate_inmemory_data_size(self) -> None:
            return None

    return Groups()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what Ray says of workers into words of ours."""
    from ray.exceptions import RayActorError, RayError, RayTaskError

    try:
        yield
    except RayActorError as error:
        raise ClusterError(
            f"a worker was lost {TRIES + 1} times at the same work",
            "it may lack memory: fewer `--workers`, or smaller `--rows`",
        ) from error
    except RayTaskError as error:
        cause = getattr(error.cause, "__cause__", None) or error.cause
        if isinstance(cause, MamtraError):
            raise cause from error
        raise ClusterError(f"a worker failed: {type(cause).__name__}: {cause}") from error
    except RayError as error:
        raise ClusterError(f"Ray failed: {type(error).__name__}") from error
