"""Is there room for so many utterances at once, before the first of them is begun.

By formulas, for pieces of a usual length; a model that is loaded already is not counted again.
"""

from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.errors import OutOfMemoryError

USUAL_PIECE = 10.0  # seconds of speech, and of a voice's clip before it


def check_room(engine: Talker, rows: int) -> None:
    """Refuse more utterances at once than the device has memory for.

    Args:
        engine: the model, loaded.
        rows: utterances at once.

    Raises:
        OutOfMemoryError: there is too little, with how many fit.
    """
    free = engine.free_bytes()
    if free is None:
        return
    frames = max(1, round(USUAL_PIECE * engine.facts.frame_rate))
    stream, shared = engine.held_bytes(frames, USUAL_PIECE)
    if shared + rows * stream <= free:
        return
    fits = max(0, (free - shared) // max(stream, 1))
    raise OutOfMemoryError(
        f"{rows} pieces at once need {(shared + rows * stream) / 1e9:.1f} GB beside the "
        f"model, and {free / 1e9:.1f} GB are free",
        f"`--rows {fits}` fits" if fits else "not even one piece fits: free some memory",
    )
