"""What a mixer is, as data: `MixerConfig` (every choice of a converted layer), with named presets.

No torch here, so plans, costs and the command line can read it fast. The choices and their reasons
are those of the linear-attention view of Mamba-2 (Dao and Gu, arXiv 2405.21060, section 5) with
the key/value sharing of MambaInLlama (arXiv 2408.15237).
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mamtra_cli.errors import UsageError

_CHOICES: dict[str, tuple[str, ...]] = {
    "act": ("identity", "silu"),
    "state": ("head", "kv"),
    "rope": ("keep", "drop"),
    "qkv_bias": ("keep", "fold", "drop"),
    "norm": ("head", "all", "none"),
    "norm_order": ("before_gate", "after_gate"),
    "gate_kind": ("neutral", "silu"),
    "gain": ("one", "dt"),
    "decay": ("slow", "mamba"),
    "feature_map": ("identity", "softmax2", "elu1"),
}


@dataclass(frozen=True, kw_only=True)
class MixerConfig:
    """Every choice of a mixer; the defaults are the preset `mamba2-gqa`.

    Attributes:
        mixer: kind of layer that these choices are made for, such as `mamba2` (recurrent) or
            `swa` (sliding-window attention).
        conv_kernel: taps of the causal convolution over values, keys and queries (W).
        act: activation after the convolution.
        state: one state and decay for each query head (`head`), or for each key/value head, read
            by all its queries (`kv`): as many times smaller as queries share a key head.
        rope: keep or drop the attention's rotary positions on queries and keys.
        qkv_bias: keep projection biases, fold them into the convolution bias, or drop them.
        norm: RMS norm of the read-out over each head, over all heads, or none.
        norm_eps: epsilon of that norm.
        norm_order: the norm comes before or after the gate.
        gate: `none`, `full` or the rank of a low-rank gate.
        gate_kind: `neutral` is 2*sigmoid(z), which is 1 at z = 0; `silu` is z*sigmoid(z).
        gate_bias: give the gate a bias (lets a silu gate start at 1).
        gain: input gain of the recurrence, decoupled (`one`) or the step size (`dt`).
        decay: starting decays, `slow` (time constants 8..2048 tokens) or `mamba` (its defaults).
        feature_map: map on queries and keys; `softmax2` is softmax over [x, -x].
        normalise: divide the read-out by the sum of its weights; needs a positive feature map.
        d_skip: carry the skip term D*x.
        window: tokens a sliding-window query sees, itself included (`swa`, `swa+ssm`).
        sinks: first tokens that stay visible for ever (`swa`, `swa+ssm`).
    """

    mixer: str = "mamba2"
    conv_kernel: int = 4
    act: str = "identity"
    state: str = "head"
    rope: str = "keep"
    qkv_bias: str = "keep"
    norm: str = "head"
    norm_eps: float = 1e-5
    norm_order: str = "before_gate"
    gate: str | int = 64
    gate_kind: str = "neutral"
    gate_bias: bool = False
    gain: str = "one"
    decay: str = "slow"
    feature_map: str = "softmax2"
    normalise: bool = False
    d_skip: bool = True
    window: int = 256
    sinks: int = 4

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise UsageError(
                    f"mixer option `{name}` cannot be `{value}`",
                    f"choose one of {', '.join(allowed)}",
                )
        if isinstance(self.gate, bool) or (
            self.gate < 1 if isinstance(self.gate, int) else self.gate not in ("none", "full")
        ):
            raise UsageError(
                f"mixer option `gate` cannot be `{self.gate}`",
                "use none, full, or a rank such as 64",
            )
        for name, least in (("conv_kernel", 1), ("window", 1), ("sinks", 0)):
            value, most = getattr(self, name), 1 << 16
            if not least <= value <= most:
                fix = f"use {least} or more" if value < least else f"use {most} at most"
                raise UsageError(f"mixer option `{name}` is {value}", fix)
        if self.mixer == "swa+ssm" and self.qkv_bias == "fold":
            raise UsageError(
                "mixer option `qkv_bias` cannot be `fold` for `swa+ssm`, whose window has none",
                "keep the biases",
            )
        if self.normalise and self.mixer == "gdn":
            raise UsageError(
                "mixer option `normalise` has no meaning for `gdn`, which overwrites",
                "leave it out",
            )
        if self.normalise and self.feature_map == "identity":
            raise UsageError(
                "mixer option `normalise` needs a positive feature map",
                "set feature_map to softmax2 or elu1",
            )

    def state_width(self, head_dim: int) -> int:
        """Width N of the recurrent state for heads of `head_dim` (P)."""
        return 2 * head_dim if self.feature_map == "softmax2" else head_dim

    def states(self, heads: int, groups: int) -> int:
        """Recurrent states of a layer with so many query and key/value heads."""
        return heads if self.state == "head" else groups

    def value_width(self, head_dim: int) -> int:
        """Rows of the recurrent state: P, and one more for the normaliser."""
        return head_dim + int(self.normalise)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MixerConfig":
        """Build from plain values; `preset` names a base, unknown keys are errors.

        Args:
            values: field values, and optionally `preset`, whose fields they override.
        """
        known = [field.name for field in fields(cls)]
        rest = dict(values)
        name = rest.pop("preset", None)
        base = preset(name).to_dict() if name is not None else {}
        for key in rest:
            if key not in known:
                near = difflib.get_close_matches(key, [*known, "preset"], n=1)
                raise UsageError(
                    f"unknown mixer option `{key}`",
                    f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}",
                )
        return cls(**{**base, **rest})


PRESETS: dict[str, MixerConfig] = {
    "mamba2-gqa": MixerConfig(),
    "mamtra-paper": MixerConfig(
        act="silu",
        rope="drop",
        norm="all",
        norm_order="after_gate",
        gate="full",
        gate_kind="silu",
        gain="dt",
        decay="mamba",
        feature_map="identity",
    ),
    "swa": MixerConfig(mixer="swa"),
    "kv-shared-state": MixerConfig(state="kv"),
    "gdn": MixerConfig(mixer="gdn"),
    "swa+ssm": MixerConfig(mixer="swa+ssm", window=64, gate="none"),
}


_WITHOUT = {"mamba2": ("window",), "gdn": ("window",), "swa": ("gate", "state"), "swa+ssm": ()}
"""Choices that a preset may be given and layers of each mixer do not have."""


def preset(name: str, *, gate: str = "", state: str = "", window: int = 0) -> MixerConfig:
    """Return the preset called `name`, with choices of its own where others are not given.

    Args:
        name: of `PRESETS`.
        gate: `full`, `none` or a rank.
        state: `head` or `kv`.
        window: tokens.

    Raises:
        UsageError: no such preset or choice, or one that this kind of layer does not have.
    """
    try:
        found = PRESETS[name]
    except KeyError:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        raise UsageError(
            f"unknown mixer `{name}`",
            f"did you mean `{near[0]}`?" if near else f"known: {', '.join(PRESETS)}",
        ) from None
    given: dict[str, Any] = {"gate": gate, "state": state, "window": window}
    given = {option: value for option, value in given.items() if value}
    for option in given:
        if option in _WITHOUT[found.mixer]:
            raise UsageError(f"mixer `{name}` has no {option}", f"leave `--{option}` out")
    if gate.isdecimal():
        given["gate"] = int(gate)
    return replace(found, **given)
