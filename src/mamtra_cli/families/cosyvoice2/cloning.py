"""A clip to a voice: the features of the published system, its tokens, its vector, its state.

The clip is resampled from its own rate once to 16 kHz (tokens and vector) and once to the
model's rate (mel), see `model_rate`; tokens and mel are cut to the shorter of the two. Knows
parts and clips; nothing of where voices are kept. Source: FunAudioLLM/CosyVoice,
cosyvoice/cli/frontend.py.
"""

from dataclasses import asdict, replace
from typing import cast

import torch
from torch import Tensor

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.errors import AudioError, TextError
from mamtra_cli.families.cloning import voice_facts
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.sequences import decode_sequence, first
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.features import fbank80, logmel128, mel24k
from mamtra_cli.layers.state import HybridState
from mamtra_cli.model_rate import to_rate
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.voice import Voice


def clone(
    parts: Loaded,
    clip: Clip,
    name: str,
    *,
    transcript: str = "",
    consent: str = "",
) -> Voice:
    """Make a voice from a clip.

    Args:
        parts: of a model with a speech tokenizer and a speaker encoder.
        clip: who to copy.
        name: of the voice.
        transcript: what the clip says; "" makes a voice that cannot speak zero-shot.
        consent: whose, to what.

    Raises:
        TextError: the transcript cannot be spoken by this model.
        AudioError: the clip gives no speech tokens.
    """
    transcript = transcript.strip()
    text = parts.front_end.prompt_ids(transcript) if transcript else []
    if transcript and not text:
        raise TextError("the transcript holds nothing to speak", "write down what the clip says")
    wave = torch.from_numpy(clip.samples)
    narrow = to_rate(wave, clip.rate, LISTENING_RATE)
    tokens = speech_tokens(parts, narrow)
    mel = _mel(parts, to_rate(wave, clip.rate, parts.config.mel.sample_rate))
    ratio = parts.config.flow.encoder.upsample
    count = min(len(tokens), len(mel) // ratio)
    if not count:
        raise AudioError("the clip is too short to give speech tokens")
    facts = voice_facts(
        parts, clip, transcript=transcript, consent=consent, normalizer=normalizer(parts)
    )
    return Voice(
        name=name,
        embedding=speaker_vector(parts, narrow),
        prompt_tokens=tokens[:count],
        prompt_mel=mel[: ratio * count],
        prompt_text_ids=torch.tensor(text, dtype=torch.long),
        facts=facts,
    )


def speech_tokens(parts: Loaded, wave: Tensor) -> Tensor:
    """Speech tokens (P,) long of samples (S,) at 16 kHz."""
    tokenizer = parts.part("speech_tokenizer")
    with torch.inference_mode():
        codes, counts = tokenizer.encode(logmel128(wave[None]).to(parts.device))  # type: ignore[operator]
    found: Tensor = codes[0, : int(counts[0])].long().cpu().clone()
    return found


def speaker_vector(parts: Loaded, wave: Tensor) -> Tensor:
    """Speaker vector (speaker_dim,) float32, not normalised, of samples (S,) at 16 kHz."""
    encoder = parts.part("speaker_encoder")
    with torch.inference_mode():
        vector: Tensor = encoder(fbank80(wave[None], subtract_mean=True).to(parts.device))
    return vector[0].float().cpu().clone()


def read_prefix(parts: Loaded, voice: Voice) -> HybridState:
    """The language model's state after the start of sequence and a voice's transcript."""
    text, tokens = voice.prompt_text_ids.tolist(), voice.prompt_tokens.tolist()
    whole = decode_sequence(parts.config.lm, [], text, tokens)
    lm = cast(SpeechLM, parts.part("lm"))
    with torch.inference_mode():
        return lm.extend(first(whole, 1 + len(text)).to(parts.device))[1]


def normalizer(parts: Loaded) -> str:
    """Name what rewrites numbers and dates in this installation."""
    if getattr(parts.front_end, "normalizers", None) is not None:
        return "wetext"
    return "phones" if parts.config.text == "phones" else "plain"


def _mel(parts: Loaded, wave: Tensor) -> Tensor:
    """Log-mel (F, mel) of samples (S,) at the model's rate."""
    return mel24k(wave, **asdict(parts.config.mel)).T.contiguous()


def with_state(parts: Loaded, voice: Voice) -> Voice:
    """The voice with what the language model has read of its transcript."""
    assert voice.facts is not None
    facts = replace(
        voice.facts,
        language_model=parts.fingerprint("lm"),
        language_model_dtype=parts.compute.dtype,
    )
    return replace(voice, facts=facts, state=read_prefix(parts, voice).to("cpu"))
