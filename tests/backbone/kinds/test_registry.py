"""The registry of kinds: one file and one line each, nothing imported before it is asked for."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from mamtra_cli.backbone import kinds
from mamtra_cli.backbone.attention_weights import AttentionWeights
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.kinds import Entry, kind_of, letter_of, register, replacing
from mamtra_cli.backbone.kinds.base import Kind
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.errors import CheckpointError, PlanError, UsageError
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig
from mamtra_cli.layers.shape import MixerShape

SHAPE = MixerShape(d_model=16, n_heads=4, n_kv_heads=2, head_dim=4)


class Nothing(Kind):
    """A kind of no layer."""

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        del shape, mixer
        return nn.Identity()


KIND = Nothing()


def test_a_kind_is_a_file_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_KINDS", kinds.kinds())
    register("Z", Entry(name="nothing", file=__name__, mixer="nothing"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[type(KIND).__module__])
    assert type(kind_of("Z")).__name__ == "Nothing"
    assert letter_of("nothing") == "Z"
    assert "Z" in replacing()
    assert LayerPlan.parse("1:1,kind=Z", 4).kinds == "TZTZ"
    with pytest.raises(ValueError, match="taken"):
        register("Z", Entry(name="again", file=__name__))
    with pytest.raises(ValueError, match="capital"):
        register("zz", Entry(name="two", file=__name__))


@pytest.mark.parametrize("letter", ["Q", "P", "R", "L", "t"])
def test_letters_without_a_layer_are_refused_at_once(letter: str) -> None:
    with pytest.raises(PlanError, match=f"`{letter}`") as caught:
        LayerPlan(kinds="T" + letter)
    assert caught.value.hint is not None
    assert (
        "T full attention, M Mamba-2, S sliding-window attention, W window and state, G gated"
        in caught.value.hint
    )
    with pytest.raises(PlanError):
        kind_of(letter)
    with pytest.raises(PlanError):
        LayerPlan.parse(f"1:1,kind={letter}", 4)


@pytest.mark.parametrize("letter", ["T", "N"])
def test_what_models_have_of_their_own_replaces_nothing(letter: str) -> None:
    with pytest.raises(PlanError, match="cannot replace attention"):
        LayerPlan.parse(f"1:1,kind={letter}", 4)
    with pytest.raises(PlanError):
        kind_of(letter).transferred(weights(), SHAPE, MixerConfig())


def weights() -> AttentionWeights:
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    biases = {f"{c}_bias": draw(n) for c, n in (("q", 16), ("k", 8), ("v", 8))}
    return AttentionWeights(q=draw(16, 16), k=draw(8, 16), v=draw(8, 16), o=draw(16, 16), **biases)


def test_biases_that_the_config_does_not_have_are_refused() -> None:
    plain = weights()
    with pytest.raises(CheckpointError, match="not in the model's config"):
        plain.check(replace(SHAPE, qkv_bias=False))


def test_unknown_mixer_names_the_known() -> None:
    with pytest.raises(UsageError) as caught:
        HybridConfig(
            d_model=8,
            n_layers=1,
            n_heads=1,
            n_kv_heads=1,
            head_dim=8,
            d_ff=8,
            mixer=MixerConfig(mixer="mamba9"),
        )
    assert caught.value.hint is not None
    assert "mamba2, swa" in caught.value.hint


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_of_a_kind(name: str) -> None:
    assert letter_of(PRESETS[name].mixer) in replacing()


def test_registry_imports_no_torch() -> None:
    code = "import sys, mamtra_cli.backbone.kinds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
