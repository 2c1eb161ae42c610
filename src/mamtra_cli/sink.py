"""Where sound goes while it is made: a file or a pipe, the ears of who sits here, or both."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mamtra_cli import __version__
from mamtra_cli.audio import AudioWriter, Samples
from mamtra_cli.playing import open_player

STDOUT = "-"


@contextmanager
def sound_sink(
    output: str,
    *,
    play: bool,
    rate: int,
    format: str,
    output_rate: int | None,
    comment: str,
    force: bool,
) -> Iterator[Callable[[Samples], None]]:
    """Takes samples (S,) float32 until it is left; a file appears whole then, or not at all.

    Args:
        output: a file, `-` for stdout, "" for none.
        play: play it too.
        rate: samples a second.
        format, output_rate, force: of the file, see `AudioWriter`.
        comment: what the file says of itself.
    """
    with ExitStack() as stack:
        taken: list[Callable[[Samples], None]] = []
        if output:
            writer = AudioWriter(
                sys.stdout.buffer if output == STDOUT else Path(output),
                sample_rate=rate,
                format=format,
                output_rate=output_rate,
                tags={"ISFT": f"mamtra {__version__}", "ICMT": comment},
                force=force,
            )
            taken.append(stack.enter_context(writer).write)
        if play:
            player = open_player(rate)
            stack.callback(player.close)
            taken.append(player.write)

        def take(samples: Samples) -> None:
            for one in taken:
                one(samples)

        yield take
