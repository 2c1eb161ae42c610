"""Attention weights become the starting weights of a mixer.

In the linear-attention reading of Mamba-2, queries play C, keys B, values x: the projections of q,
k, v and o move over as they are, and everything that attention has no weights for starts neutral.
Source: Wang et al., arXiv 2408.15237 (MambaInLlama); here biases and rotations are kept as well.
The closed-form fit of the output projection that follows is in `calibrate.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.errors import CheckpointError, PlanError
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.mixers import build_mixer
from mamtra_cli.layers.shape import MixerShape

PROJECTIONS = ("q", "k", "v", "o")

INITS = ("transfer", "xavier", "kaiming")


@dataclass(frozen=True, kw_only=True)
class AttentionWeights:
    """The tensors of one attention layer: q (H P, D), k and v (G P, D), o (D, H P), biases."""

    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor
    q_bias: Tensor | None = None
    k_bias: Tensor | None = None
    v_bias: Tensor | None = None

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], prefix: str = "") -> "AttentionWeights":
        """Pick the published names `{prefix}q_proj.weight` and so on."""
        names = {name: f"{prefix}{name}_proj.weight" for name in PROJECTIONS}
        missing = [name for name in names.values() if name not in tensors]
        if missing:
            raise CheckpointError(
                f"{len(missing)} attention tensors are missing, first `{missing[0]}`",
                "give the folder of the model's own weights",
            )
        return cls(
            q=tensors[names["q"]],
            k=tensors[names["k"]],
            v=tensors[names["v"]],
            o=tensors[names["o"]],
            q_bias=tensors.get(f"{prefix}q_proj.bias"),
            k_bias=tensors.get(f"{prefix}k_proj.bias"),
            v_bias=tensors.get(f"{prefix}v_proj.bias"),
        )

    def bias(self, name: str) -> Tensor | None:
        """Bias of `q`, `k` or `v`."""
        value = getattr(self, f"{name}_bias")
        assert value is None or isinstance(value, Tensor)
        return value

    def check(self, shape: MixerShape) -> None:
        """Refuse tensors of other sizes, naming all of them."""
        wide, narrow, d = shape.q_width, shape.kv_width, shape.d_model
        expected = {"q": (wide, d), "k": (narrow, d), "v": (narrow, d), "o": (d, wide)}
        wrong = [
            f"{name}_proj.weight is {tuple(getattr(self, name).shape)}, expected {size}"
            for name, size in expected.items()
            if tuple(getattr(self, name).shape) != size
        ]
        for name in "qkv":
            bias = self.bias(name)
            if bias is not None and tuple(bias.shape) != expected[name][:1]:
                wrong.append(f"{name}_proj.bias is {tuple(bias.shape)}")
            if shape.qkv_bias and bias is None:
                wrong.append(f"{name}_proj.bias is missing")
        if wrong:
            raise CheckpointError("attention tensors do not fit: " + "; ".join(wrong))


def attention_to_mixer(
    weights: AttentionWeights,
    shape: MixerShape,
    config: MixerConfig,
    *,
    letter: str = "M",
    init: str = "transfer",
    scale_keys: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Make the tensors of a mixer that stands in for one attention layer.

    Args:
        weights: of the attention layer.
        shape: its sizes.
        config: choices of the mixer.
        letter: kind of the mixer, as in a layer plan.
        init: `transfer`, or for comparison `xavier` or `kaiming` random projections.
        scale_keys: fold attention's 1 / sqrt(P) into the queries.
        seed: of whatever is drawn.

    Returns:
        The mixer's state dict on the device of `weights`; projections have their dtype.
    """
    if init not in INITS:
        raise ValueError(f"init must be one of {INITS}, got {init!r}")
    weights.check(shape)
    mixer = fresh_mixer(letter, shape, config, seed, weights.q.dtype)
    state = mixer.state_dict()
    if init == "transfer":
        state |= transferred(weights, shape, config, letter=letter, scale_keys=scale_keys)
    else:
        state |= _random(weights, init, seed)
    if init == "transfer":
        check_transfer(state, weights, shape, config, letter=letter, scale_keys=scale_keys)
    # What is drawn is drawn on the CPU: a seed gives the same mixer on every device.
    return {name: value.detach().to(weights.q.device) for name, value in state.items()}


def fresh_mixer(
    letter: str, shape: MixerShape, config: MixerConfig, seed: int, dtype: torch.dtype
) -> nn.Module:
    """A mixer as built, from a seed of its own and without moving the global one."""
    if letter == "T":
        raise PlanError("attention is not converted to attention", "use M or S")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed GPUs too
        return build_mixer(letter, shape, config).to(dtype)


