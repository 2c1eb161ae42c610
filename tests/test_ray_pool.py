"""Work over Ray: groups of the same length, workers laid on what is there."""

import sys
import threading
from contextlib import redirect_stdout
from typing import TextIO, cast

import pytest

from mamtra_cli import ray_pool
from mamtra_cli.errors import ClusterError, MissingDependencyError
from mamtra_cli.ray_pool import Cluster, Seats, connected, cut, seats_on


@pytest.mark.parametrize(
    ("asked", "there", "laid"),
    [
        (Cluster(address=""), {"CPU": 16.0, "GPU": 2.0}, Seats(workers=2, threads=4, gpus=1.0)),
        (Cluster(address=""), {"CPU": 16.0}, Seats(workers=4, threads=4, gpus=0.0)),
        (Cluster(address=""), {"CPU": 2.0}, Seats(workers=1, threads=2, gpus=0.0)),
        (
            Cluster(address="", workers=4),
            {"CPU": 16.0, "GPU": 2.0},
            Seats(workers=4, threads=4, gpus=0.5),
        ),
        (Cluster(address="", threads=2), {"CPU": 16.0}, Seats(workers=8, threads=2, gpus=0.0)),
    ],
    ids=["a-gpu-each", "cores", "small", "two-a-gpu", "threads"],
)
def test_workers_are_laid_on_what_is_there(
    asked: Cluster, there: dict[str, float], laid: Seats
) -> None:
    assert seats_on(asked, there) == laid


def test_groups_take_the_same_time_and_lose_nothing() -> None:
    lengths = [5.0, 100.0, 30.0, 30.0, 300.0, *[1.0] * 200]
    groups = list(cut(lengths, float, 1))
    assert [length for group in groups for length in group] == lengths
    assert all(sum(group) <= ray_pool.GROUP_SECONDS or len(group) == 1 for group in groups)
    assert len(list(cut([1.0] * 16, float, 2, 16.0))) == 8


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name=name)

    monkeypatch.setattr(ray_pool, "import_module", absent)
    with pytest.raises(MissingDependencyError) as caught, connected("local"):
        pass
    assert "mamtra-cli[ray]" in str(caught.value.hint)


def test_no_cluster_at_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        @staticmethod
        def is_initialized() -> bool:
            return False

        @staticmethod
        def init(**options: object) -> None:
            raise ConnectionError("no")

    monkeypatch.setattr(ray_pool, "import_module", lambda name: Ray)
    with pytest.raises(ClusterError, match="there is no Ray at `10"):
        connected("10.0.0.1:6379").__enter__()


def test_what_other_threads_print_is_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with redirect_stdout(cast(TextIO, ray_pool._Apart(sys.stdout))):
        thread = threading.Thread(target=print, args=["a worker was lost"])
        thread.start()
        thread.join()
        sys.stdout.write("data\n")
    assert capsys.readouterr() == ("data\n", "a worker was lost\n")
