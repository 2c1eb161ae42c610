"""A loaded CosyVoice 2 that speaks: texts and voices to scripts, tokens to sound.

See `families.base.Speaker`. Which manner a voice speaks in is resolved here, once: by the rest of
this family and by everything above it a resolved `Manner` is only passed on.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

from mamtra_cli.codecs.flow_hift.codec import FlowCodec
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt
from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.families.cosyvoice2.alignment import token_counts
from mamtra_cli.families.cosyvoice2.cloning import clone, with_state
from mamtra_cli.families.cosyvoice2.config import TOKENS_PER_SECOND, CosyVoice2Config
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.measures import wave_options
from mamtra_cli.families.cosyvoice2.rows import is_aligned
from mamtra_cli.families.cosyvoice2.scripts import PlainScript, plain_script
from mamtra_cli.families.cosyvoice2.token_model import FusedTokens, PlainTokens
from mamtra_cli.families.cosyvoice2.turns import TextStream
from mamtra_cli.families.script import Frame
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.layers.state import HybridState
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.library import check_fit
from mamtra_cli.voices.voice import Manner, Voice

if TYPE_CHECKING:
    from mamtra_cli.families.cosyvoice2.onnx_tokens import OnnxTokens

LONGEST_PIECE = 8.0  # seconds of speech that a piece of text should take at most
LONGEST_TEXT = 80  # ids of a piece where the model cannot say how long they take


class CosyVoice2Speaker:
    """See `families.base.Speaker`.

    Args:
        parts: of the model, loaded as they are asked for.
    """

    def __init__(self, parts: Loaded) -> None:
        self.parts = parts
        self.config: CosyVoice2Config = parts.config

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
        return FlowCodec(
            cast(Flow, self.parts.part("flow")),
            cast(HiFT | SourceFilter, self.parts.part(config.vocoder_part)),
            wave_options(config),
            sample_rate=config.mel.sample_rate,
            frame_rate=TOKENS_PER_SECOND,
        )

    def pieces(self, text: str, settings: Manner | None = None) -> list[str]:
        """Cut a text into speakable pieces, at least one."""
        del settings
        durations = self.config.lm.durations
        most = LONGEST_TEXT
        if is_aligned(self.config.lm) and durations:
            mean = sum(durations) / len(durations)
            most = round(LONGEST_PIECE * TOKENS_PER_SECOND / max(mean, 1.0))
        return self.parts.front_end.split(text, most)

    def encode(self, piece: str, settings: Manner | None = None) -> list[int]:
        """Ids of one piece."""
        del settings
        return self.parts.front_end.ids(piece)

    def settings(self, voice: Voice, asked: Manner | None = None) -> Manner:
        """How a voice speaks: as asked, else in the richest mode that it and the model know."""
        asked = asked or Manner()
        if asked.told:
            raise UsageError(
                f"`--set {asked.told[0]}`: this model has no settings", "leave out `--set`"
            )
        if asked.mode is None and voice.mode == "zero-shot" and not self.config.zero_shot:
            asked = replace(asked, mode="cross-lingual")
        return replace(asked, mode=voice.asked(asked))

    def begin(
        self,
        ids: Sequence[int],
        voice: Voice | None = None,
        settings: Manner | None = None,
        *,
        most: int | None = None,
    ) -> PlainScript:
        """The script of one piece."""
        lm = self.config.lm
        if voice is None:
            return plain_script(lm, ids, most=most)
        settings = settings or self.settings(voice)
        text, tokens = voice.heard(settings)
        start = self._kept(voice, settings)
        return plain_script(lm, ids, text, tokens, most=most, start=start)

    def turns(self, voice: Voice, settings: Manner | None = None) -> TextStream:
        """The script of a text that arrives while it is spoken."""
        text, tokens = voice.heard(settings or self.settings(voice))
        return TextStream.begin(self.config.lm, text, tokens)

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

    def default_voice(self) -> None:
        """A voice is needed: nothing else says who speaks."""

    def fits(self, voice: Voice) -> None:
        """Refuse a voice that was made for another model."""
        wanted = self.config.flow.speaker_dim
        if len(voice.embedding) != wanted:
            raise CheckpointError(
                f"voice `{voice.name}` has {len(voice.embedding)} numbers, not {wanted}",
                hint="it belongs to another model",
            )
        lm, flow = self.config.lm, self.config.flow
        for ids, most, what in (
            (voice.prompt_tokens, lm.eos_id, "speech tokens"),
            (voice.prompt_text_ids, lm.vocab_size, "text ids"),
        ):
            if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < most):
                raise CheckpointError(
                    f"voice `{voice.name}` holds {what} that this model does not know",
                    hint="it belongs to another model",
                )
        frames = len(voice.prompt_tokens) * flow.encoder.upsample
        rows, bins = voice.prompt_mel.shape
        if frames and (bins != flow.mel_bins or abs(rows - frames) > flow.encoder.upsample):
            raise CheckpointError(
                f"voice `{voice.name}` has a mel of {rows} by {bins}, not {frames} by "
                f"{flow.mel_bins}",
                hint="it belongs to another model, or is damaged: make it again",
            )
        check_fit(voice, self.parts.fingerprint)

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

    def _kept(self, voice: Voice, settings: Manner) -> tuple[int, HybridState] | None:
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
