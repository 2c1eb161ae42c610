"""Live bytes of what the official program computes, imitated with a model's own sizes.

Float32, logits of the text head at every position of the prompt, all hidden states kept, and one
pass with whole score matrices from tokens to sound. What the official program does is stated in
FunAudioLLM/CosyVoice (cosyvoice/cli, cosyvoice/llm).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.official.flow import published_attention
from mamtra_cli.families.cosyvoice2.sequences import LMSequence
from mamtra_cli.families.measures import Peaks
from mamtra_cli.layers.text_table import TextTable
from mamtra_cli.live_bytes import live_peak


def official_peaks(
    parts: Sequence[nn.Module],
    device: torch.device,
    reads: LMSequence,
    voice: VoicePrompt,
    tokens: Tensor,
) -> Peaks:
    """Measure the stages in turn.

    The language model's weights are counted, and run, in float32; its text embedding is among
    them, wherever ours is.

    Args:
        parts: language model, flow and vocoder.
        device: of them.
        reads: what the language model reads.
        voice: what the flow hears before the tokens.
        tokens: (N,) what becomes sound.
    """
    lm, flow, vocoder = parts
    assert isinstance(lm, SpeechLM)
    assert isinstance(flow, Flow)
    weights = sum(4 * p.numel() for part in parts for p in part.parameters())
    embedding = lm.stack.embed_tokens
    if isinstance(embedding, TextTable):
        weights += 4 * embedding.weight.numel()
    table = embedding.weight.float().to(device)

    def read() -> object:
        sequence = reads.to(device)
        kept = range(lm.config.n_layers)
        out = lm.stack(lm.embed(sequence), positions=sequence.positions, capture=kept)
        return out, out.hidden.float() @ table.T

    said = tokens[None].to(device)

    def to_mel() -> Tensor:
        return flow.inference(
            said, voice.tokens.to(device), voice.mel.to(device), voice.speaker.to(device)
        )

    with torch.inference_mode(), published_attention(flow):
        reading = live_peak(read, device)[0]
        flowing, mel = live_peak(to_mel, device)
        vocoding = live_peak(lambda: vocoder(mel), device)[0]
    return Peaks(weights=weights, language_model=reading, sound=max(flowing, vocoding))
