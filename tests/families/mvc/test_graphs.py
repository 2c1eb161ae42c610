"""The graphs of a conditioning stack say what its modules say, window by window."""

import numpy as np
import pytest
import torch
from tests.families.mvc.tiny import tiny_conditioner

from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.light import ArrayReader
from mamtra_cli.families.mvc.manner import Steering
from mamtra_cli.families.mvc.stream import ModuleReader
from mamtra_cli.families.mvc.windows import WHOLE, FrameChunk, TextState, Windows, pushed

pytest.importorskip("onnx")
TOLERANCE = 3e-5  # of numbers about one
STYLE = torch.randn(1, 12, generator=torch.Generator().manual_seed(1))
STEERED = Steering(speed=0.9, pitch=2.0, energy=0.5)


def readers(model: Conditioner) -> tuple[ModuleReader, ArrayReader]:
    from mamtra_cli.families.mvc.graphs import conditioner_graphs

    sessions = [open_session(g.SerializeToString()) for _, g in conditioner_graphs(model)]
    return ModuleReader(model), ArrayReader(model.config, *sessions)


def tiny(**changes: object) -> Conditioner:
    model = tiny_conditioner(torch.float32, **changes)
    model.duration.bias.data += 2.5  # phones of some frames
    return model


def test_graphs_hold_no_attention_and_no_lstm() -> None:
    from mamtra_cli.families.mvc.graphs import conditioner_graphs

    kinds = {node.op_type for _, made in conditioner_graphs(tiny()) for node in made.graph.node}
    # The operator of this name is a gated recurrence: it has a state and no softmax.
    kinds.remove("LinearAttention")
    barred = ("attention", "softmax", "lstm", "gru", "rnn")
    assert not [kind for kind in kinds if any(word in kind.lower() for word in barred)]


@pytest.fixture(scope="module")
def pair() -> tuple[ModuleReader, ArrayReader]:
    return readers(tiny())


def text(count: int) -> list[int]:
    return torch.randint(0, 21, (count,), generator=torch.Generator().manual_seed(2)).tolist()


def said(
    reader: ModuleReader | ArrayReader, ids: list[int], windows: Windows = WHOLE
) -> tuple[TextState, list[FrameChunk]]:
    modules = isinstance(reader, ModuleReader)
    style = reader.model.styled(STYLE) if isinstance(reader, ModuleReader) else STYLE.numpy()
    state = TextState(style=style, windows=windows, steering=STEERED)
    after, chunks = pushed(reader, state, ids, last=True)
    assert modules == isinstance(chunks[0].mu, torch.Tensor)
    return after, chunks


def assert_same(
    pair: tuple[ModuleReader, ArrayReader], ids: list[int], windows: Windows = WHOLE
) -> None:
    (first, ours), (second, graphs) = (said(reader, ids, windows) for reader in pair)
    assert first.nbytes == second.nbytes
    for a, b in zip(ours, graphs, strict=True):
        assert (a.ids, a.counts) == (b.ids, b.counts)
        for name in ("pitch", "voiced", "energy", "mu"):
            found, wanted = getattr(b, name), getattr(a, name).numpy()
            np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("count", [1, 2, 17, 65, 131])
def test_whole_texts_of_any_length(pair: tuple[ModuleReader, ArrayReader], count: int) -> None:
    assert_same(pair, text(count))


@pytest.mark.parametrize(
    "windows", [Windows(commit=5, ahead=0), Windows(commit=8, ahead=3), Windows(commit=1, ahead=2)]
)
def test_windows_and_what_they_carry(
    pair: tuple[ModuleReader, ArrayReader], windows: Windows
) -> None:
    assert_same(pair, text(37), windows)


@pytest.mark.parametrize(
    "changes",
    [
        {"fusion": "gated"},
        {"fusion": "adaln"},
        {"fusion": "concat"},
        {"backward": False},
        {"local_taps": 3, "taps": 2},
    ],
    ids=str,
)
def test_every_form_of_the_stack(changes: dict[str, object]) -> None:
    assert_same(readers(tiny(**changes)), text(23), Windows(commit=8, ahead=4))


def test_a_look_ahead_that_covers_the_text_changes_no_bit(
    pair: tuple[ModuleReader, ArrayReader],
) -> None:
    ids = text(40)
    whole, covered = (
        said(pair[1], ids, windows)[1] for windows in (WHOLE, Windows(commit=8, ahead=40))
    )
    assert [(c.counts, c.mu.tobytes()) for c in whole] == [
        (c.counts, c.mu.tobytes()) for c in covered
    ]


def test_what_lies_beyond_the_look_ahead_changes_nothing_before(
    pair: tuple[ModuleReader, ArrayReader],
) -> None:
    windows, ids = Windows(commit=8, ahead=4), text(40)
    chunks = said(pair[1], ids, windows)[1]
    for k in range(4):
        beyond = (k + 1) * 8 + 4
        changed = ids[:beyond] + [(one + 1) % 21 for one in ids[beyond:]]
        again = said(pair[1], changed, windows)[1]
        for a, b in zip(chunks[: k + 1], again, strict=False):
            assert a.mu.tobytes() == b.mu.tobytes()
