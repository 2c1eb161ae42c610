"""What every mixer promises whatever its configuration: splits, padding, packing, gradients."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from mamtra_cli.backbone.kinds import kind_of, kinds
from mamtra_cli.layers.mixer_config import MixerConfig, preset
from mamtra_cli.layers.shape import MixerShape, NativeMamba2
from mamtra_cli.layers.state import KVState, LayerState, MambaState, PairState

SHAPE = MixerShape(
    d_model=24,
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    rope_theta=10_000.0,
    native=NativeMamba2(d_state=5, head_dim=6, groups=2),
)
LENGTH = 23

CASES: dict[str, tuple[str, MixerConfig]] = {
    "attention": ("T", MixerConfig()),
    "window": ("S", MixerConfig(mixer="swa", window=5, sinks=2)),
    "window-no-sinks": ("S", MixerConfig(mixer="swa", window=4, sinks=0)),
    "window-1": ("S", MixerConfig(mixer="swa", window=1, sinks=1)),
    "mamba2-gqa": ("M", preset("mamba2-gqa")),
    "mamtra-paper": ("M", preset("mamtra-paper")),
    "normalised-elu1": ("M", MixerConfig(feature_map="elu1", normalise=True, norm="none")),
    "kv-state": ("M", preset("kv-shared-state")),
    "kv-state-paper": (
        "M",
        MixerConfig(state="kv", gain="dt", normalise=True, act="silu", gate="none"),
    ),
    "gdn": ("G", preset("gdn")),
    "gdn-kv-state": ("G", MixerConfig(mixer="gdn", state="kv", feature_map="identity")),
    "window-and-state": ("W", MixerConfig(mixer="swa+ssm", window=5, sinks=2, gate="none")),
    "window-and-kv-state": (
        "W",
        MixerConfig(mixer="swa+ssm", window=4, sinks=0, state="kv", gate=3, rope="drop"),
    ),
    "native": ("N", MixerConfig()),
    "plain": (
        "M",
        MixerConfig(feature_map="identity", norm="none", gate="none", d_skip=False, rope="drop"),
    ),
}


def test_every_kind_of_layer_is_a_case() -> None:
    assert {letter for letter, _ in CASES.values()} == set(kinds())


def make(case: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A mixer whose every parameter is random, so that nothing hides behind a neutral start."""
    torch.manual_seed(0)
    letter, config = CASES[case]
    mixer = kind_of(letter).build(SHAPE, config)
    with torch.no_grad():
        for name, parameter in mixer.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
            if name == "A_log":
                parameter.clamp_(max=0.0)
    return mixer.to(dtype)


def tokens(batch: int = 2, length: int = LENGTH, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(
        batch,
        length,
        SHAPE.d_model,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(1),
    ).to(dtype)


def assert_same_state(got: LayerState, want: LayerState) -> None:
    """Equal as far as any later token can tell."""
    if isinstance(got, PairState):
        assert isinstance(want, PairState)
        assert_same_state(got.near, want.near)
        assert_same_state(got.far, want.far)
        return
    if isinstance(got, MambaState):
        assert isinstance(want, MambaState)
        torch.testing.assert_close(got.conv, want.conv)
        torch.testing.assert_close(got.ssm, want.ssm)
        return
    assert isinstance(want, KVState)
    assert torch.equal(got.next_index(), want.next_index())
    for row in range(got.batch):
        picked = []
        for state in (got, want):
            index = state.full_index()[row]
            seen = index >= 0
            order = index[seen].argsort()
            k, v, _ = state.columns()
            picked.append(
                (index[seen][order], k[row][:, seen][:, order], v[row][:, seen][:, order])
            )
        torch.testing.assert_close(picked[0], picked[1])


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("cuts", [(1,), (22,), (2, 3, 11), tuple(range(1, LENGTH))], ids=str)
def test_any_split_of_a_sequence_equals_one_call(case: str, cuts: tuple[int, ...]) -> None:
    mixer, u = make(case), tokens()
    want, final = mixer(u)
    state, parts = None, []
    for start, end in itertools.pairwise((0, *cuts, LENGTH)):
        part, state = mixer(u[:, start:end], state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), want)
    assert_same_state(state, final)
    assert state.seen == LENGTH


