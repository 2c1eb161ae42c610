"""Windows with a look-ahead: what the whole text gives, what may change, what is carried."""

import pytest
import torch
from tests.families.mvc.tiny import tiny_conditioner
from torch import Tensor

from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.stream import ModuleReader
from mamtra_cli.families.mvc.windows import WHOLE, FrameChunk, TextState, Windows, pushed


@pytest.fixture(scope="module")
def model() -> Conditioner:
    return tiny_conditioner()


def begin(model: Conditioner, windows: Windows = WHOLE) -> TextState:
    torch.manual_seed(1)
    vector = torch.randn(1, 12, dtype=torch.float64)
    return TextState(style=model.styled(vector), windows=windows)


def text(count: int, seed: int = 2) -> list[int]:
    return torch.randint(0, 21, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def spoken(model: Conditioner, ids: list[int], windows: Windows = WHOLE) -> list[FrameChunk]:
    return pushed(ModuleReader(model), begin(model, windows), ids, last=True)[1]


def mu(chunks: list[FrameChunk]) -> Tensor:
    return torch.cat([chunk.mu for chunk in chunks])


def test_a_look_ahead_that_covers_the_text_changes_no_bit(model: Conditioner) -> None:
    ids = text(40)
    whole = mu(spoken(model, ids))
    for windows in (Windows(commit=8, ahead=40), Windows(commit=40, ahead=0)):
        assert torch.equal(mu(spoken(model, ids, windows)), whole)


def test_windows_whose_look_ahead_reaches_the_end_agree_with_the_whole(model: Conditioner) -> None:
    """All of the rest heard, not all of it committed: the same numbers on another path."""
    ids = text(24)
    state = begin(model, Windows(commit=6, ahead=18))
    whole = spoken(model, ids)[0]
    found, _ = model.tokens(torch.tensor([ids]), state.style, commit=6)
    full, _ = model.tokens(torch.tensor([ids]), state.style)
    torch.testing.assert_close(found.features, full.features, rtol=0, atol=1e-13)
    assert len(whole.ids) == 24


def test_what_lies_beyond_the_look_ahead_changes_nothing_before(model: Conditioner) -> None:
    windows, ids = Windows(commit=8, ahead=4), text(40)
    chunks = spoken(model, ids, windows)
    assert [len(chunk.ids) for chunk in chunks] == [8, 8, 8, 8, 8]
    for k in range(4):
        changed = list(ids)
        beyond = (k + 1) * 8 + 4
        changed[beyond:] = text(40 - beyond, seed=3)
        again = spoken(model, changed, windows)
        assert all(torch.equal(a.mu, b.mu) for a, b in zip(chunks, again[: k + 1], strict=False))
    changed = list(ids)
    changed[19] = (changed[19] + 1) % 21  # the last that the second window hears
    again = spoken(model, changed, windows)
    assert torch.equal(again[0].mu, chunks[0].mu)
    same = again[1].mu.shape == chunks[1].mu.shape
    assert not (same and torch.equal(again[1].mu, chunks[1].mu))


def test_how_the_text_arrives_does_not_matter(model: Conditioner) -> None:
    windows, ids = Windows(commit=8, ahead=4), text(37)
    state, chunks = begin(model, windows), []
    for number, index in enumerate(ids):
        state, made = pushed(ModuleReader(model), state, [index])
        chunks += made
        # The first sound needs C + L phones, never more.
        assert bool(chunks) == (number + 1 >= 12)
    chunks += pushed(ModuleReader(model), state, [], last=True)[1]
    assert torch.equal(mu(chunks), mu(spoken(model, ids, windows)))


def test_a_longer_look_ahead_comes_nearer_to_the_whole(model: Conditioner) -> None:
    ids = torch.tensor([text(64)])
    style = begin(model).style
    full, _ = model.tokens(ids, style)
    errors = []
    for ahead in (0, 4, 16, 48):
        near, _ = model.tokens(ids[:, : 16 + ahead], style, commit=16)
        errors.append(float((near.features[:, :16] - full.features[:, :16]).abs().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05 * errors[0]


def test_state_is_of_constant_size(model: Conditioner) -> None:
    sizes = set()
    state = begin(model, Windows(commit=8, ahead=4))
    for _ in range(5):
        state, _ = pushed(ModuleReader(model), state, text(40))
        sizes.add(state.nbytes)
    assert len(sizes) == 1


def test_frames_in_blocks_equal_frames_at_once(model: Conditioner) -> None:
    style = begin(model).style
    x = torch.randn(1, 50, 32, dtype=torch.float64)
    whole, _ = model.frames(x, style)
    first, states = model.frames(x[:, :17], style)
    rest, _ = model.frames(x[:, 17:], style, states)
    torch.testing.assert_close(torch.cat((first.mu, rest.mu), 1), whole.mu, rtol=0, atol=1e-13)


def test_text_after_the_end_is_refused(model: Conditioner) -> None:
    state, _ = pushed(ModuleReader(model), begin(model), text(3), last=True)
    with pytest.raises(ValueError, match="after its end"):
        pushed(ModuleReader(model), state, [1])


@pytest.mark.parametrize("windows", [WHOLE, Windows(commit=8, ahead=4), Windows(commit=8, ahead=0)])
@pytest.mark.parametrize("count", [40, 150])
def test_what_is_carried_holds_nothing_but_itself(
    model: Conditioner, windows: Windows, count: int
) -> None:
    state, _ = pushed(
        ModuleReader(model), begin(model, windows), text(count), last=windows == WHOLE
    )
    layers = (*state.carry.text, *state.carry.rhythm)
    held = [layer.left for layer in layers if layer.left is not None]
    for layer in (*(layer.forward for layer in layers), *state.frames):
        held += [layer.conv, layer.ssm]
    assert [t.untyped_storage().nbytes() for t in held] == [t.nbytes for t in held]
