"""What `synth --jsonl` reads, writes and returns."""

from dataclasses import dataclass

from mamtra_cli.recipes.heard import HeardPiece
from mamtra_cli.recipes.times import TimedPiece


@dataclass(frozen=True, kw_only=True)
class LineRecord:
    """What became of one line; the file beside the sounds holds one a line."""

    id: str
    output: str = ""  # relative to the output folder; "" where there is none
    voice: str = ""
    seed: int = 0
    seconds: float = 0.0
    tokens: int = 0
    attempts: int = 0
    skipped: tuple[str, ...] = ()  # signs that could not be read, with their names
    cut: tuple[str, ...] = ()  # pieces that found no end, kept up to their longest length
    subtitles: str = ""  # relative to the output folder
    spoken: tuple[TimedPiece, ...] = ()  # with the words and their times, where they were asked for
    heard: tuple[HeardPiece, ...] = ()  # with `verify`
    error: str = ""  # what refused the line, in words
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class LinesResult:
    """What `synth --jsonl` did."""

    output_dir: str
    model: str
    lines: int
    made: int  # now
    kept: int  # by an earlier run
    failed: int
    misheard: int  # pieces of which no attempt was understood, with `verify`
    seconds: float  # of audio made now
    compute_seconds: float
    rtf: float
