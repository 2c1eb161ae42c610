"""Attention weights become the starting weights of a mixer.

What moves over, and how, each kind of layer states itself (`kinds/`); everything that attention
has no weights for starts neutral, and every transfer is checked tensor by tensor. The closed-form
fit of the output projection that follows is in `calibrate.py`.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.attention_weights import PROJECTIONS
from mamtra_cli.backbone.attention_weights import AttentionWeights as AttentionWeights
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.kinds import ATTENTION, kind_of, replacing
from mamtra_cli.errors import CheckpointError, PlanError
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape

INITS = ("transfer", "xavier", "kaiming")


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
    if init != "transfer":
        state |= _random(state, init, seed)
    else:
        state |= kind_of(letter).transferred(weights, shape, config, scale_keys)
        check_transfer(state, weights, shape, config, letter=letter, scale_keys=scale_keys)
    # What is drawn is drawn on the CPU: a seed gives the same mixer on every device.
    return {name: value.detach().to(weights.q.device) for name, value in state.items()}


def fresh_mixer(
    letter: str, shape: MixerShape, config: MixerConfig, seed: int, dtype: torch.dtype
) -> nn.Module:
    """A mixer as built, from a seed of its own and without moving the global one."""
    if letter not in replacing():
        raise PlanError(
            f"layers of kind `{letter}` do not stand in for attention", f"use one of {replacing()}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed GPUs too
        return kind_of(letter).build(shape, config).to(dtype)


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
    kind = kind_of(letter)
    wanted = {
        **kind.neutral(shape, config),
        **kind.transferred(weights, shape, config, scale_keys),
    }
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


def _random(state: Mapping[str, Tensor], init: str, seed: int) -> dict[str, Tensor]:
    """Projections drawn anew, biases zero where attention's would have been."""
    generator = torch.Generator().manual_seed(seed)
    draw = nn.init.xavier_uniform_ if init == "xavier" else nn.init.kaiming_uniform_
    out = {}
    for name in (f"{name}_proj.weight" for name in PROJECTIONS):
        value = torch.empty(state[name].shape)
        draw(value, generator=generator)
        out[name] = value.to(state[name].dtype)
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
        if after == before and (not kind_of(after).chosen or teacher.config.mixer == mixer):
            continue
        if before != ATTENTION:
            raise PlanError(
                f"layer {i} of the teacher is not attention but `{before}`",
                "convert from the original teacher",
            )
        converted[i] = after
        made = attention_to_mixer(
            AttentionWeights.from_state_dict(source, f"layers.{i}.self_attn."),
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
