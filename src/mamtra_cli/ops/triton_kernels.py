"""Our own Triton kernels: the recurrence of Mamba-2 for one token, and chunked for a sequence.

The same arguments and results as `ssd_step` and `ssd_scan` have after step sizes are worked out;
those are their slow twins. No gradients. Numbers are float32 inside whatever the inputs are, and
products are not rounded to TF32. Tests run them in Triton's interpreter on a CPU; they have not
run on a real GPU yet, so nothing chooses them by itself (`dispatch.forced`, `benchmarks/gpu.py`).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 32  # of a state's P that one program of the scan keeps
MOST = 1 << 31  # elements of a tensor, whose places are counted in 32 bits


@triton.jit  # type: ignore[untyped-decorator]
def _step_kernel(
    state,
    x,
    decay,
    size,
    B,
    C,
    y,
    heads,
    x_heads,
    b_heads,
    readers,
    width,
    states,
    READS: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
):
    """One state: its decay, what is added, and what each of its readers reads."""
    row, head = tl.program_id(0), tl.program_id(1)
    p, n = tl.arange(0, P), tl.arange(0, N)
    tile = (p[:, None] < width) & (n[None, :] < states)
    at = (row * heads + head) * width * states + p[:, None] * states + n[None, :]
    held = tl.load(state + at, mask=tile, other=0.0)
    values = tl.load(
        x + (row * x_heads + head * x_heads // heads) * width + p, mask=p < width, other=0.0
    ).to(tl.float32)
    keys = tl.load(
        B + (row * b_heads + head * b_heads // heads) * states + n, mask=n < states, other=0.0
    ).to(tl.float32)
    factor = tl.load(decay + row * heads + head)
    gain = tl.load(size + row * heads + head)
    held = held * factor + (values * gain)[:, None] * keys[None, :]
    tl.store(state + at, held, mask=tile)
    for read in tl.static_range(READS):
        reader = head * READS + read
        query = tl.load(C + (row * readers + reader) * states + n, mask=n < states, other=0.0).to(
            tl.float32
        )
        out = tl.sum(held * query[None, :], axis=1)
        tl.store(y + (row * readers + reader) * width + p, out, mask=p < width)


def step(state: Tensor, x: Tensor, decay: Tensor, size: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """One token; `state` is overwritten.

    Args:
        state: (B, H, P, N) float32, contiguous.
        x: (B, H, P) or (B, G, P).
        decay: (B, H) float32, what a state is multiplied with.
        size: (B, H) float32, the input gain.
        B: (B, G, N).
        C: (B, R, N), R a multiple of H.

    Returns:
        (B, R, P) float32, without skip or gate.
    """
    batch, heads, width, states = state.shape
    readers = C.shape[1]
    if readers % heads or not state.is_contiguous() or state.dtype != torch.float32:
        raise ValueError(f"{readers} readers of states {tuple(state.shape)} {state.dtype}")
    y = torch.empty(batch, readers, width, device=state.device, dtype=torch.float32)
    _step_kernel[(batch, heads)](
        state,
        x.contiguous(),
        decay.contiguous(),
        size.contiguous(),
        B.contiguous(),
        C.contiguous(),
        y,
        heads,
        x.shape[1],
        B.shape[1],
        readers,
        width,
        states,
        READS=readers // heads,
        P=triton.next_power_of_2(width),
        N=triton.next_power_of_2(states),
    )
    return y


@triton.jit  # type: ignore[untyped-decorator]
def _scan_kernel(
    drive,
    logs,
    B,
    C,
    runs,
    initial,
    y,
    final,
    length,
    heads,
    groups,
    width,
    states,
    RUNS: tl.constexpr,
    INITIAL: tl.constexpr,
    Q: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
):
    """Some columns of one head's state, chunk after chunk; see the numbered steps of `_chunked`."""
    row, head = tl.program_id(0), tl.program_id(1)
    p = tl.program_id(2) * P + tl.arange(0, P)
    n, q = tl.arange(0, N), tl.arange(0, Q)
    group = head * groups // heads
    at = ((row * heads + head) * width + p[:, None]) * states + n[None, :]
    tile = (p[:, None] < width) & (n[None, :] < states)
    state = tl.zeros((P, N), tl.float32)
    if INITIAL:
        state = tl.load(initial + at, mask=tile, other=0.0).to(tl.float32)
    before = 0
    if RUNS:
        before = tl.load(runs + row * length)
    for start in range(0, length, Q):
        t = start + q
        there = t < length
        wide = there[:, None] & (n[None, :] < states)
        tall = there[:, None] & (p[None, :] < width)
        keys_at = ((row * length + t[:, None]) * groups + group) * states + n[None, :]
        values_at = ((row * length + t[:, None]) * heads + head) * width + p[None, :]
        keys = tl.load(B + keys_at, mask=wide, other=0.0).to(tl.float32)
        queries = tl.load(C + keys_at, mask=wide, other=0.0).to(tl.float32)
        values = tl.load(drive + values_at, mask=tall, other=0.0).to(tl.float32)
        log = tl.load(logs + (row * length + t) * heads + head, mask=there, other=0.0)
        # Sums of their own terms: a difference of running sums loses what they have swallowed.
        terms = tl.where(q[:, None] > q[None, :], log[:, None], 0.0)
        sums = tl.cumsum(terms, axis=0)
        seen = q[:, None] >= q[None, :]
        entering = tl.cumsum(log, axis=0)
        carried = entering
        if RUNS:
            # Pads behind the end belong to the last run, so that they change nothing.
            run = tl.load(runs + row * length + tl.minimum(t, length - 1))
            seen = seen & (run[:, None] == run[None, :])
            carried = tl.where(run == before, entering, float("-inf"))
        weights = tl.where(seen, tl.exp(sums), 0.0)
        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee") * weights
        out = tl.dot(scores, values, input_precision="ieee")
        read = tl.dot(queries, tl.trans(state), input_precision="ieee")
        out += read * tl.exp(carried)[:, None]
        tl.store(y + values_at, out, mask=tall)
        last = q == Q - 1
        to_end = tl.sum(tl.where(last[:, None], weights, 0.0), axis=0)
        kept = tl.sum(tl.where(last, tl.exp(carried), 0.0), axis=0)
        added = tl.dot(tl.trans(values * to_end[:, None]), keys, input_precision="ieee")
        state = state * kept + added
        if RUNS:
            before = tl.load(runs + row * length + tl.minimum(start + Q - 1, length - 1))
    tl.store(final + at, state, mask=tile)


