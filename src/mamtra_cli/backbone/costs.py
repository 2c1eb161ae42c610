"""What a hybrid stack costs, from its config alone: parameters, cache, state, traffic, FLOPs.

Exact counts, no measurement and no torch; a multiply-add is two FLOPs, element-wise work outside
the recurrence is left out. Kinds with a formula: T attention, M Mamba-2, S sliding window,
N native Mamba-2.
"""

from dataclasses import dataclass, replace
from math import ceil

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.errors import PlanError


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a speech model has beside its stack.

    Attributes:
        text_vocab: rows of the text embedding.
        speech_vocab: rows of the speech embedding and of the speech head.
        speech_bias: whether the speech head has a bias.
        special: learnt vectors beside both tables (start of sequence, task).
        text_tied: the text head shares the text embedding; an untied one is dropped with its size
            in `dropped`.
    """

    text_vocab: int = 0
    speech_vocab: int = 0
    speech_bias: bool = True
    special: int = 2
    text_tied: bool = True

    def text_embedding(self, d_model: int) -> int:
        """Parameters of the text embedding."""
        return self.text_vocab * d_model

    def speech_io(self, d_model: int) -> int:
        """Parameters of the speech embedding, the speech head and the special vectors."""
        if self.speech_vocab == 0:
            return 0
        bias = self.speech_vocab if self.speech_bias else 0
        return 2 * self.speech_vocab * d_model + bias + self.special * d_model

    def dropped(self, d_model: int) -> int:
        """Parameters of the text head that the speech model never reads (0 where tied)."""
        return 0 if self.text_tied else self.text_vocab * d_model


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameter counts of a model."""

    backbone: int
    text_embedding: int
    speech_io: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.backbone + self.text_embedding + self.speech_io


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Bytes per element of what decoding reads and writes."""

    weights: int = 2
    cache: int = 2
    state: int = 4
    conv: int = 2


def parameters(config: HybridConfig, head: Head | None = None) -> Parameters:
    """Count the parameters of a model."""
    head = head or Head()
    layers = sum(layer_parameters(config, kind) for kind in config.layer_kinds)
    return Parameters(
        backbone=layers + _norm(config) + config.learned_positions * config.d_model,
        text_embedding=head.text_embedding(config.d_model),
        speech_io=head.speech_io(config.d_model),
    )


def layer_parameters(config: HybridConfig, kind: str) -> int:
    """Count the parameters of one block: mixer, feed-forward and their norms."""
    width = config.feed_width(kind)
    matrices = _feed_matrices(config)
    shared = _norm(config) + matrices * config.d_model * width
    if width:
        shared += _norm(config)
        shared += ((matrices - 1) * width + config.d_model) if config.ffn_bias else 0
    if kind == "N":
        return shared + _native(config)
    return shared + (_mamba(config) if kind == "M" else _attention(config, kind))


def state_elements(config: HybridConfig) -> tuple[int, int]:
    """Elements of all recurrent states and of all convolution states, one sequence."""
    mixer, n = config.mixer, config.layer_kinds.count("M")
    one = config.n_heads * mixer.value_width(config.head_dim) * mixer.state_width(config.head_dim)
    ssm, conv = n * one, n * config.conv_channels * (mixer.conv_kernel - 1)
    if config.native is not None:
        d, native, own = config.d_model, config.native, config.layer_kinds.count("N")
        ssm += own * native.inner(d) * native.d_state
        conv += own * native.conv_channels(d) * (native.conv_kernel - 1)
    return ssm, conv


def state_bytes(config: HybridConfig, precision: Precision | None = None) -> int:
    """Bytes of the constant part of one sequence's memory."""
    precision = precision or Precision()
    ssm, conv = state_elements(config)
    return ssm * precision.state + conv * precision.conv


def kv_bytes_per_token(config: HybridConfig, element: int) -> int:
    """Bytes that one more token adds to the caches of the full-attention layers."""
    return 2 * config.kv_dim * element * config.layer_kinds.count("T")


