"""Recurrences that run side by side say what each says alone, in windows and in pieces."""

import pytest
import torch
from tests.families.mvc.tiny import tiny_conditioner
from torch import Tensor

from mamtra_cli.families.mvc import recurrences
from mamtra_cli.families.mvc.layers import BidirectionalLayer
from mamtra_cli.families.mvc.recurrences import side_by_side
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer


@pytest.fixture(scope="module")
def pair() -> list[NativeMamba2Layer]:
    """Two layers with weights of their own."""
    layer = tiny_conditioner().text[0]
    assert isinstance(layer, BidirectionalLayer)
    assert layer.back is not None
    return [layer.ahead, layer.back]


def inputs(length: int) -> list[Tensor]:
    """(1, T, D) for each."""
    generator = torch.Generator().manual_seed(length)
    return [torch.randn(1, length, 32, dtype=torch.float64, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("length", [9, 80])
def test_each_says_what_it_says_alone(pair: list[NativeMamba2Layer], length: int) -> None:
    given = inputs(length)
    _, before = pair[0](inputs(7)[0])
    said, state = side_by_side(pair, given, before)
    first, after = pair[0](given[0], before)
    second, _ = pair[1](given[1])
    torch.testing.assert_close(said, [first, second], rtol=0, atol=1e-12)
    torch.testing.assert_close((state.conv, state.ssm), (after.conv, after.ssm), rtol=0, atol=1e-12)
    assert state.seen == after.seen == 7 + length


@pytest.mark.parametrize("commit", [1, 2, 7])
def test_the_state_in_between_is_that_of_a_shorter_text(
    pair: list[NativeMamba2Layer], commit: int
) -> None:
    given = inputs(9)
    _, state = side_by_side(pair, given, commit=commit)
    _, after = pair[0](given[0][:, :commit])
    torch.testing.assert_close((state.conv, state.ssm), (after.conv, after.ssm), rtol=0, atol=1e-12)
    assert state.seen == commit


@pytest.mark.parametrize("commit", [3, 8, 19, 23])
def test_a_text_in_pieces_is_the_text_at_once(
    pair: list[NativeMamba2Layer], commit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = inputs(23)
    whole, after = side_by_side(pair, given, commit=commit)
    monkeypatch.setattr(recurrences, "SEGMENT", 8)
    with torch.no_grad():
        said, state = side_by_side(pair, given, commit=commit)
    torch.testing.assert_close(said, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close((state.conv, state.ssm), (after.conv, after.ssm), rtol=0, atol=1e-12)


def test_what_is_read_in_windows_has_no_pads(pair: list[NativeMamba2Layer]) -> None:
    mask = torch.ones(1, 9, dtype=torch.bool)
    with pytest.raises(ValueError, match="no pads"):
        side_by_side(pair, inputs(9), commit=4, mask=mask)
