"""A clip to a voice: the features of the published system, its tokens, its vector, its state.

The clip is resampled from its own rate once to 16 kHz (tokens and vector) and once to the
model's rate (mel), see `model_rate`; tokens and mel are cut to the shorter of the two. Knows
engines and clips; nothing of where voices are kept. Source: FunAudioLLM/CosyVoice,
cosyvoice/cli/frontend.py.
"""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from mamtra_cli import __version__
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import AudioError, TextError
from mamtra_cli.families.cosyvoice2.sequences import decode_sequence, first
from mamtra_cli.features import fbank80, logmel128, mel24k
from mamtra_cli.layers.state import HybridState
from mamtra_cli.model_rate import to_rate
from mamtra_cli.recipes import VoiceFacts
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.voice import Voice

FEATURE_RATE = 16_000


def clone(
    engine: Engine,
    clip: Clip,
    name: str,
    *,
    transcript: str = "",
    consent: str = "",
    prefill: bool = False,
) -> Voice:
    """Make a voice from a clip.

    Args:
        engine: a model with a speech tokenizer and a speaker encoder.
        clip: who to copy.
        name: of the voice.
        transcript: what the clip says; "" makes a voice that cannot speak zero-shot.
        consent: whose, to what.
        prefill: keep the language model's state after the transcript.

    Raises:
        TextError: the transcript cannot be spoken by this model.
        AudioError: the clip gives no speech tokens.
        CheckpointError: the model's encoders do not fit it.
    """
    transcript = transcript.strip()
    text = engine.front_end.prompt_ids(transcript) if transcript else []
    if transcript and not text:
        raise TextError("the transcript holds nothing to speak", "write down what the clip says")
    wave = torch.from_numpy(clip.samples)
    narrow = to_rate(wave, clip.rate, FEATURE_RATE)
    tokens = speech_tokens(engine, narrow)
    mel = _mel(engine, to_rate(wave, clip.rate, engine.sample_rate))
    ratio = engine.config.flow.encoder.upsample
    count = min(len(tokens), len(mel) // ratio)
    if not count:
        raise AudioError("the clip is too short to give speech tokens")
    facts = VoiceFacts(
        family="" if engine.model is None else engine.model.family.name,
        model=model_name(engine),
        speech_tokenizer=engine.fingerprint("speech_tokenizer"),
        speaker_encoder=engine.fingerprint("speaker_encoder"),
        front_end=engine.fingerprint("front_end"),
        normalizer=normalizer(engine),
        transcript=transcript,
        consent=consent.strip(),
        consent_date=datetime.now(UTC).date().isoformat() if consent.strip() else "",
        mamtra=__version__,
        clip=clip.facts,
    )
    voice = Voice(
        name=name,
        embedding=speaker_vector(engine, narrow),
        prompt_tokens=tokens[:count],
        prompt_mel=mel[: ratio * count],
        prompt_text_ids=torch.tensor(text, dtype=torch.long),
        facts=facts,
    )
    engine.check_voice(voice)
    return _with_state(engine, voice) if prefill and text else voice


def speech_tokens(engine: Engine, wave: Tensor) -> Tensor:
    """Speech tokens (P,) long of samples (S,) at 16 kHz."""
    tokenizer = engine.part("speech_tokenizer")
    with torch.inference_mode():
        codes, counts = tokenizer.encode(logmel128(wave[None]).to(engine.device))  # type: ignore[operator]
    found: Tensor = codes[0, : int(counts[0])].long().cpu().clone()
    return found


def speaker_vector(engine: Engine, wave: Tensor) -> Tensor:
    """Speaker vector (speaker_dim,) float32, not normalised, of samples (S,) at 16 kHz."""
    encoder = engine.part("speaker_encoder")
    with torch.inference_mode():
        vector: Tensor = encoder(fbank80(wave[None], subtract_mean=True).to(engine.device))
    return vector[0].float().cpu().clone()


def read_prefix(engine: Engine, voice: Voice) -> HybridState:
    """The language model's state after the start of sequence and a voice's transcript."""
    text, tokens = voice.prompt_text_ids.tolist(), voice.prompt_tokens.tolist()
    whole = decode_sequence(engine.config.lm, [], text, tokens)
    with torch.inference_mode():
        return engine.lm.extend(first(whole, 1 + len(text)).to(engine.device))[1]


def normalizer(engine: Engine) -> str:
    """Name what rewrites numbers and dates in this installation."""
    if getattr(engine.front_end, "normalizers", None) is not None:
        return "wetext"
    return "phones" if engine.config.text == "phones" else "plain"


def model_name(engine: Engine) -> str:
    """The model's name without the folders of this machine."""
    return Path(engine.name).name if Path(engine.name).is_dir() else engine.name


def _mel(engine: Engine, wave: Tensor) -> Tensor:
    """Log-mel (F, mel) of samples (S,) at the model's rate."""
    return mel24k(wave, **asdict(engine.config.mel)).T.contiguous()


def _with_state(engine: Engine, voice: Voice) -> Voice:
    assert voice.facts is not None
    facts = replace(
        voice.facts,
        language_model=engine.fingerprint("lm"),
        language_model_dtype=engine.compute.dtype,
    )
    return replace(voice, facts=facts, state=read_prefix(engine, voice).to("cpu"))
