"""What one layer of a kind costs at the size of CosyVoice 2: bytes, weights, break-even, time.

Bytes and break-even are those of `backbone.costs` (float32 states, bfloat16 caches). A step is that
of the mixer alone, batch 1, one thread: processor time, the minimum of rounds in which kinds take
turns, so that only ratios within one measurement say anything. Knows mixers, no models.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from mamtra_cli.backbone import costs
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.kinds import ATTENTION, letter_of
from mamtra_cli.layers.mixer_config import MixerConfig

SIZE: dict[str, Any] = {"d_model": 896, "n_heads": 14, "n_kv_heads": 2, "head_dim": 64}
FULL = HybridConfig(n_layers=24, d_ff=4864, **SIZE)
CONTEXTS = (256, 1024, 4096)
STEPS = 20  # of a round


@dataclass(frozen=True, kw_only=True)
class LayerCosts:
    """Numbers of one layer.

    Attributes:
        kilobytes: that it holds, however long the text.
        parameters: millions more than attention's.
        memory_tokens: from which it holds less than attention.
        traffic_tokens: from which a step moves less.
    """

    kilobytes: float
    parameters: float
    memory_tokens: float
    traffic_tokens: float


def sizes(mixer: MixerConfig) -> LayerCosts:
    """What one layer costs."""
    letter = letter_of(mixer.mixer)
    one = replace(FULL, n_layers=1, kinds=letter, mixer=mixer)
    attention = costs.layer_parameters(one, ATTENTION)
    even = costs.break_even(one, kind=letter)
    return LayerCosts(
        kilobytes=costs.cache_bytes(one, 1 << 20) / 1000,
        parameters=(costs.layer_parameters(one, letter) - attention) / 1e6,
        memory_tokens=even.memory,
        traffic_tokens=even.traffic,
    )


@torch.no_grad()
def step_times(
    mixers: Mapping[str, MixerConfig], rounds: int, contexts: tuple[int, ...] = CONTEXTS
) -> dict[str, dict[str, float]]:
    """Microseconds of one step without its feed-forward, by name and context; attention first."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made: dict[str, Any] = {}
    for name in ["attention", *mixers]:
        mixer = mixers.get(name, MixerConfig())
        kinds = letter_of(mixer.mixer) if name in mixers else ATTENTION
        config = HybridConfig(n_layers=1, d_ff=0, ffn="none", kinds=kinds, mixer=mixer, **SIZE)
        made[name] = HybridStack(config).eval()
    best: dict[str, dict[str, float]] = {name: {} for name in made}
    for context in contexts:
        x = torch.randn(1, context, SIZE["d_model"])
        ready = {}
        for name, stack in made.items():
            fused = FusedStack(stack, share=True)
            ready[name] = (fused, fused.start(stack(x).state, STEPS * rounds + 1))
        for _ in range(rounds):
            for name, (fused, state) in ready.items():
                start = time.process_time()
                for _ in range(STEPS):
                    _, state = fused.step(x[:, 0], state)
                spent = (time.process_time() - start) / STEPS * 1e6
                ready[name] = (fused, state)
                key = str(context)
                best[name][key] = min(spent, best[name].get(key, spent))
    return best