@pytest.mark.parametrize("capacity", [0, LENGTH, 9], ids=lambda c: f"capacity{c}")
def test_steps_into_reserved_room_equal_one_call(case: str, capacity: int) -> None:
    mixer, u = make(case), tokens()
    with torch.no_grad():
        want, final = mixer(u)
        first, state = mixer(u[:, :6])
        parts = [first]
        state = state.reserve(max(capacity, state.length if isinstance(state, KVState) else 0))
        for t in range(6, LENGTH):
            part, state = mixer.step(u[:, t : t + 1], state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), want)
    assert_same_state(state, final)


def test_forward_leaves_the_given_state_as_it_was(case: str) -> None:
    mixer, u = make(case), tokens()
    with torch.no_grad():
        _, state = mixer(u[:, :7])
        state = state.reserve(40)
        kept = state.clone()
        mixer(u[:, 7:8], state)
        mixer(u[:, 7:], state)
    assert_same_state(state, kept)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
def test_padding_leaves_no_trace(case: str, side: str, carried: bool) -> None:
    mixer, u = make(case), tokens()
    before, later = u[:, :5], u[:, 17:]
    u = u[:, 5:17]
    real = torch.tensor([12, 2])
    places = torch.arange(12)
    mask = places < real[:, None] if side == "right" else places >= 12 - real[:, None]
    start = mixer(before)[1] if carried else None
    positions = torch.where(mask, mask.cumsum(1) - 1, 0) + (5 if carried else 0)
    noise = torch.where(mask[..., None], u, 1e3)
    got, state = mixer(noise, start, pad_mask=mask, positions=positions)
    after_positions = real[:, None] + torch.arange(6) + (5 if carried else 0)
    more, final = mixer(later, state, positions=after_positions)
    for row in range(2):
        alone = None if start is None else start.select([row])
        want, alone = mixer(u[row][mask[row]][None], alone)
        torch.testing.assert_close(got[row][mask[row]][None], want)
        assert_same_state(state.select([row]), alone)
        want, alone = mixer(later[row : row + 1], alone)
        torch.testing.assert_close(more[row : row + 1], want)
        assert_same_state(final.select([row]), alone)


def test_fully_padded_row_keeps_its_state(case: str) -> None:
    mixer, u = make(case), tokens()
    _, start = mixer(u[:, :5])
    mask = torch.tensor([[True] * 4, [False] * 4])
    out, state = mixer(u[:, 5:9], start, pad_mask=mask)
    assert torch.isfinite(out).all()
    assert_same_state(state.select([1]), start.select([1]))


@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_packed_sequences_do_not_see_each_other(case: str, carried: bool, padded: bool) -> None:
    mixer, u = make(case), tokens()
    start = mixer(u[:, :4])[1] if carried else None
    u = u[:, 4:]
    length = u.shape[1]
    bounds = [(0, 3, 9, length), (0, 1, 17, length)]
    ids = torch.zeros(2, length, dtype=torch.long)
    positions = torch.zeros(2, length, dtype=torch.long)
    for row, edges in enumerate(bounds):
        for number, (a, b) in enumerate(itertools.pairwise(edges)):
            ids[row, a:b] = 7 - number
            begin = 4 if carried and number == 0 else 0
            positions[row, a:b] = begin + torch.arange(b - a)
    mask = torch.ones(2, length, dtype=torch.bool)
    if padded:
        mask[0, -2:] = False
        ids[0, -2:] = -1
    out, state = mixer(
        u, start, seq_idx=ids, positions=positions, pad_mask=mask if padded else None
    )
    for row, edges in enumerate(bounds):
        for number, (a, b) in enumerate(itertools.pairwise(edges)):
            b = min(b, int(mask[row].sum()))
            alone = start.select([row]) if start is not None and number == 0 else None
            want, alone = mixer(u[row : row + 1, a:b], alone)
            torch.testing.assert_close(out[row : row + 1, a:b], want)
        assert_same_state(state.select([row]), alone)


