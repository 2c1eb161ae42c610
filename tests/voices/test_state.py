"""States of language models as files hold them: every kind of layer comes back as it was."""

import pytest
import torch

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.errors import CheckpointError
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.voices.state import pack_state, unpack_state


@torch.no_grad()
def test_every_kind_of_layer_goes_on_from_a_file() -> None:
    torch.manual_seed(0)
    config = HybridConfig(
        d_model=16,
        n_layers=5,
        n_heads=4,
        n_kv_heads=2,
        head_dim=4,
        d_ff=8,
        kinds="TMSWG",
        mixer=MixerConfig(window=4, sinks=1),
    )
    stack, x = HybridStack(config).eval(), torch.randn(1, 12, 16)
    tensors, layers = pack_state(stack(x[:, :8]).state)
    assert [layer[0] for layer in layers] == ["kv", "mamba", "kv", "pair", "mamba"]
    again = unpack_state(tensors, layers)
    torch.testing.assert_close(stack(x[:, 8:], again).hidden, stack(x).hidden[:, 8:])
    with pytest.raises(CheckpointError, match="damaged"):
        unpack_state(tensors, [["wave", 0, 8], *layers[1:]])
