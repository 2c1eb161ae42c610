"""What a Zonos model can be told beside text and voice, and as which values it hears them.

Ranges and defaults are the published ones; `None` leaves a condition unsaid, for which the model
learned a vector. A setting that the model has no condition for is refused. Knows no modules.
Source: Zyphra/Zonos, zonos/conditioning.py (`make_cond_dict`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from mamtra_cli.errors import UsageError
from mamtra_cli.families.settings import told
from mamtra_cli.families.zonos.config import HYBRID_CONDITIONS, Condition, LMConfig
from mamtra_cli.families.zonos.phones import check_language
from mamtra_cli.families.zonos.symbols import LANGUAGES
from mamtra_cli.recipes.knob import Knob

EMOTIONS = (
    "happiness", "sadness", "disgust", "fear", "surprise", "anger", "other", "neutral",
)  # fmt: skip
EMOTION = (0.3077, 0.0256, 0.0256, 0.0256, 0.0256, 0.0256, 0.2564, 0.3077)
BANDS = 8
_many = partial(Knob, low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to speak; each field is a setting of `--set`."""

    language: Annotated[str, Knob("Code of the language, such as en-us, de or ja.")] = "en-us"
    phones: Annotated[str, Knob("Phones in place of those of the text, as espeak writes them.")] = (
        ""
    )
    emotion: Annotated[
        tuple[float, ...] | None,
        _many(f"Shares of {', '.join(EMOTIONS)}; none is the steadiest."),
    ] = EMOTION
    fmax: Annotated[
        float | None, Knob("Highest frequency of the sound, in Hz.", low=0, high=24_000)
    ] = 22_050.0
    pitch_std: Annotated[
        float | None, Knob("How lively the pitch is; 20 to 45 is speech.", low=0, high=400)
    ] = 20.0
    speaking_rate: Annotated[float | None, Knob("Phones a second.", low=0, high=40)] = 15.0
    vqscore_8: Annotated[
        tuple[float, ...] | None, Knob("Clearness of each eighth.", low=0.5, high=0.8)
    ] = None
    ctc_loss: Annotated[
        float | None, Knob("How far from its text the speech may be.", low=-1, high=1000)
    ] = 0.0
    dnsmos_ovrl: Annotated[float | None, Knob("Quality of the sound.", low=1, high=5)] = None
    speaker_noised: Annotated[
        float | None, Knob("Whether the clip of the voice is noisy.", low=0, high=1)
    ] = 0.0
    guidance: Annotated[
        float, Knob("How strictly the conditions are followed; 1 is once as fast.", low=1, high=20)
    ] = 2.0
    end_bias: Annotated[
        float, Knob("Added to the score of the end; below 0 ends later.", low=-20, high=20)
    ] = 0.0
    scrambled_tail: Annotated[
        bool, Knob("The published order of ids in speech cut at its limit.")
    ] = False
    absorbed_first: Annotated[
        bool, Knob("Read the first frame four times, as the hybrid's CUDA graphs do.")
    ] = False


def manner_of(config: LMConfig, words: Sequence[str], defaults: Settings | None = None) -> Settings:
    """Read the settings of a model.

    Args:
        config: its conditions.
        words: each `NAME=VALUE`.
        defaults: what holds where nothing is said.

    Raises:
        UsageError: an unknown setting, one that the model was not taught, or a value out of range.
    """
    manner = told(defaults or Settings(), words)
    taught = {each.name for each in config.conditions}
    for word in words:
        name = word.partition("=")[0].strip().replace("-", "_")
        if name in {each.name for each in HYBRID_CONDITIONS} - taught:
            raise UsageError(
                f"this model was not taught `{name}`", f"it was taught: {', '.join(sorted(taught))}"
            )
    check_language(manner.language)
    for name, count in (("emotion", len(EMOTIONS)), ("vqscore_8", BANDS)):
        value = getattr(manner, name)
        if value is not None and len(value) not in (1, count):
            raise UsageError(f"`{name}` has {len(value)} numbers", f"give {count}, or one for all")
    for each in config.conditions:
        value = getattr(manner, each.name, None)
        numbers = value if isinstance(value, tuple) else (value,)
        if any(number is not None and not each.low <= number <= each.high for number in numbers):
            raise UsageError(
                f"this model takes `{each.name}` from {each.low:g} to {each.high:g} only",
                "choose one of those",
            )
    if manner.emotion is not None and not sum(manner.emotion) > 0:
        raise UsageError("no emotion has a share", "give one above 0, or `emotion=none`")
    return manner


def values(
    config: LMConfig, manner: Settings, ids: Sequence[int], voice: Tensor | None
) -> dict[str, Tensor | None]:
    """What the prefix hears, each of one row.

    Args:
        config: conditions of the model.
        manner: how to speak.
        ids: phones.
        voice: (..., 128) vector, None for a voice of the model's choice.
    """
    heard: dict[str, Tensor | None] = {}
    for condition in config.conditions:
        heard[condition.name] = _value(condition, manner, ids, voice)
    return heard


def _value(
    condition: Condition, manner: Settings, ids: Sequence[int], voice: Tensor | None
) -> Tensor | None:
    if condition.kind == "phones":
        return torch.tensor([list(ids)], dtype=torch.long)
    if condition.kind == "vector":
        return None if voice is None else voice.reshape(1, 1, -1)
    if condition.name == "language_id":
        return torch.tensor([[[LANGUAGES.index(manner.language)]]])
    value = getattr(manner, condition.name, None)
    if value is None:
        return None
    numbers = torch.tensor(value, dtype=torch.float32).reshape(1, 1, -1)
    if condition.name == "emotion":
        numbers = numbers / numbers.sum()
    return numbers.expand(1, 1, condition.width)
