"""What a hybrid stack costs, from its config alone: parameters, cache, state, traffic, FLOPs.

Exact counts, no measurement; a multiply-add is two FLOPs, element-wise work outside the recurrence
is left out. What a layer costs each kind states itself (`kinds/`).
"""

from dataclasses import dataclass, replace
from math import ceil

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.kinds import ATTENTION, kind_of, letter_of

FAR = 1 << 40  # a context longer than any window


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a speech model has beside its stack.

    Attributes:
        text_vocab: rows of the text embedding.
        speech_vocab: rows of a speech embedding and of a speech head.
        codebooks: how many of both there are.
        speech_bias: whether the speech head has a bias.
        special: learnt vectors beside both tables (start of sequence, task).
        other: parameters beside all of them.
    """

    text_vocab: int = 0
    speech_vocab: int = 0
    codebooks: int = 1
    speech_bias: bool = True
    special: int = 2
    other: int = 0

    def text_embedding(self, d_model: int) -> int:
        """Parameters of the text embedding."""
        return self.text_vocab * d_model

    def speech_io(self, d_model: int) -> int:
        """Parameters of the speech embedding, the speech head and what is beside them."""
        if self.speech_vocab == 0:
            return 0
        bias = self.speech_vocab if self.speech_bias else 0
        each = 2 * self.speech_vocab * d_model + bias
        return self.codebooks * each + self.special * d_model + self.other


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

    @classmethod
    def of(cls, element: int) -> "Precision":
        """As a model of this type is held; states are float32 whatever it is."""
        return cls(weights=element, cache=element, conv=element)


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
    return shared + kind_of(kind).parameters(config.shape, config.mixer)


def keeps_state(config: HybridConfig, kind: str) -> bool:
    """Whether a layer that stands in for attention holds a recurrent state."""
    stated = kind_of(kind)
    return stated.chosen and any(stated.state_elements(config.shape, config.mixer))


def state_elements(config: HybridConfig) -> tuple[int, int]:
    """Elements of all recurrent states and of all convolution states, one sequence."""
    shape, mixer = config.shape, config.mixer
    pairs = [kind_of(kind).state_elements(shape, mixer) for kind in config.layer_kinds]
    return sum(ssm for ssm, _ in pairs), sum(conv for _, conv in pairs)


def state_bytes(config: HybridConfig, precision: Precision | None = None) -> int:
    """Bytes of the constant part of one sequence's memory."""
    precision = precision or Precision()
    ssm, conv = state_elements(config)
    return ssm * precision.state + conv * precision.conv


def kv_bytes_per_token(config: HybridConfig, element: int) -> int:
    """Bytes that one more token adds to the caches that grow."""
    growing = sum(kind_of(kind).grows for kind in config.layer_kinds)
    return 2 * config.shape.kv_width * element * growing


def cache_bytes(config: HybridConfig, length: int, precision: Precision | None = None) -> int:
    """Bytes of keys, values and states of one sequence of `length` tokens."""
    precision = precision or Precision()
    columns = 2 * config.shape.kv_width * precision.cache * _visible(config, length)
    return columns + state_bytes(config, precision)


def reading_bytes(config: HybridConfig, length: int, element: int) -> int:
    """Bytes of one pass over `length` tokens beside what it leaves: the widest feed-forward.

    The residual, its norm, and what the feed-forward holds at once, gate and product included.
    """
    width = max(config.feed_width(kind) for kind in config.layer_kinds)
    return length * element * (2 * config.d_model + (_feed_matrices(config) + 1) * width)


def decode_flops(config: HybridConfig, length: int, head: Head | None = None) -> int:
    """FLOPs of one token decoded at a context of `length` tokens, itself included."""
    per_token = _matrix_flops(config, head or Head())
    return per_token + 4 * config.shape.q_width * _visible(config, length) + _scan_flops(config)


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
    pairs = 0
    for kind in config.layer_kinds:
        stated = kind_of(kind)
        if not stated.grows:
            pairs += sum(stated.visible(config.mixer, t) for t in range(1, length + 1))
        else:
            pairs += length * (length + 1) // 2 if causal else length * length
    per_token = _matrix_flops(config, Head()) + _scan_flops(config, chunk)
    return length * per_token + 4 * pairs * config.shape.q_width


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
    each = head.speech_vocab * (config.d_model + int(head.speech_bias))
    weights += head.codebooks * each
    # A state is read and written; keys and values are read.
    moved = cache_bytes(config, length, precision) + state_bytes(config, precision)
    return weights * precision.weights + batch * moved


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """Contexts in tokens from which a mixer layer costs no more than the attention it replaces.

    Attributes:
        state: in bytes held, of the recurrent state alone. Where it is as wide as a head and of
            twice the bytes of keys and values, that is the head's width times the query heads of
            a key head.
        memory: in bytes held, the convolution's state counted.
        traffic: in bytes moved.
        flops: in arithmetic.
    """

    state: int
    memory: int
    traffic: int
    flops: int


def break_even(
    config: HybridConfig, precision: Precision | None = None, kind: str = ""
) -> BreakEven:
    """Compare one layer that stands in for attention with one that is: bytes held and moved, FLOPs.

    Args:
        config: the stack.
        precision: bytes per element.
        kind: of the layer; the one that the config's choices are made for if empty.
    """
    precision = precision or Precision()
    kind = kind or letter_of(config.mixer.mixer)
    stated, shape, mixer = kind_of(kind), config.shape, config.mixer
    one = _with_kinds(config, kind)
    per_token = 2 * config.shape.kv_width * precision.cache
    state = state_bytes(one, precision)
    recurrent = state_elements(one)[0] * precision.state
    window = stated.visible(mixer, FAR)
    extra = 2 * (stated.matrices(shape, mixer) - kind_of(ATTENTION).matrices(shape, mixer))
    extra += stated.scan_flops(shape, mixer)
    return BreakEven(
        state=ceil(recurrent / per_token) + window,
        memory=ceil(state / per_token) + window,
        traffic=ceil(2 * state / per_token) + window,
        flops=max(ceil(extra / (4 * config.shape.q_width)), 0) + window,
    )


def _with_kinds(config: HybridConfig, kinds: str) -> HybridConfig:
    return replace(config, n_layers=len(kinds), kinds=kinds)


def _norm(config: HybridConfig) -> int:
    return config.d_model * (2 if config.norm == "layer" else 1)


def _feed_matrices(config: HybridConfig) -> int:
    return 3 if config.ffn == "swiglu" else 2


def _scan_flops(config: HybridConfig, chunk: int | None = None) -> int:
    """FLOPs a token of all convolutions and recurrences."""
    shape, mixer = config.shape, config.mixer
    return sum(kind_of(kind).scan_flops(shape, mixer, chunk) for kind in config.layer_kinds)


def _matrix_flops(config: HybridConfig, head: Head) -> int:
    d, shape, mixer = config.d_model, config.shape, config.mixer
    total = 2 * d * head.codebooks * head.speech_vocab
    for kind in config.layer_kinds:
        feed = _feed_matrices(config) * d * config.feed_width(kind)
        total += 2 * (kind_of(kind).matrices(shape, mixer) + feed)
    return total


def _visible(config: HybridConfig, length: int) -> int:
    """Tokens that a query at a context of `length` attends to, over all layers."""
    return sum(kind_of(kind).visible(config.mixer, length) for kind in config.layer_kinds)
