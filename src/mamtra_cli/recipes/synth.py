"""Every knob of `synth`, and what it returns."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from mamtra_cli.recipes.heard import HeardPiece
from mamtra_cli.recipes.knob import OUTPUT, Knob
from mamtra_cli.recipes.shared import (
    Backend,
    Device,
    DType,
    Force,
    Part,
    Quant,
    Ray,
    Seed,
    Threads,
    Voices,
    Workers,
)
from mamtra_cli.recipes.times import TimedPiece

_output = partial(Knob, panel=OUTPUT)
_voice = partial(Knob, panel="Voice")
_text = partial(Knob, panel="Reading")
_lines = partial(Knob, panel="Many lines")
_choice = partial(Knob, panel="Choosing tokens")
_checks = partial(Knob, panel="Checking")


@dataclass(frozen=True, kw_only=True)
class SynthRecipe:
    """Speak a text."""

    text: Annotated[
        str, Knob("Text to speak; - or nothing reads stdin.", "TEXT", positional=True)
    ] = ""
    output: Annotated[
        str, _output("File to write; - is stdout.", "FILE", names=("--output", "-o"))
    ] = ""
    format: Annotated[
        str,
        _output(
            "wav, flac, mp3 or opus.",
            "NAME",
            default="by the file name",
            words=("wav", "flac", "mp3", "opus"),
        ),
    ] = ""
    sample_rate: Annotated[
        int | None,
        _output("Samples a second.", "HZ", low=4000, high=192_000, default="the model's own"),
    ] = None
    raw: Annotated[bool, _output("Headerless 16-bit little-endian samples.")] = False
    stream: Annotated[bool, _output("Write sound while the model still speaks.")] = False
    lookahead: Annotated[
        float | None,
        _output(
            "Seconds of text read beyond what is streamed, for models that draw no tokens.",
            "SECONDS",
            low=0,
            high=60,
            default="the model's own",
        ),
    ] = None
    text_stream: Annotated[
        bool,
        _output("Speak stdin while it arrives, each sentence as soon as it is complete."),
    ] = False
    play: Annotated[bool, _output("Play the sound, by sounddevice or the system's player.")] = False
    force: Force = False
    server: Annotated[
        str,
        _voice(
            "Let a running `mamtra serve` speak, and load nothing here.",
            "URL",
            env="MAMTRA_SERVER",
        ),
    ] = ""
    model: Annotated[
        str,
        _voice(
            "A folder, org/name[@revision], `mini` or `mini-mvc`.",
            "MODEL",
            names=("--model", "-m"),
            env="MAMTRA_MODEL",
        ),
    ] = "mini"
    part: Part = ()
    voice: Annotated[
        str,
        _voice(
            "A voice of the model, one of yours, or a voice file.",
            "NAME",
            default="the model's first",
        ),
    ] = ""
    voices: Voices = None
    clip: Annotated[
        Path | None, _voice("Speak as this recording does; nothing of it is kept.", "FILE")
    ] = None
    clip_text: Annotated[str, _voice("What the recording says, word for word.", "TEXT")] = (
        ""  # without it, cross-lingual
    )
    zero_shot: Annotated[
        bool, _voice("Copy the way of speaking too, even with a model that did not learn it.")
    ] = False
    cross_lingual: Annotated[
        bool, _voice("Copy the sound of the voice, not its way of speaking.")
    ] = False
    instruct: Annotated[
        str, _voice("How to speak, for models that follow instructions.", "TEXT")
    ] = ""
    speaker_only: Annotated[
        bool, _voice("Use the vector of the voice alone, none of its clip.")
    ] = False
    settings: Annotated[
        tuple[str, ...],
        _voice(
            "What the model is told, such as `pitch=+2` of `mini-mvc`; repeat for more.",
            "NAME=VALUE",
            names=("--set",),
            default="the model's own",
        ),
    ] = ()
    speed: Annotated[float, _voice("2 speaks twice as fast.", "X", low=0.25, high=4)] = 1.0
    volume: Annotated[float, _voice("Factor on the loudness.", "X", low=0, high=10)] = 1.0
    sentence_silence: Annotated[
        float, _voice("Pause between pieces.", "SECONDS", low=0, high=60)
    ] = 0.2
    carry: Annotated[
        bool,
        _voice(
            "Let each piece of a long text hear the one before it, for models that go on from "
            "speech (mini, CosyVoice 2, Zonos; not mini-mvc)."
        ),
    ] = False
    temperature: Annotated[
        float | None,
        _choice("Above 1 flattens the choice, below sharpens it.", "T", default="the model's own"),
    ] = None
    top_p: Annotated[
        float | None,
        _choice("Choose among the likeliest that hold this share.", "P", default="the model's own"),
    ] = None
    top_k: Annotated[
        int | None, _choice("Choose among this many.", "K", default="the model's own")
    ] = None
    min_p: Annotated[
        float, _choice("Leave out what is below this share of the likeliest.", "P")
    ] = 0.0
    greedy: Annotated[bool, _choice("Always take the likeliest.")] = False
    steps: Annotated[
        int | None,
        _choice(
            "Solver steps from tokens to sound.",
            "N",
            low=1,
            high=1000,
            default="the model's own; of a guided flow on a CPU 5 at most",
        ),
    ] = None
    retries: Annotated[
        int, _choice("New attempts when a guard refuses the speech.", "N", low=0)
    ] = 2
    on_runaway: Annotated[
        str,
        _choice(
            "What becomes of speech that finds no end: refuse it, or keep what its longest length "
            "has cut, as the program published with CosyVoice 2 does. What is cut within 4 seconds "
            "is kept, and told.",
            "WHAT",
            words=("refuse", "keep"),
        ),
    ] = "refuse"
    verify: Annotated[
        bool,
        _checks(
            "Let a recogniser hear every piece; what it does not understand is spoken again with "
            "another seed, as often as `--retries` says, and the best attempt kept."
        ),
    ] = False
    asr: Annotated[
        str,
        _checks(
            "Who listens, as in `mamtra eval`: auto is the best that is installed.",
            "NAME",
            words=("auto", "whisper-base", "whisper-tiny.en", "pocketsphinx"),
        ),
    ] = "auto"
    max_wer: Annotated[
        float,
        _checks("Word errors of a piece that are no reason to try again.", "PERCENT", low=0),
    ] = 20.0
    max_seconds: Annotated[
        float | None,
        _choice(
            "Longest piece.", "SECONDS", low=0.2, high=600, default="by the length of the text"
        ),
    ] = None
    input_file: Annotated[
        tuple[Path, ...],
        Knob(
            "Read the text from a file; with -d each of many, repeated, a folder of .txt files, or "
            "the rows of a .csv or .tsv.",
            "FILE",
            names=("--input-file", "-i"),
        ),
    ] = ()
    tags: Annotated[
        bool,
        _text("Obey [pause:1.5s], [voice:NAME], [[phones]] and SSML in the text.", negative=True),
    ] = True
    lexicon: Annotated[
        Path | None,
        _text("How words are said: a line has the word, a tab, its respelling.", "FILE"),
    ] = None
    on_unreadable: Annotated[
        str,
        _text(
            "What becomes of signs that cannot be read, emoji for example: skip (and tell), spell "
            "by their names, or refuse the text.",
            "WHAT",
            words=("skip", "spell", "refuse"),
        ),
    ] = "skip"
    text_rules: Annotated[
        str,
        _text(
            "Rules that read numbers and signs: own, those published with the model, or none.",
            "RULES",
            names=("--text",),
            words=("own", "published", "none"),
        ),
    ] = "own"
    words: Annotated[
        bool, _text("Tell with --json when each word is said, where the model knows.")
    ] = False
    srt: Annotated[Path | None, _output("Subtitles to write, as SubRip.", "FILE")] = None
    vtt: Annotated[Path | None, _output("Subtitles to write, as WebVTT.", "FILE")] = None
    show_text: Annotated[
        bool, _text("Print what would be said, words and phones, and speak nothing.")
    ] = False
    jsonl: Annotated[
        Path | None,
        _lines(
            "Speak every line of a file of JSON lines: text; id, voice, seed, speed, output.",
            "FILE",
        ),
    ] = None
    column: Annotated[
        str, _lines("Column of a table that has the texts; others are as a line's fields.", "NAME")
    ] = "text"
    output_dir: Annotated[
        Path | None,
        _lines("Folder for the sounds of the lines.", "DIR", names=("--output-dir", "-d")),
    ] = None
    shard: Annotated[
        str, _lines("Share of the lines, k/n.", "K/N", default="all, or that of a SLURM array task")
    ] = ""
    rows: Annotated[int, _lines("Pieces spoken together.", "N", low=1, high=1024)] = 16
    ray: Ray = ""
    workers: Workers = 0
    device: Device = "auto"
    dtype: DType = "auto"
    backend: Backend = "auto"
    quant: Quant = "none"
    threads: Threads = 0
    seed: Seed = 0

    @property
    def timed(self) -> bool:
        """Whether the times of words are wanted."""
        return self.words or self.srt is not None or self.vtt is not None


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was heard, piece by piece."""

    recogniser: dict[str, str]
    pieces: tuple[HeardPiece, ...]

    @property
    def misheard(self) -> int:
        """Pieces of which no attempt was understood."""
        return sum(not piece.good for piece in self.pieces)


@dataclass(frozen=True, kw_only=True)
class SynthResult:
    """What `synth` wrote."""

    output: str
    model: str
    voice: str
    mode: str  # zero-shot, cross-lingual, instruct or speaker
    seed: int
    seconds: float  # of audio
    sample_rate: int
    pieces: int
    tokens: int
    attempts: int
    load_seconds: float
    first_audio_seconds: float  # after loading
    compute_seconds: float
    rtf: float
    rejected: tuple[str, ...] = ()  # guards that sent an attempt back
    skipped: tuple[dict[str, str], ...] = ()  # signs left out: sign, name, sentence
    warnings: tuple[str, ...] = ()  # all that was told as a warning
    device: str = ""
    spoken: tuple[TimedPiece, ...] = ()  # in order
    verified: Verified | None = None  # with `verify`


def cut_words(text: str, tokens: int) -> str:
    """What is told of a piece that was kept up to its longest length."""
    return f"`{text[:40]}` found no end and was cut at {tokens} tokens"
