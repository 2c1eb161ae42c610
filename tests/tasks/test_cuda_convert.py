"""`convert` on a GPU: the student is fitted where its teacher is, and is the processor's.

On a pretended device (tests/pretended_cuda.py), so that machines without one notice.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pretended_cuda import pretended_cuda
from tests.tiny_model import write_tiny_model

from mamtra_cli.backbone.transfer import fresh_mixer
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.recipes import ConvertRecipe
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tensors import TensorFile

CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "gain": {"calibrate": "gain", "mixer": "mamtra-paper"},
    "window": {"mixer": "swa"},
    "random": {"init": "random"},
    "swap": {"placement": "auto:swap", "ratio": "1:3"},
    "smart": {"placement": "auto:smart"},
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    lines = [
        json.dumps({"text": f"Word {i}.", "tokens": [(7 * i + j) % 49 for j in range(12)]})
        for i in range(30)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return write_tiny_model(folder / "teacher")


def test_new_mixers_seed_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    shape = MixerShape(d_model=8, n_heads=2, n_kv_heads=1, head_dim=4)
    first, again = (fresh_mixer("M", shape, MixerConfig(), 3, torch.float32) for _ in range(2))
    assert not seeded
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("knobs", CASES.values(), ids=CASES)
def test_student_made_on_a_gpu_is_the_one_made_on_the_cpu(
    teacher: Path, tmp_path: Path, knobs: dict[str, Any]
) -> None:
    recipe = ConvertRecipe(
        teacher=str(teacher),
        data=teacher.parent / "pairs.jsonl",
        calibration_tokens=100,
        check_tokens=40,
        **knobs,
    )
    here = convert(replace(recipe, output=tmp_path / "cpu", device="cpu"))
    with pretended_cuda():
        there = convert(replace(recipe, output=tmp_path / "cuda", device="auto"))
    assert there.kinds == here.kinds
    assert there.check == here.check
    one, two = (TensorFile(tmp_path / name / "lm.safetensors") for name in ("cpu", "cuda"))
    for (name, value), (_, other) in zip(one.stream(), two.stream(), strict=True):
        torch.testing.assert_close(value, other, atol=1e-5, rtol=1e-5, msg=name)
