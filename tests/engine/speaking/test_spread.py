"""Lines over a real Ray of two workers, one of which is killed: the files of one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.command import environment, mamtra
from tests.ray_cluster import TOKEN, kill_one, workers
from tests.tiny_model import write_tiny_model

WORKER = "MapWorker"


@pytest.mark.ray
def test_two_workers_one_killed_write_the_files_of_one_process(
    tmp_path: Path, ray_address: str
) -> None:
    source, model = tmp_path / "lines.jsonl", write_tiny_model(tmp_path / "tiny")
    texts = [f"Line {number} is here. It is one of many." for number in range(40)]
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    line = ["synth", "--jsonl", str(source), "-m", str(model), "-d"]
    assert mamtra(*line, str(tmp_path / "one")).rc == 0
    before = workers(WORKER)
    many = [*line, str(tmp_path / "two"), "--ray", ray_address, "--workers", "2"]
    running = subprocess.Popen(
        [sys.executable, "-m", "mamtra_cli", *many],
        env=environment(TOKEN),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    first = running.stdout.readline()
    kill_one(WORKER, before)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    said = (first + out).splitlines()
    assert not [line for line in said if not line.startswith("{")]  # stdout is data
    ids = [json.loads(record)["id"] for record in said]
    assert sorted(ids) == [f"{number:06}" for number in range(1, 41)]
    records = [
        sorted((tmp_path / name / "results.jsonl").read_text().splitlines())
        for name in ("one", "two")
    ]
    assert records[0] == records[1]
    for path in sorted((tmp_path / "one").glob("*.wav")):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
