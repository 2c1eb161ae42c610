"""Every knob of `synth`, and what it returns."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SynthRecipe:
    """Speak a text."""

    text: str = ""
    output: str = ""  # file; `-` is stdout
    model: str = "mini"
    voice: str = ""  # "" is the model's first voice
    voices: Path | None = None  # folder of the user's voices; None is the usual one
    clip: Path | None = None  # speak as this recording does, in place of a voice
    clip_text: str = ""  # what it says; "" is cross-lingual
    zero_shot: bool = False  # go on from the clip, also with a model that did not learn it
    cross_lingual: bool = False  # show the language model nothing of the clip
    instruct: str = ""  # how to speak, where the model follows instructions
    speaker_only: bool = False  # use the voice's vector alone
    speed: float = 1.0
    temperature: float | None = None  # None: the model's own
    top_p: float | None = None
    top_k: int | None = None
    min_p: float = 0.0
    greedy: bool = False
    steps: int | None = None  # flow steps; None: the model's own
    seed: int = 0
    retries: int = 2  # new attempts when a guard rejects the audio
    max_seconds: float | None = None  # per piece; None: from the length of the text
    sentence_silence: float = 0.2  # seconds between pieces
    volume: float = 1.0
    stream: bool = False  # write audio as it is made
    text_stream: bool = False  # speak the text while it arrives
    raw: bool = False  # headerless 16-bit samples
    format: str = ""  # wav, flac, mp3 or opus; "" is from the file name
    sample_rate: int | None = None  # None: the model's own
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0  # 0: chosen from the machine
    force: bool = False  # replace an existing output


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
    device: str = ""
