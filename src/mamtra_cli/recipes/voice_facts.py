"""What a voice file says of itself, and of the clip that it was made from."""

from dataclasses import dataclass


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
