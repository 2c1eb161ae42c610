"""Structure, style, padding and fusion of the conditioning stack."""

import pytest
import torch
from tests.families.mvc.tiny import tiny_conditioner
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mamtra_cli.errors import UsageError
from mamtra_cli.families.mvc.conditioner import Conditioner, TokenFeatures
from mamtra_cli.families.mvc.config import PRESETS, ConditionerConfig, preset
from mamtra_cli.families.mvc.layers import BidirectionalLayer, reversed_rows
from mamtra_cli.families.mvc.windows import FrameFeatures

RECURRENT = (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.MultiheadAttention)


def run(model: Conditioner, ids: Tensor, vector: Tensor) -> tuple[TokenFeatures, FrameFeatures]:
    """Everything said of a batch without pads."""
    style = model.styled(vector)
    tokens, _ = model.tokens(ids, style)
    x, mask = model.expand(tokens.features, torch.full_like(ids, 3))
    assert bool(mask.all())
    return tokens, model.frames(x, style)[0]


class Trace(TorchDispatchMode):
    """Names of all operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "least", "most"), [("default", 17.0, 18.0), ("small", 12.5, 13.5), ("mini", 2.0, 3.5)]
)
def test_presets_have_the_parameters_they_say(name: str, least: float, most: float) -> None:
    with torch.device("meta"):
        model = Conditioner(PRESETS[name])
    style = sum(p.numel() for p in model.style.parameters())
    stack = sum(p.numel() for p in model.parameters()) - style
    assert least * 1e6 <= stack <= most * 1e6


def test_no_attention_and_no_gated_recurrence_anywhere() -> None:
    model = tiny_conditioner()
    assert not [module for module in model.modules() if isinstance(module, RECURRENT)]
    with Trace() as trace:
        style = model.style(torch.randn(1, 40, 10, dtype=torch.float64))
        run(model, torch.arange(9)[None], style)
    banned = ("attention", "lstm", "gru", "rnn", "softmax")
    assert not [name for name in trace.names if any(word in name.lower() for word in banned)]


def test_style_moves_durations_pitch_and_mu() -> None:
    model, ids = tiny_conditioner(), torch.arange(9)[None]
    one, other = (run(model, ids, torch.randn(1, 12, dtype=torch.float64)) for _ in range(2))
    assert not torch.allclose(one[0].log_duration, other[0].log_duration)
    assert not torch.allclose(one[1].pitch, other[1].pitch)
    assert not torch.allclose(one[1].mu, other[1].mu)


def test_style_does_nothing_to_the_text_where_the_norms_are_plain() -> None:
    model, ids = tiny_conditioner(fusion="gated"), torch.arange(9)[None]
    assert model.styled(torch.randn(1, 12, dtype=torch.float64)).text == (None,) * 4
    with pytest.raises(UsageError, match="fusion"):
        ConditionerConfig(fusion="open")
    assert ids.shape == (1, 9)


def test_open_gates_are_plain_concatenation() -> None:
    gated, plain = tiny_conditioner(), tiny_conditioner(fusion="adaln")
    layer, twin = gated.text[0], plain.text[0]
    assert isinstance(layer, BidirectionalLayer)
    assert isinstance(twin, BidirectionalLayer)
    gate = layer.fusion.gate
    assert gate is not None
    both = torch.randn(2, 5, 64, dtype=torch.float64)
    open_ = layer.fusion.openness(both)
    assert bool(((open_ > 0) & (open_ < 1)).all())
    gate.weight.zero_()
    gate.bias.fill_(40.0)
    missing, unexpected = twin.load_state_dict(layer.state_dict(), strict=False)
    assert not missing
    assert sorted(unexpected) == ["fusion.gate.bias", "fusion.gate.weight"]
    x = torch.randn(2, 7, 32, dtype=torch.float64)
    torch.testing.assert_close(layer(x, None)[0], twin(x, None)[0], rtol=0, atol=1e-14)


def test_rows_of_mixed_lengths_equal_rows_alone() -> None:
    model = tiny_conditioner()
    lengths, frames = [9, 4, 6], 3
    ids = torch.randint(0, 21, (3, 9))
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    vectors = torch.randn(3, 12, dtype=torch.float64)
    style = model.styled(vectors)
    found, _ = model.tokens(ids, style, mask=mask)
    x, real = model.expand(found.features, mask * frames)
    together, _ = model.frames(x, style, mask=real)
    for row, length in enumerate(lengths):
        tokens, alone = run(model, ids[row : row + 1, :length], vectors[row : row + 1])
        torch.testing.assert_close(
            found.log_duration[row, :length], tokens.log_duration[0], rtol=0, atol=1e-12
        )
        torch.testing.assert_close(
            together.mu[row, : length * frames], alone.mu[0], rtol=0, atol=1e-12
        )


def test_reference_pads_leave_no_trace() -> None:
    model = tiny_conditioner()
    mel = torch.randn(2, 24, 10, dtype=torch.float64)
    mask = torch.arange(24) < torch.tensor([[24], [16]])
    vectors = model.style(mel, mask)
    torch.testing.assert_close(vectors[0], model.style(mel[:1])[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(vectors[1], model.style(mel[1:, :16])[0], rtol=0, atol=1e-12)


def test_rows_turn_around_within_their_length() -> None:
    x = torch.arange(8).view(2, 4, 1)
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    assert reversed_rows(x, mask)[..., 0].tolist() == [[2, 1, 0, 3], [7, 6, 5, 4]]
    assert reversed_rows(x, None)[..., 0].tolist() == [[3, 2, 1, 0], [7, 6, 5, 4]]


def test_unknown_preset_is_told() -> None:
    with pytest.raises(UsageError, match="no MVC preset `big`"):
        preset("big")
