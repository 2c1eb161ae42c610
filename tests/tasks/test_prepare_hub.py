"""`prepare` of a data set on the hub, fetched from a loopback server with the real client."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.command import Worker
from tests.loopback_hub import File, Hub, Repo, loopback_hub
from tests.sounds import sound_bytes
from tests.tasks.preparing import rows


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Worker]]:
    with loopback_hub() as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path_factory.mktemp("home"))}
        env |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        with Worker(env) as worker:
            yield hub, worker


def test_a_dataset_of_the_hub_is_fetched_and_prepared(
    online: tuple[Hub, Worker], tmp_path: Path
) -> None:
    hub, worker = online
    audio = [{"bytes": sound_bytes(0.6, i), "path": f"{i}.flac"} for i in range(2)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"audio": audio, "text": ["Hello there.", "A cat sat."]}), sink)
    files = {
        "README.md": File(b"speech", False),
        "data/train-0.parquet": File(sink.getvalue().to_pybytes(), True),
    }
    hub.repos["loop/speech"] = Repo(private=False)
    hub.repos["loop/speech"].commit("main", "data", files)
    done = worker.run(
        "prepare", "loop/speech", "-o", tmp_path / "out", "--device", "cpu", "--no-plot", "--json"
    )
    assert done.rc == 0, done.err + done.out
    assert (done.json["written"], done.json["format"]) == (2, "hf")
    assert {row["source"] for row in rows(tmp_path / "out").values()} == {
        f"loop/speech/data/train-0.parquet#{i}" for i in range(2)
    }
    missing = worker.run("prepare", "loop/none", "-o", tmp_path / "none", "--json")
    assert (missing.rc, missing.json["code"]) == (1, "bad_data")
