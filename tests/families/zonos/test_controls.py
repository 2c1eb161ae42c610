"""Negative controls: a broken implementation fails the very checks that ours passes elsewhere.

Each error passes every check of shapes; each was made once by someone who ported these models.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.zonos import test_conditioner, test_lm
from tests.ops import test_shaping
from torch import Tensor

from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.ops import shaping

Patch = pytest.MonkeyPatch


def flipped_pairs(patch: Patch) -> None:
    read = test_lm.config_of

    def other(told: dict[str, Any]) -> Any:
        attention = dict(told["backbone"]["attn_cfg"])
        attention["rotary_emb_interleaved"] = not attention.get("rotary_emb_interleaved", False)
        return read({**told, "backbone": {**told["backbone"], "attn_cfg": attention}})

    patch.setattr(test_lm, "config_of", other)


def swapped_halves(patch: Patch) -> None:
    named = test_lm.to_ours
    exchange = {"up_proj": "gate_proj", "gate_proj": "up_proj"}

    def other(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            ".".join(exchange.get(word, word) for word in name.split(".")): value
            for name, value in named(tensors).items()
        }

    patch.setattr(test_lm, "to_ours", other)


def norm_before_gate(patch: Patch) -> None:
    def tail(layer: NativeMamba2Layer, y: Tensor, gate: Tensor, *_: object) -> Tensor:
        normed: Tensor = layer.norm(y)
        return normed * torch.nn.functional.silu(gate)

    patch.setattr(NativeMamba2Layer, "tail", tail)


def sines_before_cosines(patch: Patch) -> None:
    cos, sin = torch.Tensor.cos, torch.Tensor.sin
    patch.setattr(torch.Tensor, "cos", lambda x: sin(x))
    patch.setattr(torch.Tensor, "sin", lambda x: cos(x))


def broken_penalty(patch: Patch, history: Callable[[Tensor], Tensor]) -> None:
    ours = shaping.penalised
    for module in (shaping, test_shaping):
        patch.setattr(module, "penalised", lambda x, past, r: ours(x, history(past), r))


def doubled_id_once(patch: Patch) -> None:
    def once(history: Tensor) -> Tensor:
        """Ids like the last one of their row become one that is barred anyway."""
        doubled = history[..., :-1] == history[..., -1:]
        past = history[..., :-1].masked_fill(doubled, 1025)
        return torch.cat((past, history[..., -1:]), dim=-1)

    broken_penalty(patch, once)


def clamped_history(patch: Patch) -> None:
    broken_penalty(patch, lambda history: history.clamp(max=1024))


def stack(goldens: Path, name: str) -> None:
    test_lm.test_stack_is_the_published_one(goldens, name)


def prefix(goldens: Path, name: str) -> None:
    test_conditioner.test_prefix_is_the_published_one(goldens, name)


def native(goldens: Path, name: str) -> None:
    del name
    test_lm.test_native_layer_is_the_published_one(goldens)


def penalty(goldens: Path, name: str) -> None:
    del name
    inputs = test_shaping.load_file(goldens / "zonos/sampling_inputs.safetensors")
    test_shaping.test_penalty_counts_every_occurrence_and_clamps_to_the_width(goldens, inputs)


@pytest.mark.parametrize(
    ("broken", "check", "name"),
    [
        (flipped_pairs, stack, "transformer"),
        (flipped_pairs, stack, "hybrid"),
        (swapped_halves, stack, "transformer"),
        (swapped_halves, stack, "hybrid"),
        (norm_before_gate, stack, "hybrid"),
        (norm_before_gate, native, "block"),
        (sines_before_cosines, prefix, "transformer"),
        (sines_before_cosines, prefix, "hybrid"),
        (doubled_id_once, penalty, "history"),
        (clamped_history, penalty, "history"),
    ],
)
def test_a_broken_implementation_is_caught(
    goldens: Path,
    monkeypatch: Patch,
    broken: Callable[[Patch], None],
    check: Callable[[Path, str], None],
    name: str,
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        check(goldens, name)
