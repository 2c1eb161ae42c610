"""Texts and voices to scripts: what a speaker of this family does before anything is computed.

Which manner a voice speaks in is resolved here, once: by the rest of this family and by everything
above it a resolved `Manner` is only passed on. Needs no torch.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mamtra_cli.codecs.flow_hift.windows import WaveOptions
from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.families.cosyvoice2.config import TOKENS_PER_SECOND, CosyVoice2Config
from mamtra_cli.families.cosyvoice2.rows import is_aligned
from mamtra_cli.families.cosyvoice2.scripts import PlainScript, plain_script
from mamtra_cli.families.light import LightParts
from mamtra_cli.families.script import Frame
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.ops.arrays import like
from mamtra_cli.voices.library import check_fit, check_width
from mamtra_cli.voices.voice import Manner, Voice

if TYPE_CHECKING:
    from mamtra_cli.families.cosyvoice2.turns import TextStream
    from mamtra_cli.layers.state import HybridState

log = logging.getLogger(__name__)
LONGEST_PIECE = 8.0  # seconds of speech that a piece of text should take at most
LONGEST_TEXT = 80  # ids of a piece where the model cannot say how long they take


class TextSpeaker:
    """The part of `families.speaker.Speaker` that computes nothing.

    Args:
        parts: of the model, loaded as they are asked for.
    """

    def __init__(self, parts: Loaded | LightParts) -> None:
        self.texts = parts
        self.config: CosyVoice2Config = parts.config

    def pieces(self, text: str, settings: Manner | None = None) -> list[str]:
        """Cut a text into speakable pieces, at least one."""
        del settings
        durations = self.config.lm.durations
        most = LONGEST_TEXT
        if is_aligned(self.config.lm) and durations:
            mean = sum(durations) / len(durations)
            most = round(LONGEST_PIECE * TOKENS_PER_SECOND / max(mean, 1.0))
        return self.texts.front_end.split(text, most)

    def encode(self, piece: str, settings: Manner | None = None) -> list[int]:
        """Ids of one piece."""
        del settings
        return self.texts.front_end.ids(piece)

    def settings(self, voice: Voice, asked: Manner | None = None) -> Manner:
        """How a voice speaks: as asked, else in the richest mode that it and the model know."""
        asked = asked or Manner()
        if asked.told:
            raise UsageError(
                f"this model has no settings, and `{asked.told[0]}` is one",
                "leave out `--set` and `--lookahead`",
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
        start = self.kept(voice, settings)
        return plain_script(lm, ids, text, tokens, most=most, start=start)

    def after(
        self, ids: Sequence[int], frames: Sequence[Frame], voice: Voice, settings: Manner
    ) -> tuple[Voice, Manner] | None:
        """The piece as more of the clip; an instruction stands where its text would."""
        if not self.config.zero_shot or settings.mode == "instruct":
            return None
        text, tokens = voice.heard(settings)
        said = [frame[0] for frame in frames]
        longer = replace(
            voice,
            prompt_text_ids=like(np.array([*text, *ids]), voice.prompt_text_ids),
            prompt_tokens=like(np.array([*tokens, *said]), voice.prompt_tokens),
            facts=None,
            state=None,
        )
        return longer, replace(settings, mode="zero-shot")

    def turns(self, voice: Voice, settings: Manner | None = None) -> "TextStream":
        """The script of a text that arrives while it is spoken."""
        from mamtra_cli.families.cosyvoice2.turns import TextStream

        text, tokens = voice.heard(settings or self.settings(voice))
        return TextStream.begin(self.config.lm, text, tokens)

    def default_voice(self) -> None:
        """A voice is needed: nothing else says who speaks."""

    def fits(self, voice: Voice) -> None:
        """Refuse a voice that was made for another model."""
        check_width(voice, self.config.flow.speaker_dim)
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
        check_fit(voice, self.texts.fingerprint)

    def kept(self, voice: Voice, settings: Manner) -> "tuple[int, HybridState] | None":
        """What the language model has read of a voice's transcript already, if anything."""
        del voice, settings
        return None


def wave_options(config: CosyVoice2Config, device: str) -> WaveOptions:
    """The windows that a model's config asks for, and the solver's steps on a device."""
    steps = config.flow.steps_on(device)
    log.debug("the flow takes %d steps on %s", steps, device)
    return WaveOptions(
        hop_tokens=config.hop_tokens,
        max_hop_tokens=config.max_hop_tokens,
        context_tokens=config.context_tokens,
        whole_tokens=config.whole_tokens,
        steps=steps,
    )
