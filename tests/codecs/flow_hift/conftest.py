"""Goldens of the flow and the vocoder as configs, weights and tensors."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
)
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT, fold_weight_norm
from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt
from mamtra_cli.families.cosyvoice2.official.token2wav import OfficialOptions, OfficialTokenToWave


@dataclass(frozen=True)
class Golden:
    """One file of reference data: its json, and its tensors by role."""

    meta: dict[str, Any]
    weights: dict[str, Tensor]
    given: dict[str, Tensor]
    want: dict[str, Tensor]


@pytest.fixture(scope="session")
def golden(goldens: Path) -> Callable[[str], Golden]:
    """Reader of `cosyvoice2/<name>.{json,safetensors}`."""

    def read(name: str) -> Golden:
        tensors = load_file(goldens / "cosyvoice2" / f"{name}.safetensors")

        def role(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        meta = json.loads((goldens / "cosyvoice2" / f"{name}.json").read_text())
        return Golden(meta, role("weights/"), role("in/"), role("out/"))

    return read


@pytest.fixture(scope="session")
def flow_config() -> Callable[[dict[str, Any]], FlowConfig]:
    """Translator of a golden's json to our config."""

    def translate(meta: dict[str, Any]) -> FlowConfig:
        encoder, estimator = meta["encoder"], meta["estimator"]
        return FlowConfig(
            vocab_size=meta["vocab_size"],
            mel_bins=meta["mel_bins"],
            speaker_dim=meta["spk_dim"],
            steps=meta["steps"],
            cfg_rate=meta["cfg_rate"],
            encoder=FlowEncoderConfig(
                width=encoder["width"],
                heads=encoder["heads"],
                d_ff=encoder["ff"],
                blocks=encoder["blocks"],
                up_blocks=encoder["up_blocks"],
                lookahead=encoder["pre_lookahead_len"],
                upsample=encoder["upsample"],
                chunk=encoder["static_chunk_size"],
            ),
            estimator=FlowEstimatorConfig(
                channels=estimator["channels"][0],
                heads=estimator["heads"],
                head_dim=estimator["head_dim"],
                n_blocks=estimator["n_blocks"],
                mid_blocks=estimator["mid_blocks"],
                chunk=estimator["static_chunk_size"],
            ),
        )

    return translate


@pytest.fixture(scope="session")
def small_flow(
    golden: Callable[[str], Golden], flow_config: Callable[[dict[str, Any]], FlowConfig]
) -> Flow:
    """The whole flow of the goldens. Read-only."""
    data = golden("flow_full")
    flow = Flow(flow_config(data.meta))
    flow.load_state_dict(data.weights)
    return flow.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def small_hift(golden: Callable[[str], Golden]) -> HiFT:
    """The vocoder of the goldens. Read-only."""
    data = golden("hift_decode")
    hift = HiFT(
        HiFTConfig(base_channels=data.meta["base_channels"], f0_channels=data.meta["f0_channels"])
    )
    hift.load_state_dict(fold_weight_norm(data.weights))
    return hift.eval().requires_grad_(False)


@pytest.fixture
def prompt(golden: Callable[[str], Golden]) -> VoicePrompt:
    given = golden("token2wav").given
    return VoicePrompt(
        speaker=given["embedding"], tokens=given["prompt_token"], mel=given["prompt_feat"]
    )


@pytest.fixture
def tokens(golden: Callable[[str], Golden]) -> list[int]:
    return golden("token2wav").given["token"][0].tolist()


@pytest.fixture
def official(
    golden: Callable[[str], Golden], small_flow: Flow, small_hift: HiFT
) -> OfficialTokenToWave:
    meta = golden("token2wav").meta
    options = OfficialOptions(
        hop_tokens=meta["token_hop_len"],
        max_hop_tokens=meta["token_max_hop_len"],
        hop_growth=meta["stream_scale_factor"],
        cache_frames=meta["mel_cache_len"],
        source_noise=False,
    )
    return OfficialTokenToWave(flow=small_flow, hift=small_hift, options=options)