def test_gradients_reach_every_parameter_and_agree_with_differences(case: str) -> None:
    mixer, u = make(case), tokens(1, 6)
    names = [name for name, _ in mixer.named_parameters()]
    values = [parameter.detach().requires_grad_() for parameter in mixer.parameters()]

    def run(*parameters: Tensor) -> Tensor:
        out, _ = torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (u,))
        return torch.as_tensor(out)

    grads = torch.autograd.grad(run(*values).square().sum(), values)
    for name, grad in zip(names, grads, strict=True):
        assert grad.abs().max() > 0 or name == "k_proj.bias", name
    assert torch.autograd.gradcheck(run, values, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_wide_states_and_decodes_alike(case: str, dtype: torch.dtype) -> None:
    mixer, u = make(case, torch.float32).to(dtype), tokens(dtype=dtype)
    with torch.no_grad():
        want, _ = mixer(u)
        first, state = mixer(u[:, :9])
        parts = [first]
        for t in range(9, LENGTH):
            part, state = mixer.step(u[:, t : t + 1], state)
            parts.append(part)
    got = torch.cat(parts, dim=1)
    assert got.dtype == dtype
    if isinstance(state, PairState):
        assert state.near.k.dtype == state.far.ssm.dtype == torch.float32
    elif isinstance(state, MambaState):
        assert state.ssm.dtype == torch.float32
        assert state.conv.dtype == dtype
        assert mixer.A_log.dtype == torch.float32
    else:
        assert state.k.dtype == torch.float32
    # A head whose read-out nearly vanishes is blown up by its norm, so single elements may stray.
    error = (got.float() - want.float()).abs().flatten().quantile(0.95)
    assert error <= 2e-2 * want.float().abs().max()


def test_select_and_repeat_move_rows(case: str) -> None:
    mixer, u = make(case), tokens()
    _, state = mixer(u[:, :9])
    want, _ = mixer(u[:, 9:], state)
    chosen = state.select([1, 0, 1])
    got, _ = mixer(u[[1, 0, 1], 9:], chosen)
    torch.testing.assert_close(got, want[[1, 0, 1]])
    got, _ = mixer(u[:, 9:].repeat_interleave(2, 0), state.repeat(2))
    torch.testing.assert_close(got, want.repeat_interleave(2, 0))
    assert state.repeat(2).nbytes == 2 * state.nbytes


def test_alloc_equals_no_state(case: str) -> None:
    mixer, u = make(case), tokens()
    want, _ = mixer(u)
    got, _ = mixer(u, mixer.alloc(2, capacity=30))
    torch.testing.assert_close(got, want)
    state = mixer.alloc(2, capacity=30)
    with torch.no_grad():
        parts = []
        for t in range(LENGTH):
            part, state = mixer.step(u[:, t : t + 1], state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), want)


@pytest.mark.parametrize("name", ["window", "window-no-sinks", "window-1"])
def test_window_bounds_the_cache(name: str) -> None:
    mixer, u = make(name), tokens(2, 60)
    _, state = mixer(u)
    config = CASES[name][1]
    assert state.length <= config.sinks + config.window - 1
    assert state.seen == 60


def test_window_wider_than_the_text_equals_attention() -> None:
    torch.manual_seed(0)
    plain = kind_of("T").build(SHAPE, MixerConfig()).double()
    window = kind_of("S").build(SHAPE, MixerConfig(mixer="swa", window=LENGTH)).double()
    window.load_state_dict(plain.state_dict())
    u = tokens()
    torch.testing.assert_close(window(u)[0], plain(u)[0])