def cache_bytes(config: HybridConfig, length: int, precision: Precision | None = None) -> int:
    """Bytes of keys, values and states of one sequence of `length` tokens."""
    precision = precision or Precision()
    window = config.layer_kinds.count("S") * _visible(config, "S", length)
    growing = kv_bytes_per_token(config, precision.cache) * length
    bounded = 2 * config.kv_dim * precision.cache * window
    return growing + bounded + state_bytes(config, precision)


def decode_flops(config: HybridConfig, length: int, head: Head | None = None) -> int:
    """FLOPs of one token decoded at a context of `length` tokens, itself included."""
    per_token = _matrix_flops(config, head or Head())
    scores = (
        4
        * config.q_dim
        * sum(_visible(config, kind, length) for kind in config.layer_kinds if kind in "TS")
    )
    return per_token + scores + _all_scans(config)


def prefill_flops(
    config: HybridConfig, length: int, *, causal: bool = True, chunk: int | None = None
) -> int:
    """FLOPs of one pass over `length` tokens, speech head left out.

    Args:
        config: the stack.
        length: tokens.
        causal: the attention kernel skips the upper half of the scores.
        chunk: chunk of the matmul form of the scan; None counts the recurrence.
    """
    scores = 0
    for kind in config.layer_kinds:
        if kind == "T":
            pairs = length * (length + 1) // 2 if causal else length * length
        elif kind == "S":
            pairs = sum(_visible(config, kind, t) for t in range(1, length + 1))
        else:
            continue
        scores += 4 * pairs * config.q_dim
    return length * (_matrix_flops(config, Head()) + _all_scans(config, chunk)) + scores


def decode_bytes(
    config: HybridConfig,
    length: int,
    *,
    batch: int = 1,
    head: Head | None = None,
    precision: Precision | None = None,
) -> int:
    """Bytes that one decode step must move: weights once, caches and states of every sequence.

    The text embedding and the speech embedding are looked up, not read through.
    """
    head, precision = head or Head(), precision or Precision()
    weights = parameters(config).backbone
    weights += head.speech_vocab * (config.d_model + int(head.speech_bias))
    # A state is read and written; keys and values are read.
    moved = cache_bytes(config, length, precision) + state_bytes(config, precision)
    return weights * precision.weights + batch * moved


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """Contexts in tokens from which a mixer layer costs no more than the attention it replaces."""

    memory: int
    traffic: int
    flops: int


