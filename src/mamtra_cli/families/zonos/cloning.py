"""A clip to a voice: its vector, its frames, and the phones of what it says.

The clip is resampled from its own rate once to 16 kHz for the vector and once to the codec's rate
for the frames. Knows parts and clips; nothing of where voices are kept.
"""

from typing import cast

import torch
from torch import Tensor

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.errors import AudioError
from mamtra_cli.families.cloning import voice_facts
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.families.zonos.sound import FrameCodec
from mamtra_cli.families.zonos.speaker_encoder import N_FFT, SpeakerEncoder, clip_mels
from mamtra_cli.model_rate import to_rate
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.voice import Voice


def voice_vector(encoder: SpeakerEncoder, wave: Tensor) -> Tensor:
    """The voice vector (lda,) float32 of samples (S,) at 16 kHz.

    Raises:
        AudioError: they are too few.
    """
    if len(wave) <= N_FFT // 2:
        raise AudioError("the clip is too short to tell a voice from", "give some seconds")
    place = encoder.lda.weight.device
    with torch.inference_mode():
        found: Tensor = encoder(
            clip_mels(wave, LISTENING_RATE, encoder.config.n_mels)[None].to(place)
        )
    return found[0].float().cpu().clone()


def clone(
    parts: Loaded,
    codec: FrameCodec,
    clip: Clip,
    name: str,
    *,
    transcript: str = "",
    consent: str = "",
) -> Voice:
    """Make a voice from a clip; see `families.speaker.Speaker.clone`.

    Args:
        parts: of the model.
        codec: its codec, which makes frames of the clip.
        clip: who to copy.
        name: of the voice.
        transcript: what the clip says; "" makes a voice of the vector alone. It is pronounced
            again in the language of the speech; the ids kept here are those of the front end.
        consent: whose, to what.
    """
    transcript = transcript.strip()
    text = parts.front_end.prompt_ids(transcript) if transcript else []
    wave = torch.from_numpy(clip.samples)
    vector = voice_vector(
        cast(SpeakerEncoder, parts.part("speaker")), to_rate(wave, clip.rate, LISTENING_RATE)
    )
    frames = codec.encode(to_rate(wave, clip.rate, codec.sample_rate)) if text else []
    facts = voice_facts(parts, clip, transcript=transcript, consent=consent, normalizer="espeak")
    return Voice(
        name=name,
        embedding=vector,
        prompt_tokens=torch.tensor(frames, dtype=torch.long),
        prompt_text_ids=torch.tensor(text, dtype=torch.long),
        facts=facts,
    )
