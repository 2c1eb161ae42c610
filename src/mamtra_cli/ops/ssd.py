"""The scan of Mamba-2 (state-space duality): a loop, a chunked form in matrix products, a step.

Per head, with `dt` after bias, softplus and clamp, and input gain `g` (= `dt` unless given):

    S_t = exp(dt_t A) S_(t-1) + g_t x_t B_t^T        S is (P, N)
    y_t = S_t C_t + D x_t,   times silu(z_t) if there is a gate z

Source: Dao and Gu, arXiv 2405.21060, sections 3 and 6. Knows nothing of convolutions, padding or
modules. Decays and states are float32 (float64 for float64 inputs) whatever the dtype of x.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from mamtra_cli.ops import dispatch, mamba_ssm_kernels
from mamtra_cli.ops.casts import cast
from mamtra_cli.ops.causal_conv import segment_runs

Gain = Tensor | float | None


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _step_size(
    dt: Tensor,
    bias: Tensor | None,
    softplus: bool,
    limit: tuple[float, float] | None,
    dtype: torch.dtype,
) -> Tensor:
    """Effective step size, (..., H), in `dtype`."""
    dt = cast(dt, dtype)
    if bias is not None:
        dt = dt + cast(bias, dtype)
    if softplus:
        dt = F.softplus(dt)
    return dt if limit is None else dt.clamp(*limit)


def _gained(x: Tensor, dt: Tensor, gain: Gain) -> Tensor:
    """x: (..., H, P) times the input gain: `dt` (..., H), a number, or a tensor like `dt`."""
    if gain is None:
        gain = dt
    if isinstance(gain, Tensor):
        return x * gain[..., None].to(x.dtype)
    return x if gain == 1.0 else x * gain


def _sizes(dt: Tensor, gain: Gain) -> Tensor:
    """The input gain of every head, like `dt`."""
    if gain is None:
        return dt
    return gain.to(dt.dtype) if isinstance(gain, Tensor) else torch.full_like(dt, gain)


def _per_head(values: Tensor, heads: int) -> Tensor:
    """Values (B, G, ...) of runs of heads, for each of them: (B, H, ...)."""
    repeats = heads // values.shape[1]
    return values if repeats == 1 else values.repeat_interleave(repeats, dim=1)


def _finish(y: Tensor, x: Tensor, D: Tensor | None, z: Tensor | None) -> Tensor:
    """Add the skip and apply the gate; y, x, z: (..., H, P); D: (H,) or (H, P)."""
    if D is not None:
        y = y + (D[:, None] if D.dim() == 1 else D).to(y.dtype) * x.to(y.dtype)
    if z is not None:
        y = y * F.silu(z.to(y.dtype))
    return y


def _check(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    batch, length, heads, _ = x.shape
    if dt.shape != (batch, length, heads) or A.shape != (heads,):
        raise ValueError(f"dt {tuple(dt.shape)} and A {tuple(A.shape)} for x {tuple(x.shape)}")
    if B.shape != C.shape or B.shape[:2] != (batch, length) or heads % B.shape[2]:
        raise ValueError(f"B {tuple(B.shape)} and C {tuple(C.shape)} for x {tuple(x.shape)}")
    if length < 1:
        raise ValueError("a scan needs at least one token")


def ssd_scan_naive(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = True,
    dt_limit: tuple[float, float] | None = None,
    gain: Gain = None,
    initial_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Token-by-token twin of `ssd_scan`, same arguments and results."""
    _check(x, dt, A, B, C)
    batch, length, heads, width = x.shape
    wide = _wide(x.dtype)
    state = (
        x.new_zeros(batch, heads, width, B.shape[3], dtype=wide)
        if initial_state is None
        else initial_state.to(wide)
    )
    outputs = []
    for t in range(length):
        if seq_idx is not None and t > 0:
            same = seq_idx[:, t] == seq_idx[:, t - 1]
            state = state * same[:, None, None, None].to(wide)
        y, state = ssd_step(
            state,
            x[:, t],
            dt[:, t],
            A,
            B[:, t],
            C[:, t],
            D=D,
            z=None if z is None else z[:, t],
            dt_bias=dt_bias,
            dt_softplus=dt_softplus,
            dt_limit=dt_limit,
            gain=gain[:, t] if isinstance(gain, Tensor) else gain,
            force="torch",
        )
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def ssd_step(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = True,
    dt_limit: tuple[float, float] | None = None,
    gain: Gain = None,
    in_place: bool = False,
    force: str | None = None,
) -> tuple[Tensor, Tensor]:
    """One token of the scan.

    Args:
        state: (B, H, P, N) float32 or float64.
        x: (B, H, P), or (B, G, P) where runs of heads share their input.
        dt: (B, H).
        A: (H,) negative.
        B: (B, G, N).
        C: (B, H, N) or (B, G, N); more than H where several queries read one state.
        D: (H,) or (H, P), one a query where these are more.
        z: (B, H, P).
        dt_bias: (H,).
        gain: number or (B, H); `dt` if absent.
        in_place: overwrite `state` (no gradients) and return it.
        force: implementation to use in place of the dispatched one.

    Returns:
        y: (B, H, P), dtype of x; the state after the token, (B, H, P, N).
    """
    wide = state.dtype
    choice = force or dispatch.choose("ssd_step", x.device, x.dtype).implementation
    step = _step_size(dt, dt_bias, dt_softplus, dt_limit, wide)  # (B, H)
    batch, heads, width, states = state.shape
    readers = max(heads, C.shape[1])
    training = torch.is_grad_enabled() and x.requires_grad
    if choice == "mamba-ssm" and readers == heads and not training:
        x = _per_head(x, heads)
        after = state if in_place else state.clone()
        keys, queries = (B, C) if B.shape == C.shape else (_per_head(B, heads), _per_head(C, heads))
        y = mamba_ssm_kernels.step(after, x, step, A, keys, queries, gain=gain)
        return _finish(y.to(wide), x, D, z).to(x.dtype), after
    if choice == "triton" and not training:
        from mamtra_cli.ops import triton_kernels

        after = state if in_place else state.clone()
        size = _sizes(step, gain)
        decay = torch.exp(step * cast(A, wide))
        y = triton_kernels.step(after, x, decay, size, B, _per_head(C, readers))
        return _finish(y, _per_head(x, readers), D, z).to(x.dtype), after
    keys, queries = cast(B, wide), _per_head(cast(C, wide), readers)
    # What heads share is multiplied once for all of them.
    groups = x.shape[1] if x.shape[1] == B.shape[1] else heads
    values, keys = _per_head(cast(x, wide), groups), _per_head(keys, groups)
    update = (values[..., None] * keys[:, :, None])[:, :, None]  # (B, G, 1, P, N)
    decay = torch.exp(step * cast(A, wide))[..., None, None]  # (B, H, 1, 1)
    after = state.mul_(decay) if in_place else state * decay
    grouped = after.view(batch, groups, heads // groups, width, states)
    if gain is None or isinstance(gain, Tensor):
        size = (step if gain is None else gain.to(wide)).reshape(batch, groups, -1, 1, 1)
        grouped = grouped.addcmul_(update, size) if in_place else grouped + update * size
    elif gain == 1.0:
        grouped = grouped.add_(update) if in_place else grouped + update
    else:
        grouped = grouped.add_(update, alpha=gain) if in_place else grouped + update * gain
    after = state if in_place else grouped.view(state.shape)
    if readers == heads:
        y = torch.bmm(after.flatten(0, 1), queries.reshape(batch * heads, states, 1))
    else:
        queries = queries.reshape(batch * heads, -1, states)
        y = torch.bmm(queries, after.flatten(0, 1).transpose(1, 2))  # (B * H, readers / H, P)
    if D is not None and D.dim() == 1:
        skip = cast(D, wide).view(groups, -1, 1)
        y = torch.addcmul(y.view(batch, groups, -1, width), values[:, :, None], skip)
        D = None
    y = y.view(batch, readers, width)
    y = _finish(y, _per_head(x, readers) if D is not None else x, D, z)
    return cast(y, x.dtype), after


def ssd_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = True,
    dt_limit: tuple[float, float] | None = None,
    gain: Gain = None,
    initial_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
    chunk: int = 64,
    checkpoint: bool = False,
) -> tuple[Tensor, Tensor]:
    """Scan a whole sequence.

    Args:
        x: (B, T, H, P).
        dt: (B, T, H) step sizes, before `dt_bias` and softplus.
        A: (H,) negative.
        B, C: (B, T, G, N); head h uses group h // (H / G).
        D: (H,) or (H, P) skip.
        z: (B, T, H, P) gate.
        dt_bias: (H,).
        dt_softplus: pass `dt + dt_bias` through softplus.
        dt_limit: clamp of the step size after softplus.
        gain: input gain, a number or (B, T, H); the step size itself if absent.
        initial_state: (B, H, P, N), belongs to the first packed sequence of each row.
        seq_idx: (B, T); where it changes the state starts from zero.
        chunk: tokens a chunk (Q) of the chunked form.
        checkpoint: recompute the scan in the backward pass instead of storing it.

    Returns:
        y: (B, T, H, P), dtype of x.
        final_state: (B, H, P, N) float32 (float64 for float64 inputs).
    """
    _check(x, dt, A, B, C)
    wide = _wide(x.dtype)
    choice = dispatch.choose("ssd_scan", x.device, x.dtype).implementation
    if choice == "naive":
        return ssd_scan_naive(
            x,
            dt,
            A,
            B,
            C,
            D=D,
            z=z,
            dt_bias=dt_bias,
            dt_softplus=dt_softplus,
            dt_limit=dt_limit,
            gain=gain,
            initial_state=initial_state,
            seq_idx=seq_idx,
        )
    step = _step_size(dt, dt_bias, dt_softplus, dt_limit, wide)  # (B, T, H)
    runs = None if seq_idx is None else segment_runs(seq_idx)
    if choice == "mamba-ssm":
        y, state = mamba_ssm_kernels.scan(
            x, step, A, B, C, gain=gain, initial_state=initial_state, runs=runs, chunk=chunk
        )
        return _finish(y.to(wide), x, D, z).to(x.dtype), state
    drive = _gained(x, step, gain)
    log_decay = step * A.to(wide)  # (B, T, H)
    learning = torch.is_grad_enabled() and any(v.requires_grad for v in (x, dt, A, B, C))
    if choice == "triton" and not learning:
        from mamtra_cli.ops import triton_kernels

        y, state = triton_kernels.scan(drive, log_decay, B, C, initial_state, runs, chunk)
        return _finish(y, x, D, z).to(x.dtype), state
    if checkpoint and torch.is_grad_enabled():
        y, state = recompute(
            _chunked, drive, log_decay, B, C, initial_state, runs, chunk, use_reentrant=False
        )
    else:
        y, state = _chunked(drive, log_decay, B, C, initial_state, runs, chunk)
    return _finish(y, x, D, z).to(x.dtype), state