def break_even(config: HybridConfig, precision: Precision | None = None) -> BreakEven:
    """Compare one M layer with one T layer: held bytes, moved bytes (batch large), FLOPs."""
    precision = precision or Precision()
    one = _with_kinds(config, "M")
    per_token = 2 * config.kv_dim * precision.cache
    held = state_bytes(one, precision)
    extra = 2 * (_mamba_matrices(config) - _attention_matrices(config)) + _scan_flops(config)
    return BreakEven(
        memory=ceil(held / per_token),
        traffic=ceil(2 * held / per_token),
        flops=max(ceil(extra / (4 * config.q_dim)), 0),
    )


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One context length of a cost table."""

    length: int
    cache_bytes: int
    decode_flops: int
    decode_bytes: int
    prefill_flops: int


def cost_table(
    config: HybridConfig,
    lengths: tuple[int, ...],
    *,
    batch: int = 1,
    head: Head | None = None,
    precision: Precision | None = None,
) -> tuple[CostRow, ...]:
    """Costs of one stack over context lengths (`cache_bytes` and FLOPs of one sequence)."""
    return tuple(
        CostRow(
            length=length,
            cache_bytes=cache_bytes(config, length, precision),
            decode_flops=decode_flops(config, length, head),
            decode_bytes=decode_bytes(config, length, batch=batch, head=head, precision=precision),
            prefill_flops=prefill_flops(config, length),
        )
        for length in lengths
    )


def _with_kinds(config: HybridConfig, kinds: str) -> HybridConfig:
    return replace(config, n_layers=len(kinds), kinds=kinds)


def _attention_matrices(config: HybridConfig) -> int:
    return 2 * config.d_model * (config.q_dim + config.kv_dim)


def _attention(config: HybridConfig, kind: str) -> int:
    if kind not in "TS":
        raise PlanError(f"there is no cost formula for layer kind `{kind}`", "use T, M or S")
    bias = config.conv_channels if config.qkv_bias else 0
    return _attention_matrices(config) + bias + (config.d_model if config.out_bias else 0)


def _norm(config: HybridConfig) -> int:
    return config.d_model * (2 if config.norm == "layer" else 1)


def _feed_matrices(config: HybridConfig) -> int:
    return 3 if config.ffn == "swiglu" else 2


def _native_matrices(config: HybridConfig) -> int:
    assert config.native is not None
    d = config.d_model
    return d * (config.native.projected(d) + config.native.inner(d))


def _native(config: HybridConfig) -> int:
    assert config.native is not None
    d, native = config.d_model, config.native
    conv = native.conv_channels(d) * (native.conv_kernel + 1)
    return _native_matrices(config) + conv + 3 * native.heads(d) + native.inner(d)


def _gate(config: HybridConfig) -> int:
    gate = config.mixer.gate
    if gate == "full":
        return config.d_model * config.q_dim
    return 0 if isinstance(gate, str) else gate * (config.d_model + config.q_dim)


def _mamba_matrices(config: HybridConfig) -> int:
    """Elements of the matrices that a token is multiplied with."""
    d = config.d_model
    return d * config.conv_channels + d * config.n_heads + _gate(config) + d * config.q_dim


def _mamba(config: HybridConfig) -> int:
    mixer, heads = config.mixer, config.n_heads
    bias = config.conv_channels if config.qkv_bias and mixer.qkv_bias == "keep" else 0
    gate_bias = config.q_dim if mixer.gate_bias and mixer.gate != "none" else 0
    conv = config.conv_channels * (mixer.conv_kernel + 1)
    per_head = heads * (3 if mixer.d_skip else 2)
    norm = 0 if mixer.norm == "none" else config.q_dim
    out = config.d_model if config.out_bias else 0
    return _mamba_matrices(config) + bias + gate_bias + conv + per_head + norm + out


def _all_scans(config: HybridConfig, chunk: int | None = None) -> int:
    """FLOPs a token of all convolutions and recurrences."""
    total = config.layer_kinds.count("M") * _scan_flops(config, chunk)
    if config.native is None:
        return total
    d, native = config.d_model, config.native
    values, width = native.inner(d), native.d_state
    one = 2 * native.conv_kernel * native.conv_channels(d)
    if chunk is None:
        one += 5 * values * width
    else:
        one += 2 * chunk * (values + native.groups * width) + 4 * values * width
    return total + config.layer_kinds.count("N") * one


def _scan_flops(config: HybridConfig, chunk: int | None = None) -> int:
    """FLOPs a token of convolution and recurrence."""
    mixer = config.mixer
    values = config.n_heads * mixer.value_width(config.head_dim)
    width = mixer.state_width(config.head_dim)
    conv = 2 * mixer.conv_kernel * config.conv_channels
    if chunk is None:
        return conv + 5 * values * width
    return conv + 2 * chunk * (values + config.n_heads * width) + 4 * values * width


def _matrix_flops(config: HybridConfig, head: Head) -> int:
    d = config.d_model
    total = 2 * d * head.speech_vocab
    for kind in config.layer_kinds:
        if kind == "N":
            matrices = _native_matrices(config)
        else:
            matrices = _mamba_matrices(config) if kind == "M" else _attention_matrices(config)
        total += 2 * (matrices + _feed_matrices(config) * d * config.feed_width(kind))
    return total


def _visible(config: HybridConfig, kind: str, length: int) -> int:
    """Tokens that a query at a context of `length` attends to."""
    if kind == "S":
        return min(length, config.mixer.window + config.mixer.sinks)
    return length
