"""A voice tells of the model of any family alike: its public name, the parts that made it."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mamtra_cli.errors import UsageError
from mamtra_cli.families.cloning import refuse_state, voice_facts
from mamtra_cli.voices.clip import Clip, measure

NOISE = np.random.default_rng(0).standard_normal(8000).astype(np.float32) / 10
CLIP = Clip(samples=NOISE, rate=16_000, facts=measure(NOISE[:, None], 16_000))


@dataclass
class Parts:
    name: str
    family = SimpleNamespace(name="toy")

    def fingerprint(self, part: str) -> str:
        return f"hash of {part}"


def facts(name: str, **told: str) -> Any:
    parts: Any = Parts(name)
    return voice_facts(parts, CLIP, **{"transcript": "", "consent": "", **told})


def test_a_folder_is_told_without_where_it_lies_and_a_hub_id_whole(tmp_path: Path) -> None:
    assert facts(str(tmp_path)).model == tmp_path.name
    assert facts("org/name").model == "org/name"


def test_a_front_end_is_told_only_where_it_made_ids() -> None:
    assert facts("m", normalizer="phones").front_end == "hash of front_end"
    assert facts("m").front_end == ""


def test_only_a_consent_has_a_date() -> None:
    assert facts("m", consent=" mine ").consent == "mine"
    assert facts("m", consent="mine").consent_date
    assert facts("m", consent=" ").consent_date == ""


def test_a_state_is_refused_by_the_option_that_asks_for_it() -> None:
    refuse_state(False)
    with pytest.raises(UsageError) as caught:
        refuse_state(True)
    assert "--prefill" in str(caught.value.hint)