def segment_sums(log_decay: Tensor) -> Tensor:
    """Sums over (j, i] of log decays: (..., Q) to (..., Q, Q), row i, column j; -inf above.

    Each entry is a sum of its own terms: a difference of running sums would lose what the running
    sum has swallowed, which for strong decays is everything.
    """
    size = log_decay.shape[-1]
    square = torch.ones(size, size, dtype=torch.bool, device=log_decay.device)
    terms = log_decay[..., :, None].expand(*log_decay.shape, size)
    sums = terms.masked_fill(square.triu(), 0.0).cumsum(dim=-2)
    # Masked before `exp`, so that its gradient is 0 and not inf * 0.
    return sums.masked_fill(square.triu(1), -torch.inf)


def _chunked(
    drive: Tensor,
    log_decay: Tensor,
    B: Tensor,
    C: Tensor,
    initial_state: Tensor | None,
    runs: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """The chunked scan of inputs with gain applied: drive (B, T, H, P), log_decay (B, T, H)."""
    batch, length, heads, width = drive.shape
    groups, states = B.shape[2:]
    repeats = heads // groups
    wide = log_decay.dtype
    size = min(chunk, length)
    chunks = -(-length // size)
    extra = chunks * size - length
    if extra:
        drive = F.pad(drive, (0, 0, 0, 0, 0, extra))
        log_decay = F.pad(log_decay, (0, 0, 0, extra))
        B = F.pad(B, (0, 0, 0, 0, 0, extra))
        C = F.pad(C, (0, 0, 0, 0, 0, extra))
        if runs is not None:
            runs = torch.cat((runs, runs[:, -1:].expand(-1, extra)), dim=1)
    dtype = drive.dtype
    values = drive.reshape(batch, chunks, size, groups, repeats, width)
    values = values.permute(0, 1, 3, 4, 2, 5)  # (B, chunks, G, H/G, Q, P)
    keys = B.reshape(batch, chunks, size, groups, states).transpose(2, 3)  # (B, chunks, G, Q, N)
    queries = C.reshape(batch, chunks, size, groups, states).transpose(2, 3)
    logs = log_decay.reshape(batch, chunks, size, groups, repeats).permute(0, 1, 3, 4, 2)

    inside = None
    first = None
    if runs is not None:
        ids = runs.reshape(batch, chunks, size)
        before = torch.cat((ids[:, :1, 0], ids[:, :-1, -1]), dim=1)  # run the chunk enters with
        inside = (ids[..., :, None] == ids[..., None, :])[:, :, None, None]  # (B,chunks,1,1,Q,Q)
        first = (ids == before[..., None])[:, :, None, None]  # (B, chunks, 1, 1, Q)

    # 1. Within each chunk: scores per group, decays per head, then values.
    sums = segment_sums(logs)  # (B, chunks, G, H/G, Q, Q)
    if inside is not None:
        sums = sums.masked_fill(~inside, -torch.inf)
    weights = sums.exp()
    scores = (queries @ keys.transpose(-1, -2))[:, :, :, None]  # (B, chunks, G, 1, Q, Q)
    y = (scores * weights.to(dtype)) @ values  # (B, chunks, G, H/G, Q, P)

    # 2. What each chunk adds to the state by its end.
    to_end = weights[..., -1, :, None]  # (B, chunks, G, H/G, Q, 1)
    added = (values * to_end.to(dtype)).transpose(-1, -2).flatten(3, 4) @ keys
    added = added.to(wide).reshape(
        batch, chunks, groups, repeats, width, states
    )  # (B, chunks, G, H/G, P, N)

    # 3. The state at the start of each chunk.
    from_start = logs.cumsum(dim=-1)  # (B, chunks, G, H/G, Q)
    if first is not None:
        from_start = from_start.masked_fill(~first, -torch.inf)
    decay = from_start.exp()
    state = (
        added.new_zeros(batch, groups, repeats, width, states)
        if initial_state is None
        else initial_state.to(wide).reshape(batch, groups, repeats, width, states)
    )
    starts = []
    for index in range(chunks):
        starts.append(state)
        state = torch.addcmul(added[:, index], state, decay[:, index, :, :, -1, None, None])
    entering = torch.stack(starts, dim=1).to(dtype)  # (B, chunks, G, H/G, P, N)

    # 4. What each token reads from the state its chunk started with.
    carried = queries @ entering.flatten(3, 4).transpose(-1, -2)  # (B, chunks, G, Q, H/G*P)
    carried = carried.reshape(batch, chunks, groups, size, repeats, width).transpose(
        3, 4
    )  # (B,chunks,G,H/G,Q,P)
    y = y.to(wide) + carried.to(wide) * decay[..., None]
    y = y.permute(0, 1, 4, 2, 3, 5).reshape(batch, chunks * size, heads, width)
    return y[:, :length], state.flatten(1, 2)
