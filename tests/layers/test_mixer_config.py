"""Presets of mixers: what is chosen beside them, and what a kind of layer does not have."""

import pytest

from mamtra_cli.errors import UsageError
from mamtra_cli.layers.mixer_config import PRESETS, preset


def test_what_is_not_chosen_is_the_presets_own() -> None:
    assert all(preset(name) == found for name, found in PRESETS.items())
    chosen = preset("swa+ssm", gate="16", state="kv", window=32)
    assert (chosen.gate, chosen.state, chosen.window) == (16, "kv", 32)
    assert preset("swa+ssm", state="kv").window == PRESETS["swa+ssm"].window


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("mamba2-gqa", "window", 16),
        ("gdn", "window", 16),
        ("swa", "state", "kv"),
        ("swa", "gate", "none"),
    ],
)
def test_a_choice_that_a_layer_does_not_have_is_refused(
    name: str, option: str, value: str | int
) -> None:
    with pytest.raises(UsageError, match=f"mixer `{name}` has no {option}"):
        preset(name, **{option: value})  # type: ignore[arg-type]


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(UsageError, match="`state` cannot be `many`"):
        preset("gdn", state="many")
    with pytest.raises(UsageError, match="unknown mixer `kv-shared-stat`"):
        preset("kv-shared-stat")
