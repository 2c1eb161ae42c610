"""Is there room for so many utterances at once, before the first of them is begun.

By formulas, for pieces of a usual length; a model that is loaded already is not counted again.
"""

from mamtra_cli.backbone.costs import Precision
from mamtra_cli.device import free_bytes
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import OutOfMemoryError

USUAL_PIECE = 10.0  # seconds of speech, and of a voice's clip before it


def check_room(engine: Engine, rows: int) -> None:
    """Refuse more utterances at once than the device has memory for.

    Args:
        engine: the model, loaded.
        rows: utterances at once.

    Raises:
        OutOfMemoryError: there is too little, with how many fit.
    """
    free = free_bytes(engine.compute)
    if free is None:
        return
    sizing = Sizing(
        name=engine.name,
        family=engine.family,
        config=engine.config,
        precision=Precision.of(engine.compute.torch_dtype.itemsize),
        prompt=USUAL_PIECE,
    )
    needed = sizing.footprint(max(1, round(USUAL_PIECE * engine.facts.frame_rate)))
    shared = needed.scratch.get(needed.stage, 0)
    if shared + rows * needed.stream <= free:
        return
    fits = max(0, (free - shared) // max(needed.stream, 1))
    raise OutOfMemoryError(
        f"{rows} pieces at once need {(shared + rows * needed.stream) / 1e9:.1f} GB beside the "
        f"model, and {free / 1e9:.1f} GB are free",
        f"`--rows {fits}` fits" if fits else "not even one piece fits: free some memory",
    )
