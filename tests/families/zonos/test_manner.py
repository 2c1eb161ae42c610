"""What the models can be told: published defaults as published values, ranges, what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.families.zonos.golden import read

from mamtra_cli.errors import UsageError
from mamtra_cli.families.zonos.config import HYBRID, LMConfig
from mamtra_cli.families.zonos.manner import Settings, manner_of, values


@pytest.mark.parametrize("kind", ["transformer", "hybrid"])
def test_settings_are_heard_as_the_published_values(goldens: Path, kind: str) -> None:
    info, tensors = read(goldens, f"conditioner_{kind}")
    config = LMConfig() if kind == "transformer" else HYBRID.lm
    words = [f"language={info['language']}"]
    for name, value in info["overrides"].items():
        words.append(f"{name}={','.join(map(str, value)) if isinstance(value, list) else value:}")
    if not info["unconditional_keys"]:
        words += ["vqscore_8=0.78"]
        words += [] if "dnsmos_ovrl" in info["overrides"] else ["dnsmos_ovrl=4"]
    words = [word.replace("True", "1") for word in words]
    manner = manner_of(config, words)
    heard = values(config, manner, tensors["in.phoneme_ids"][0].tolist(), tensors["in.speaker"])
    for condition in config.conditions:
        value = heard[condition.name]
        assert value is not None
        name = "phoneme_ids" if condition.name == "espeak" else condition.name
        expected = tensors[f"in.{name}"]
        assert torch.equal(value.to(expected.dtype), expected)


def test_what_is_unsaid_is_none() -> None:
    manner = manner_of(HYBRID.lm, ["emotion=none", "fmax=none"])
    heard = values(HYBRID.lm, manner, [2, 3], None)
    assert {name for name, value in heard.items() if value is None} == {
        "speaker", "emotion", "fmax", "vqscore_8", "dnsmos_ovrl",
    }  # fmt: skip
    assert manner.guidance == Settings().guidance


@pytest.mark.parametrize(
    ("word", "fact"),
    [
        ("speaking_rate=41", "`speaking_rate` cannot be 41"),
        ("fmax=-1", "`fmax` cannot be -1"),
        ("emotion=1,0", "`emotion` has 2 numbers"),
        ("emotion=0", "no emotion has a share"),
        ("language=klingon", "no language `klingon`"),
        ("dnsmos_ovrl=3", "not taught `dnsmos_ovrl`"),
        ("guidance=0", "`guidance` cannot be 0"),
    ],
)
def test_a_setting_out_of_range_or_untaught_is_refused(word: str, fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        manner_of(LMConfig(), [word])


def test_a_setting_outside_what_this_model_was_taught_is_refused() -> None:
    narrow = tuple(
        replace(each, high=100.0) if each.name == "pitch_std" else each
        for each in LMConfig().conditions
    )
    config = LMConfig(conditions=narrow)
    assert manner_of(config, ["pitch_std=100"]).pitch_std == 100
    with pytest.raises(UsageError, match="takes `pitch_std` from 0 to 100 only"):
        manner_of(config, ["pitch_std=200"])
