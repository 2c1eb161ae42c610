"""The recipe's sizes are those of the mini that ships."""

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "mini"))

from sizes import mini

from mamtra_cli import config
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.hub import BUILT_IN


def test_recipe_makes_the_configuration_that_ships() -> None:
    written = json.loads((BUILT_IN["mini"] / "config.json").read_text("utf-8"))["config"]
    shipped = config.from_dict(CosyVoice2Config, written, "config.json")
    made = mini(shipped.lm.durations)
    assert replace(shipped, hift=made.hift) == made  # its vocoder is the source filter
