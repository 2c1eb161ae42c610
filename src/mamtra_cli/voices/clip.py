"""A recording as a voice prompt: is it long, loud, clean and slow enough, and does its text fit?

Measures samples and counts letters; knows no models. Every limit is a field of `ClipLimits`.
What is beyond an outer limit raises `AudioError`; what is only beyond an inner one comes back as
advice in words.
"""

import hashlib
import math
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.audio import Samples
from mamtra_cli.errors import AudioError, TextError
from mamtra_cli.recipes.voice import ClipLimits
from mamtra_cli.recipes.voice_facts import ClipFacts
from mamtra_cli.recording import decode, missing_bytes, mix_down, read_file
from mamtra_cli.voices.activity import Activity, measure_activity, network_share

FRAME_SECONDS = 0.02
QUIET_BELOW_LOUD = 30.0  # dB under the loud frames where silence begins
SILENT = -60.0  # dB of full scale that is silence in any clip
FLOOR = 1e-10
FULL_SCALE = 0.999
LETTERS_A_SYLLABLE = 3.0  # of scripts whose letters are sounds


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A recording that passed the checks. samples: (S,) float32 mono at `rate`."""

    samples: Samples
    rate: int
    facts: ClipFacts
    advice: tuple[str, ...] = ()


def read_clip(path: Path, limits: ClipLimits | None = None) -> Clip:
    """Read a recording, mix it down, measure and judge it.

    Raises:
        AudioError: the file cannot be read, or is beyond an outer limit.
    """
    limits = limits or ClipLimits()
    data = read_file(path)
    samples, rate = decode(data, str(path), longest=limits.max_seconds)
    # Floats beyond full scale are loud, not clipped.
    samples = (samples / max(1.0, float(np.abs(samples).max()))).astype(np.float32)
    channels = samples.shape[1]
    samples = spoken_channels(samples, rate, limits)
    facts = measure(samples, rate, hashlib.sha256(data).hexdigest())
    facts = replace(facts, channels=channels)
    refuse(facts, limits, f"`{path}`")
    level = centred(samples)
    found = measure_activity(level, rate)
    refuse_other_sounds(found, network_share(level, rate), limits, f"`{path}`")
    advice = advise(facts, limits)
    if missing_bytes(data) > 0:
        advice += (f"`{path}` is cut off: its header tells of more than it holds",)
    if found.snr < limits.good_snr:
        advice += (
            f"the clip is noisy: speech is {found.snr:.0f} dB above the rest, and that is "
            f"copied too; {limits.good_snr:g} dB or more work best",
        )
    return Clip(samples=mix_down(samples), rate=rate, facts=facts, advice=advice)


def spoken_channels(
    samples: NDArray[np.float32], rate: int, limits: ClipLimits
) -> NDArray[np.float32]:
    """Channels (S, C) without constant ones, or the one that has the speech where the mix has none.

    An input without a microphone hums, or stands at an offset, beside one that has it.
    """
    moving = samples[:, np.ptp(samples, axis=0) > 0] if len(samples) else samples
    if moving.shape[1] < 2 or not np.isfinite(moving).all():
        return moving if moving.shape[1] else samples
    loudest = np.argsort(-moving.var(axis=0, dtype=np.float64))
    for some in (moving, *(moving[:, [place]] for place in loudest)):
        level = centred(some)
        if level.any() and has_speech(
            measure_activity(level, rate), network_share(level, rate), limits
        ):
            return some
    return moving


def centred(samples: NDArray[np.float32]) -> Samples:
    """Mix (S, channels) down to (S,), without the offset that some recorders add."""
    mono = mix_down(samples)
    moved: Samples = (mono - mono.mean(dtype=np.float64)).astype(np.float32)
    return moved


def measure(samples: NDArray[np.float32], rate: int, digest: str = "") -> ClipFacts:
    """Measure a recording.

    Args:
        samples: (S, channels) float32, at least one.
        rate: samples a second.
        digest: SHA-256 of its file.
    """
    mono = centred(samples).astype(np.float64)
    active = _active(mono, rate)
    return ClipFacts(
        sha256=digest,
        seconds=len(mono) / rate,
        speech_seconds=float(active.sum()) / rate,
        sample_rate=rate,
        channels=samples.shape[1],
        peak=_decibel(float(np.abs(samples).max())),
        loudness=_decibel(math.sqrt(float(np.square(mono[active]).mean())))
        if active.any()
        else _decibel(0.0),
        clipped=max(_clipped(channel) for channel in samples.T),
    )


def refuse(facts: ClipFacts, limits: ClipLimits, what: str) -> None:
    """Raise `AudioError` where a clip is beyond an outer limit; `what` names it."""
    recommended = f"record {limits.good_min_seconds:g} to {limits.good_max_seconds:g} s of speech"
    if not limits.min_rate <= facts.sample_rate <= limits.max_rate:
        raise AudioError(
            f"{what} has {facts.sample_rate} samples a second, outside "
            f"{limits.min_rate} to {limits.max_rate}",
            f"use a recording of {limits.good_rate} Hz or more",
        )
    if facts.seconds < limits.min_seconds:
        raise AudioError(
            f"{what} lasts {facts.seconds:.2f} s; a voice needs at least {limits.min_seconds:g} s",
            recommended,
        )
    if facts.seconds > limits.max_seconds:
        raise AudioError(
            f"{what} lasts {facts.seconds:.1f} s; a voice takes at most {limits.max_seconds:g} s",
            f"cut out {limits.good_min_seconds:g} to {limits.good_max_seconds:g} s of speech",
        )
    if facts.loudness < limits.min_loudness:
        raise AudioError(
            f"{what} is silent or nearly so: {facts.loudness:.0f} dB, at least "
            f"{limits.min_loudness:g} dB are needed",
            "record louder, or closer to the microphone",
        )
    if facts.speech_seconds < limits.min_speech_seconds:
        raise AudioError(
            f"{what} holds {facts.speech_seconds:.2f} s of sound, the rest is silence; a voice "
            f"needs at least {limits.min_speech_seconds:g} s",
            recommended,
        )
    if facts.clipped > limits.max_clipped:
        raise AudioError(
            f"{what} is clipped: {facts.clipped:.1%} of its samples lie in flat tops, at most "
            f"{limits.max_clipped:.1%} may",
            "record again with less gain; turning it down afterwards does not help",
        )


def refuse_other_sounds(
    found: Activity, network: float | None, limits: ClipLimits, what: str
) -> None:
    """Raise `AudioError` where a clip holds noise, hum or tones and no speech; see `has_speech`."""
    if has_speech(found, network, limits):
        return
    tone = found.purity > limits.max_purity or found.voiced > 0.5
    raise AudioError(
        f"no speech is heard in {what}: it sounds like {'tones or hum' if tone else 'noise'}",
        "give a recording in which one person speaks",
    )


def has_speech(found: Activity, network: float | None, limits: ClipLimits) -> bool:
    """Whether sound is speech.

    Args:
        found: what was measured.
        network: what the network of the extra `vad` heard, in place of the rule; `None` without.
        limits: where noise, hum and tones begin.
    """
    if network is not None:
        return network >= limits.min_network
    least = limits.min_movement if found.voiced >= limits.min_voiced else limits.unvoiced_movement
    return found.movement >= least and found.purity <= limits.max_purity


def advise(facts: ClipFacts, limits: ClipLimits) -> tuple[str, ...]:
    """Say what would make a usable clip a better one."""
    said = []
    good = f"{limits.good_min_seconds:g} to {limits.good_max_seconds:g} s"
    if not limits.good_min_seconds <= facts.seconds <= limits.good_max_seconds:
        said.append(f"the clip lasts {facts.seconds:.1f} s; {good} work best")
    if facts.sample_rate < limits.good_rate:
        said.append(
            f"the clip has {facts.sample_rate} samples a second; below {limits.good_rate} the "
            "voice loses its upper half"
        )
    if facts.clipped > limits.good_clipped:
        said.append(f"{facts.clipped:.2%} of the clip is clipped; its distortion is copied too")
    if facts.loudness < limits.good_loudness:
        said.append(f"the clip is quiet ({facts.loudness:.0f} dB); its noise is copied too")
    if facts.speech_seconds < limits.good_speech_share * facts.seconds:
        said.append(
            f"only {facts.speech_seconds:.1f} of {facts.seconds:.1f} s are no silence; cut the rest"
        )
    return tuple(said)


def check_transcript(text: str, facts: ClipFacts, limits: ClipLimits) -> tuple[str, ...]:
    """Judge whether a transcript can be what a clip says, by syllables a second.

    Returns:
        advice, often none.

    Raises:
        TextError: the transcript is much too long or too short for the clip.
    """
    count = syllables(text)
    if not count:
        raise TextError("the transcript holds no word", "write down what the clip says")
    pace = count / facts.speech_seconds
    fact = f"about {count:.0f} syllables in {facts.speech_seconds:.1f} s, {pace:.1f} a second"
    if not limits.min_pace <= pace <= limits.max_pace:
        amount = "little" if pace < limits.min_pace else "much"
        raise TextError(
            f"the transcript has too {amount} text for the clip: {fact}",
            "write down exactly what the clip says, all of it and nothing else; a wrong "
            "transcript is spoken aloud",
        )
    if not limits.good_min_pace <= pace <= limits.good_max_pace:
        return (f"check the transcript: {fact}",)
    return ()


def syllables(text: str) -> float:
    """Estimate the syllables of a text: ideographs, kana and digits one each, else by letters."""
    whole = letters = 0
    for character in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(character)
        if kind == "Lo" or kind[0] == "N":
            whole += 1
        elif kind[0] == "L":
            letters += 1
    return whole + letters / LETTERS_A_SYLLABLE


def _active(mono: NDArray[np.float64], rate: int) -> NDArray[np.bool_]:
    """Mark the samples (S,) of frames that are no silence."""
    size = max(1, round(FRAME_SECONDS * rate))
    frames = -(-len(mono) // size)
    padded = np.zeros(frames * size)
    padded[: len(mono)] = mono
    level = 10 * np.log10(np.square(padded.reshape(frames, size)).mean(axis=1) + FLOOR)
    active = level > max(SILENT, float(np.percentile(level, 95)) - QUIET_BELOW_LOUD)
    marked: NDArray[np.bool_] = np.repeat(active, size)[: len(mono)]
    return marked


def _clipped(channel: NDArray[np.float32]) -> float:
    """Share of samples (S,) in runs of three or more at full scale or equal near the peak.

    The second kind is a recording that was clipped and then turned down.
    """
    size = np.abs(channel)
    peak = float(size.max())
    high = size >= FULL_SCALE
    if peak > 0.1:
        same = np.zeros(len(size), dtype=bool)
        same[1:] = channel[1:] == channel[:-1]
        same[:-1] |= same[1:]
        high |= same & (size >= 0.98 * peak)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], high, [False])).astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return float(runs[runs >= 3].sum()) / len(size)


def _decibel(level: float) -> float:
    return 20 * math.log10(max(level, FLOOR**0.5))