def transferred(
    weights: AttentionWeights,
    shape: MixerShape,
    config: MixerConfig,
    *,
    letter: str = "M",
    scale_keys: bool = False,
) -> dict[str, Tensor]:
    """The tensors of a mixer that attention decides, by name."""
    factor = 1.0 / math.sqrt(shape.head_dim) if scale_keys else 1.0
    out = {f"{name}_proj.weight": getattr(weights, name).detach().clone() for name in PROJECTIONS}
    biases = {name: weights.bias(name) for name in "qkv"}
    if letter == "S":
        # Window attention scales its scores itself.
        return out | {
            f"{name}_proj.bias": bias.detach().clone()
            for name, bias in biases.items()
            if bias is not None and shape.qkv_bias
        }
    out["q_proj.weight"] *= factor
    if not shape.qkv_bias:
        return out
    parts = {name: bias.detach().clone() for name, bias in biases.items() if bias is not None}
    parts["q"] *= factor
    if config.qkv_bias == "keep":
        out |= {f"{name}_proj.bias": bias for name, bias in parts.items()}
    elif config.qkv_bias == "fold":
        # Exact while the convolution is the identity: its taps sum to one.
        out["conv.bias"] = torch.cat([parts[name] for name in "vkq"])
    return out


def check_transfer(
    state: Mapping[str, Tensor],
    weights: AttentionWeights,
    shape: MixerShape,
    config: MixerConfig,
    *,
    letter: str = "M",
    scale_keys: bool = False,
) -> None:
    """Fail unless a mixer really starts from this attention: exact weights, identity convolution.

    Raises:
        CheckpointError: naming every tensor that is not what the transfer promises.
    """
    wanted = transferred(weights, shape, config, letter=letter, scale_keys=scale_keys)
    if letter == "M":
        taps = torch.zeros(shape.conv_channels, config.conv_kernel)
        taps[:, -1] = 1.0
        wanted["conv.weight"] = taps
        wanted.setdefault("conv.bias", torch.zeros(shape.conv_channels))
    wrong = []
    for name, value in wanted.items():
        if name not in state:
            wrong.append(f"`{name}` is missing")
            continue
        got = state[name]
        if got.shape != value.shape:
            wrong.append(f"`{name}` is {tuple(got.shape)}, not {tuple(value.shape)}")
        elif not torch.equal(got.detach().cpu(), value.to(got.dtype).cpu()):
            gap = float((got.detach().cpu().double() - value.cpu().double()).abs().max())
            wrong.append(f"`{name}` differs from the attention's by up to {gap:.3g}")
    if wrong:
        raise CheckpointError(
            "a converted layer does not start from its attention: " + "; ".join(wrong[:5]),
            "convert the teacher again",
        )


def _random(weights: AttentionWeights, init: str, seed: int) -> dict[str, Tensor]:
    """Projections drawn anew, biases zero where attention's would have been."""
    generator = torch.Generator().manual_seed(seed)
    draw = nn.init.xavier_uniform_ if init == "xavier" else nn.init.kaiming_uniform_
    out = {}
    for name in PROJECTIONS:
        like: Tensor = getattr(weights, name)
        value = torch.empty(like.shape)
        draw(value, generator=generator)
        out[f"{name}_proj.weight"] = value.to(like.dtype)
    return out


def student_of(
    teacher: HybridStack,
    kinds: str,
    mixer: MixerConfig,
    *,
    init: str = "transfer",
    scale_keys: bool = False,
    seed: int = 0,
    share: bool = False,
) -> HybridStack:
    """A stack of other kinds that starts from a teacher's weights.

    Args:
        teacher: a stack with attention in every layer that the student converts or keeps.
        kinds: the student's layers, one letter each.
        mixer: choices of the converted layers.
        init: as in `attention_to_mixer`; layer i draws from `seed` + i.
        scale_keys: as in `attention_to_mixer`.
        seed: as in `attention_to_mixer`.
        share: let unchanged tensors be the teacher's own, in place of copies.
    """
    config = replace(teacher.config, kinds=kinds, mixer=mixer)
    source = teacher.state_dict()
    shape = config.shape
    tensors: dict[str, Tensor] = {}
    pairs = zip(teacher.config.layer_kinds, config.layer_kinds, strict=True)
    converted: dict[int, str] = {}
    for i, (before, after) in enumerate(pairs):
        if after == before and (after == "T" or teacher.config.mixer == mixer):
            continue
        if before != "T":
            raise PlanError(
                f"layer {i} of the teacher is not attention but `{before}`",
                "convert from the original teacher",
            )
        converted[i] = after
        weights = AttentionWeights.from_state_dict(source, f"layers.{i}.self_attn.")
        made = attention_to_mixer(
            weights,
            shape,
            mixer,
            letter=after,
            init=init,
            scale_keys=scale_keys,
            seed=seed + i,
        )
        tensors |= {f"layers.{i}.mixer.{name}": value for name, value in made.items()}
    gone = tuple(f"layers.{i}.self_attn." for i in converted)
    for name, value in source.items():
        if not name.startswith(gone):
            tensors[name] = value if share else value.clone()
    with torch.device("meta"):
        student = HybridStack(config)
    student.load_state_dict(tensors, strict=True, assign=True)
    return student.train(teacher.training)
