"""A loaded CosyVoice 2 that speaks: texts and voices to scripts, tokens to sound.

See `families.speaker.Speaker`; what computes nothing is in texts.py.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

from mamtra_cli.codecs.flow_hift.codec import FlowCodec
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.families.cosyvoice2.alignment import token_counts
from mamtra_cli.families.cosyvoice2.cloning import clone, with_state
from mamtra_cli.families.cosyvoice2.config import TOKENS_PER_SECOND
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.texts import TextSpeaker, wave_options
from mamtra_cli.families.cosyvoice2.token_model import FusedTokens, PlainTokens
from mamtra_cli.families.script import Frame
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.layers.state import HybridState
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.voice import Manner, Voice

if TYPE_CHECKING:
    from mamtra_cli.families.cosyvoice2.onnx_tokens import OnnxTokens


class CosyVoice2Speaker(TextSpeaker):
    """See `families.speaker.Speaker`.

    Args:
        parts: of the model, loaded as they are asked for.
    """

    def __init__(self, parts: Loaded) -> None:
        super().__init__(parts)
        self.parts = parts

    def ready(self) -> None:
        """Load what speaking needs now, not when it is first used."""
        _ = self.tokens, self.codec

    @property
    def lm(self) -> SpeechLM:
        """The language model."""
        return cast(SpeechLM, self.parts.part("lm"))

    @cached_property
    def tokens(self) -> "FusedTokens | OnnxTokens":
        """The language model arranged for the token loop."""
        compute = self.parts.compute
        if compute.backend != "onnx":
            return FusedTokens(self.lm)
        from mamtra_cli.backbone.decoding.onnx_cache import onnx_stack
        from mamtra_cli.families.cosyvoice2.onnx_tokens import OnnxTokens

        lm = self.lm
        onnx = onnx_stack(
            lm.stack, lm.llm_decoder, compute.quant, key=self._lm_hash, threads=compute.threads
        )
        return OnnxTokens(lm, onnx)

    def plain_tokens(self) -> PlainTokens:
        """The language model as it is, for the token loop of a training."""
        return PlainTokens(self.lm)

    @cached_property
    def codec(self) -> FlowCodec:
        """Tokens to sound."""
        config = self.config
        road = TokenToWave(
            cast(Flow, self.parts.part("flow")),
            cast(HiFT | SourceFilter, self.parts.part(config.vocoder_part)),
            wave_options(config, self.parts.compute.device),
        )
        return FlowCodec(
            road,
            sample_rate=config.mel.sample_rate,
            frame_rate=TOKENS_PER_SECOND,
        )

    def counts(
        self, ids: Sequence[int], frames: Sequence[Frame], voice: Voice, settings: Manner
    ) -> tuple[int, ...] | None:
        """How many of the tokens each id takes."""
        tokens = [frame[0] for frame in frames]
        return token_counts(self.lm, ids, tokens, *voice.heard(settings))

    def sound_prompt(self, voice: Voice, settings: Manner | None = None) -> VoicePrompt:
        """A voice as the flow wants it."""
        voice = voice.seen(settings or self.settings(voice))
        if not len(voice.prompt_tokens):
            return VoicePrompt.of_speaker(voice.embedding, self.config.flow.mel_bins)
        return VoicePrompt(
            speaker=voice.embedding[None].float(),
            tokens=voice.prompt_tokens[None],
            mel=voice.prompt_mel[None].float(),
        )

    def clone(
        self,
        clip: Clip,
        name: str,
        *,
        transcript: str = "",
        consent: str = "",
        prefill: bool = False,
    ) -> Voice:
        """Make a voice from a clip."""
        voice = clone(self.parts, clip, name, transcript=transcript, consent=consent)
        self.fits(voice)
        if not (prefill and len(voice.prompt_text_ids)):
            return voice
        return with_state(self.parts, voice)

    def kept(self, voice: Voice, settings: Manner) -> tuple[int, HybridState] | None:
        """What this language model has read of a voice's transcript already, if it was this one."""
        facts, state = voice.facts, voice.state
        if facts is None or state is None or settings.mode != "zero-shot":
            return None
        same = (facts.language_model, facts.language_model_dtype) == (
            self._lm_hash,
            self.parts.compute.dtype,
        )
        return (1 + len(voice.prompt_text_ids), state) if facts.language_model and same else None

    @cached_property
    def _lm_hash(self) -> str:
        """Of the language model's file; "" where another was put in its place."""
        return "" if self.parts.given("lm") else self.parts.fingerprint("lm")
