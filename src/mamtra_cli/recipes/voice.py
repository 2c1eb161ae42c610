"""Every knob of `voice add`, `list`, `show` and `remove`, and what they return."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from mamtra_cli.recipes.knob import Knob
from mamtra_cli.recipes.shared import Device, DType, Force, Threads, Voices
from mamtra_cli.recipes.voice_facts import VoiceFacts

_prompt = partial(Knob, panel="Prompt")


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
    min_movement: float = 3.0  # dB that the shape of the spectrum varies by
    unvoiced_movement: float = 4.0  # the same, where next to nothing is voiced
    min_voiced: float = 0.05  # share of the loud parts
    max_purity: float = 0.75  # share of the power in one tone
    min_network: float = 0.1  # share that the network of the extra `vad` takes for speech
    good_snr: float = 15.0  # dB of the loud parts above the quietest
    min_pace: float = 1.2  # syllables a second of speech
    good_min_pace: float = 2.2
    good_max_pace: float = 8.5
    max_pace: float = 11.0


@dataclass(frozen=True, kw_only=True)
class VoiceAddRecipe:
    """Make a voice from a clip."""

    name: Annotated[str, Knob("What to call the voice.", "NAME", positional=True)] = ""
    clip: Annotated[
        Path | None,
        Knob(
            "A recording of one speaker, best 3 to 15 s, 16 kHz or more.", "CLIP", positional=True
        ),
    ] = None
    text: Annotated[
        str,
        _prompt(
            "What the clip says, word for word.",
            "TEXT",
            default="none; the voice is cross-lingual only",
        ),
    ] = ""
    consent: Annotated[str, _prompt("Who agreed to what, and when; kept in the voice.", "TEXT")] = (
        ""
    )
    consent_file: Annotated[
        Path | None, _prompt("Read the consent statement from a text file.", "FILE")
    ] = None
    prefill: Annotated[
        bool,
        _prompt(
            "Keep what the language model read of the transcript: a larger file, an earlier first "
            "sound with this model."
        ),
    ] = False
    voices: Voices = None
    limits: ClipLimits = field(default_factory=ClipLimits)  # too many to ask for one by one
    force: Force = False
    model: Annotated[
        str,
        Knob(
            "A folder, org/name[@revision] or `mini`.",
            "MODEL",
            names=("--model", "-m"),
            env="MAMTRA_MODEL",
        ),
    ] = "mini"
    device: Device = "auto"
    dtype: DType = "auto"
    threads: Threads = 0


@dataclass(frozen=True, kw_only=True)
class VoiceListRecipe:
    """Name the voices of a folder."""

    voices: Voices = None
    model: Annotated[
        str, Knob("Name the voices of this model too.", "MODEL", names=("--model", "-m"))
    ] = ""
    samples: Annotated[
        Path | None,
        Knob("Let each voice of the model say a sentence, NAME.wav in this folder.", "DIR"),
    ] = None
    say: Annotated[str, Knob("That sentence.", "TEXT")] = (
        "The kettle is on, so sit down and tell me what you saw by the river."
    )
    force: Force = False
    device: Device = "auto"
    threads: Threads = 0


@dataclass(frozen=True, kw_only=True)
class VoiceShowRecipe:
    """Tell what is in a voice."""

    name: Annotated[str, Knob("One of yours, or a voice file.", "NAME", positional=True)] = ""
    voices: Voices = None


@dataclass(frozen=True, kw_only=True)
class VoiceRemoveRecipe:
    """Delete a voice."""

    name: Annotated[str, Knob("Which of your voices.", "NAME", positional=True)] = ""
    voices: Voices = None


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
    samples: tuple[str, ...] = ()  # files of the model's voices, in their order
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
