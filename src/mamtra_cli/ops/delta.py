"""The gated delta rule: a state that overwrites what it held under a key; a loop, chunks, a step.

Per state, with keys of unit length, log decay `g`, writing strength `b` in (0, 1):

    S_t = exp(g_t) S_(t-1) (I - b_t k_t k_t^T) + b_t v_t k_t^T        S is (P, N)
    y_t = S_t q_t

Sources: Yang et al., arXiv 2412.06464 (the rule), arXiv 2406.06484, section 3 (products of its
transitions as one triangular system a chunk). Several queries may read one state. Computed in
float32 (float64 for float64 inputs) whatever the dtype of v; knows no norms, padding or modules.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from mamtra_cli.ops import dispatch
from mamtra_cli.ops.causal_conv import segment_runs
from mamtra_cli.ops.ssd import segment_sums


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _check(v: Tensor, log_decay: Tensor, beta: Tensor, k: Tensor, q: Tensor) -> None:
    batch, length, heads, _ = v.shape
    if log_decay.shape != (batch, length, heads) or beta.shape != log_decay.shape:
        raise ValueError(
            f"decay {tuple(log_decay.shape)} and beta {tuple(beta.shape)} for v {tuple(v.shape)}"
        )
    if k.shape[:3] != (batch, length, heads) or q.shape[2] % heads or q.shape[3] != k.shape[3]:
        raise ValueError(f"k {tuple(k.shape)} and q {tuple(q.shape)} for v {tuple(v.shape)}")
    if length < 1:
        raise ValueError("a scan needs at least one token")


def delta_scan_naive(
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    k: Tensor,
    q: Tensor,
    *,
    initial_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Token-by-token twin of `delta_scan`, same arguments and results."""
    _check(v, log_decay, beta, k, q)
    batch, length, heads, width = v.shape
    wide = _wide(v.dtype)
    state = (
        v.new_zeros(batch, heads, width, k.shape[3], dtype=wide)
        if initial_state is None
        else initial_state.to(wide)
    )
    outputs = []
    for t in range(length):
        if seq_idx is not None and t > 0:
            same = seq_idx[:, t] == seq_idx[:, t - 1]
            state = state * same[:, None, None, None].to(wide)
        y, state = delta_step(state, v[:, t], log_decay[:, t], beta[:, t], k[:, t], q[:, t])
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def delta_step(
    state: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    k: Tensor,
    q: Tensor,
    *,
    in_place: bool = False,
) -> tuple[Tensor, Tensor]:
    """One token of the scan.

    Args:
        state: (B, R, P, N) float32 or float64.
        v: (B, R, P).
        log_decay: (B, R), at most 0.
        beta: (B, R).
        k: (B, R, N), unit length.
        q: (B, H, N); query h reads state h // (H / R).
        in_place: overwrite `state` (no gradients) and return it.

    Returns:
        y: (B, H, P), dtype of v; the state after the token, (B, R, P, N).
    """
    wide = state.dtype
    batch, heads, width, states = state.shape
    decay = torch.exp(log_decay.to(wide))[..., None, None]
    kept = state.mul_(decay) if in_place else state * decay
    keys = k.to(wide).reshape(batch * heads, states, 1)
    held = torch.bmm(kept.flatten(0, 1), keys)  # (B * R, P, 1)
    change = v.to(wide).reshape(batch * heads, width, 1) - held
    change = change * beta.to(wide).reshape(-1, 1, 1)
    if in_place:
        after = state
        after.flatten(0, 1).baddbmm_(change, keys.transpose(1, 2))
    else:
        after = torch.baddbmm(kept.flatten(0, 1), change, keys.transpose(1, 2)).view(state.shape)
    queries = q.to(wide).reshape(batch * heads, -1, states)  # (B * R, H / R, N)
    y = torch.bmm(queries, after.flatten(0, 1).transpose(1, 2))  # (B * R, H / R, P)
    return y.reshape(batch, -1, width).to(v.dtype), after


