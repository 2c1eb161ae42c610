"""Parts as they are placed: a large model's flow solves in bfloat16, all around it is float32."""

from pathlib import Path

import pytest
import torch
from tests.tiny_model import write_tiny_model

from mamtra_cli import device
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.engine.model import Engine


@torch.inference_mode()
def mel(engine: Engine) -> torch.Tensor:
    flow = engine.part("flow")
    assert isinstance(flow, Flow)
    ids = torch.arange(30)[None]
    return flow.inference(ids, ids[:, :0], torch.zeros(1, 0, 80), torch.ones(1, 192))


def test_a_large_models_flow_solves_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = str(write_tiny_model(tmp_path / "tiny"))
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: True)
    exact = mel(Engine.load(tiny, device="cpu"))
    monkeypatch.setattr(device, "SMALL", 0)
    engine = Engine.load(tiny, device="cpu")
    narrow = mel(engine)
    assert {p.dtype for p in engine.part("flow").decoder.parameters()} == {torch.bfloat16}  # type: ignore[union-attr]
    assert engine.part("flow").encoder_proj.weight.dtype is torch.float32  # type: ignore[union-attr]
    assert narrow.dtype is torch.float32
    assert 0 < (narrow - exact).abs().mean() < 0.02 * exact.abs().mean()
    wide = mel(Engine.load(tiny, device="cpu", dtype="float32"))
    assert torch.equal(wide, exact)
