"""A model opened to speak: without torch where its graphs and the wishes allow it, else with it."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mamtra_cli.engine.loading.light import LightEngine, Wishes, light_engine
from mamtra_cli.events import Report, ignore

if TYPE_CHECKING:
    from mamtra_cli.engine.model import Engine

log = logging.getLogger(__name__)


def open_talker(
    name: str, wishes: Wishes, *, files: Sequence[str] = (), report: Report = ignore
) -> "Engine | LightEngine":
    """Open a model; `-v` tells on which road, and why.

    Args:
        name: `mini`, a folder, an alias or org/name[@revision].
        wishes: what is asked for.
        files: of parts of a published folder, see `registry.open_model`.
        report: hears of downloads.
    """
    light, reason = light_engine(name, wishes, report)
    log.debug("%s torch: %s", "without" if light else "with", reason)
    if light is not None:
        return light
    from mamtra_cli.engine.model import Engine

    return Engine.load(
        name,
        device=wishes.device,
        dtype=wishes.dtype,
        threads=wishes.threads,
        backend=wishes.backend,
        quant=wishes.quant,
        lean=True,
        files=files,
        report=report,
    )