def delta_scan(
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    k: Tensor,
    q: Tensor,
    *,
    initial_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
    chunk: int = 64,
    checkpoint: bool = False,
) -> tuple[Tensor, Tensor]:
    """Scan a whole sequence.

    Args:
        v: (B, T, R, P).
        log_decay: (B, T, R), at most 0.
        beta: (B, T, R), how much of what the state held under a key is replaced.
        k: (B, T, R, N), unit length.
        q: (B, T, H, N); query h reads state h // (H / R).
        initial_state: (B, R, P, N), belongs to the first packed sequence of each row.
        seq_idx: (B, T); where it changes the state starts from zero.
        chunk: tokens a chunk (Q).
        checkpoint: recompute the scan in the backward pass instead of storing it.

    Returns:
        y: (B, T, H, P), dtype of v.
        final_state: (B, R, P, N) float32 (float64 for float64 inputs).
    """
    _check(v, log_decay, beta, k, q)
    if dispatch.choose("delta_scan", v.device, v.dtype).implementation == "naive":
        return delta_scan_naive(
            v, log_decay, beta, k, q, initial_state=initial_state, seq_idx=seq_idx
        )
    runs = None if seq_idx is None else segment_runs(seq_idx)
    arguments = (v, log_decay, beta, k, q, initial_state, runs, chunk)
    if checkpoint and torch.is_grad_enabled():
        y, state = recompute(_chunked, *arguments, use_reentrant=False)
    else:
        y, state = _chunked(*arguments)
    return y.to(v.dtype), state


def _chunked(
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    k: Tensor,
    q: Tensor,
    initial_state: Tensor | None,
    runs: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Chunks of Q tokens; within one, the changes U solve a unit triangular system.

    U = b (V - exp(g) K S^T) - tril(b exp(g_i - g_j) K K^T, -1) U,   g summed from the chunk's start
    """
    batch, length, heads, width = v.shape
    states = k.shape[3]
    wide = _wide(v.dtype)
    size = min(chunk, length)
    chunks = -(-length // size)
    extra = chunks * size - length
    if extra:
        # A pad keeps the state (decay 1) and changes nothing (strength 0).
        v, k, q = (F.pad(x, (0, 0, 0, 0, 0, extra)) for x in (v, k, q))
        log_decay, beta = (F.pad(x, (0, 0, 0, extra)) for x in (log_decay, beta))
        if runs is not None:
            runs = torch.cat((runs, runs[:, -1:].expand(-1, extra)), dim=1)

    def split(x: Tensor) -> Tensor:
        """(B, T, R, ...) to (B, chunks, R, Q, ...) in the wide dtype."""
        return torch.unflatten(x.to(wide), 1, (chunks, size)).transpose(2, 3)

    values, keys, logs, strength = split(v), split(k), split(log_decay), split(beta)[..., None]
    queries = q.to(wide).reshape(batch, chunks, size, heads, -1, states)
    queries = queries.permute(0, 1, 3, 4, 2, 5)  # (B, chunks, R, H/R, Q, N)

    # 1. Decays between tokens of a chunk, and from its start.
    sums, start = segment_sums(logs), logs.cumsum(dim=-1)
    if runs is not None:
        ids = runs.reshape(batch, chunks, size)
        before = torch.cat((ids[:, :1, 0], ids[:, :-1, -1]), dim=1)  # run the chunk enters with
        sums = sums.masked_fill((ids[..., :, None] != ids[..., None, :])[:, :, None], -torch.inf)
        start = start.masked_fill((ids != before[..., None])[:, :, None], -torch.inf)
    between, entering = sums.exp(), start.exp()[..., None]  # (B,chunks,R,Q,Q), (B,chunks,R,Q,1)

    # 2. Changes of a chunk as what they are without and what the entering state takes off.
    coupled = (strength * (keys @ keys.transpose(-1, -2)) * between).tril(-1)
    right = torch.cat((strength * values, strength * entering * keys), dim=-1)
    solved = torch.linalg.solve_triangular(coupled, right, upper=False, unitriangular=True)
    own, taken = solved[..., :width], solved[..., width:]

    # 3. From chunk to chunk.
    to_end = between[..., -1, :, None] * keys  # (B, chunks, R, Q, N)
    state = (
        values.new_zeros(batch, heads, width, states)
        if initial_state is None
        else initial_state.to(wide)
    )
    starts, changes = [], []
    for index in range(chunks):
        change = own[:, index] - taken[:, index] @ state.transpose(-1, -2)  # (B, R, Q, P)
        starts.append(state)
        changes.append(change)
        added = change.transpose(-1, -2) @ to_end[:, index]
        state = torch.addcmul(added, state, entering[:, index, :, -1:])
    first, change = torch.stack(starts, dim=1), torch.stack(changes, dim=1)

    # 4. Reading: the entering state, then the changes up to each token.
    read = (queries @ first.transpose(-1, -2)[:, :, :, None]) * entering[:, :, :, None]
    scores = (queries @ keys.transpose(-1, -2)[:, :, :, None]) * between[:, :, :, None]
    y = read + scores @ change[:, :, :, None]  # (B, chunks, R, H/R, Q, P)
    y = y.permute(0, 1, 4, 2, 3, 5).reshape(batch, chunks * size, -1, width)
    return y[:, :length], state