def scan(
    drive: Tensor,
    log_decay: Tensor,
    B: Tensor,
    C: Tensor,
    initial_state: Tensor | None,
    runs: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """A whole sequence.

    Args:
        drive: (B, T, H, P), the gain applied.
        log_decay: (B, T, H) float32.
        B, C: (B, T, G, N).
        initial_state: (B, H, P, N); belongs to the first packed sequence of a row.
        runs: (B, T) numbers of packed sequences.
        chunk: tokens a chunk; a power of two of at least 16.

    Returns:
        (B, T, H, P) float32 without skip or gate; the final state (B, H, P, N) float32.
    """
    batch, length, heads, width = drive.shape
    groups, states = B.shape[2:]
    if chunk < 16 or chunk & (chunk - 1):
        raise ValueError(f"a chunk of {chunk} is no power of two of at least 16")
    if max(drive.numel(), B.numel()) >= MOST:
        raise ValueError(f"{batch} rows of {length} tokens are too many for one call")
    drive = drive.contiguous()
    y = torch.empty(drive.shape, device=drive.device, dtype=torch.float32)
    final = torch.empty(batch, heads, width, states, device=drive.device, dtype=torch.float32)
    columns = min(COLUMNS, max(16, triton.next_power_of_2(width)))
    nothing = final  # a pointer that is not read
    _scan_kernel[(batch, heads, triton.cdiv(width, columns))](
        drive,
        log_decay.float().contiguous(),
        B.contiguous(),
        C.contiguous(),
        nothing if runs is None else runs.contiguous(),
        nothing if initial_state is None else initial_state.contiguous(),
        y,
        final,
        length,
        heads,
        groups,
        width,
        states,
        RUNS=runs is not None,
        INITIAL=initial_state is not None,
        Q=chunk,
        P=columns,
        N=max(16, triton.next_power_of_2(states)),
    )
    return y, final
