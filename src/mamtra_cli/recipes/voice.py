"""Every knob of `voice add`, `list`, `show` and `remove`, and what they return."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ClipLimits:
    """Where a clip stops being a usable voice prompt.

    Beyond the outer limit a clip is refused; beyond the inner one it is used with a warning.
    Levels are in dB of full scale; syllables are estimated from the letters of the transcript.
    """

    min_seconds: float = 1.0
    good_min_seconds: float = 3.0
    good_max_seconds: float = 15.0
    max_seconds: float = 30.0  # what the published speech tokenizer takes at once
    min_rate: int = 8_000  # samples a second
    good_rate: int = 16_000
    max_rate: int = 192_000
    max_clipped: float = 0.005  # share of samples in flat tops
    good_clipped: float = 0.0001
    min_loudness: float = -50.0  # of the parts that are no silence
    good_loudness: float = -38.0
    min_speech_seconds: float = 0.8  # what is no silence
    good_speech_share: float = 0.5
    min_pace: float = 1.2  # syllables a second of speech
    good_min_pace: float = 2.2
    good_max_pace: float = 8.5
    max_pace: float = 11.0


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What was measured on a clip."""

    sha256: str
    seconds: float
    speech_seconds: float  # what is no silence
    sample_rate: int
    channels: int
    peak: float  # dB of full scale
    loudness: float  # dB of full scale, of what is no silence
    clipped: float  # share of samples in flat tops


@dataclass(frozen=True, kw_only=True)
class VoiceFacts:
    """What a voice file says of itself."""

    family: str
    model: str  # that it was made with
    speech_tokenizer: str  # SHA-256 of what made the prompt tokens
    speaker_encoder: str  # and of what made the vector
    front_end: str  # and of what made the text ids
    normalizer: str  # that the transcript went through
    transcript: str
    consent: str
    consent_date: str
    mamtra: str
    clip: ClipFacts
    language_model: str = ""  # SHA-256 of what made the kept state; "" is none kept
    language_model_dtype: str = ""


@dataclass(frozen=True, kw_only=True)
class VoiceAddRecipe:
    """Make a voice from a clip."""

    name: str = ""
    clip: Path | None = None
    text: str = ""  # what the clip says; "" leaves cross-lingual speech only
    consent: str = ""  # who agreed to what
    consent_file: Path | None = None
    model: str = "mini"
    voices: Path | None = None  # folder; None is the user's
    prefill: bool = False  # keep what the language model has read of the transcript
    limits: ClipLimits = field(default_factory=ClipLimits)
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class VoiceListRecipe:
    """Name the voices of a folder."""

    voices: Path | None = None
    model: str = ""  # name its own voices too


@dataclass(frozen=True, kw_only=True)
class VoiceShowRecipe:
    """Tell what is in a voice."""

    name: str = ""  # a voice of the folder, or a voice file
    voices: Path | None = None


@dataclass(frozen=True, kw_only=True)
class VoiceRemoveRecipe:
    """Delete a voice."""

    name: str = ""
    voices: Path | None = None


@dataclass(frozen=True, kw_only=True)
class VoiceEntry:
    """One voice file; `facts` are missing where it was not made from a clip."""

    name: str
    path: str
    bytes: int
    mode: str  # how it speaks unless told otherwise
    prompt_tokens: int = 0
    facts: VoiceFacts | None = None


@dataclass(frozen=True, kw_only=True)
class VoiceAddResult:
    """The voice that was written, and what could be better about its clip."""

    voice: VoiceEntry
    replaced: bool
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VoiceListResult:
    """Voices in order of name."""

    folder: str
    voices: tuple[VoiceEntry, ...] = ()
    model_voices: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()  # files that cannot be read


@dataclass(frozen=True, kw_only=True)
class VoiceShowResult:
    """One voice."""

    voice: VoiceEntry


@dataclass(frozen=True, kw_only=True)
class VoiceRemoveResult:
    """What was deleted."""

    name: str
    path: str
