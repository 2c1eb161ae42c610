"""Rows over a real Ray of two workers: the shards of one process."""

from pathlib import Path

import pytest
from tests.command import mamtra
from tests.ray_cluster import TOKEN
from tests.tiny_model import write_tiny_model

from mamtra_cli.engine.preparing.shards import list_shards


@pytest.mark.ray
def test_two_workers_write_the_shards_of_one_process(tmp_path: Path, ray_address: str) -> None:
    model = write_tiny_model(tmp_path / "tiny", copies=True)
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(f'{{"text": "Clip {number}."}}\n' for number in range(6)))
    assert mamtra("synth", "--jsonl", lines, "-m", model, "-d", tmp_path / "clips").rc == 0
    for path in sorted((tmp_path / "clips").glob("*.wav")):
        path.with_suffix(".txt").write_text(f"Clip {path.stem}.")
    inputs = {
        "heard": [str(tmp_path / "clips"), "--format", "folder"],
        "spoken": ["--synthetic", "--tokens", "1500"],
    }
    for name, input in inputs.items():
        line = ["prepare", *input, "-m", str(model), "--no-plot", "-o"]
        one, two = tmp_path / f"{name}-1", tmp_path / f"{name}-2"
        done = mamtra(*line, one, "--json")
        assert done.rc == 0, done.err
        many = mamtra(*line, two, "--ray", ray_address, "--workers", "2", "--json", env=TOKEN)
        assert many.rc == 0, many.err
        assert (many.json["written"], many.json["bad"]) == (done.json["written"], done.json["bad"])
        shards = [[path.read_bytes() for path in list_shards(folder)] for folder in (one, two)]
        assert shards[0] == shards[1]
        again = mamtra(*line, two, "--ray", ray_address, "--workers", "2", "--json", env=TOKEN)
        assert again.json["written"] == 0
