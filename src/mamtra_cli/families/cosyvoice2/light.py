"""The family as far as it needs no torch: its facts and texts, and a speaker over ONNX graphs.

The graphs of a folder are written by `mamtra export` (graphs.py); each lies beside the weights
that it names. See `families.light.LightFamily`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mamtra_cli.backbone.costs import Head
from mamtra_cli.backbone.decoding.onnx_step import OnnxStack
from mamtra_cli.backbone.decoding.stored_weights import StoredTable
from mamtra_cli.codecs.flow_hift.codec import FlowCodec
from mamtra_cli.codecs.flow_hift.light import ArrayPrompt, LightWave, light_vocoder
from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.base import Facts, Learned
from mamtra_cli.families.cosyvoice2.array_tokens import ArrayTokens
from mamtra_cli.families.cosyvoice2.config import TOKENS_PER_SECOND, CosyVoice2Config
from mamtra_cli.families.cosyvoice2.costs import Formulas
from mamtra_cli.families.cosyvoice2.fingerprint import fingerprint
from mamtra_cli.families.cosyvoice2.repository import (
    MERGES_FILE,
    QWEN_FOLDER,
    TEXT_TABLE,
    VOCAB_FILE,
)
from mamtra_cli.families.cosyvoice2.rows import SPECIAL, SPEECH, TEXT, is_aligned
from mamtra_cli.families.cosyvoice2.texts import TextSpeaker, wave_options
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.families.light import LightParts
from mamtra_cli.families.phones import PhoneFrontEnd
from mamtra_cli.families.script import Frame
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.voices.voice import Manner, Voice

TABLES = {
    SPECIAL: "llm_embedding.weight",
    TEXT: TEXT_TABLE,
    SPEECH: "speech_embedding.weight",
}
FLOW_GRAPHS = ("flow_encoder", "flow_estimator")


class LightCosyVoice2:
    """See `families.light.LightFamily`; `family.CosyVoice2` adds what needs torch."""

    name = "cosyvoice2"
    config_class = CosyVoice2Config
    text_files = (VOCAB_FILE, MERGES_FILE)

    def graphs(self, config: CosyVoice2Config) -> dict[str, str]:
        """Graphs of a folder, each with the part whose weights it names."""
        vocoder = config.vocoder_part
        return {"lm": "lm", **dict.fromkeys(FLOW_GRAPHS, "flow"), vocoder: vocoder}

    def light_speaker(self, parts: LightParts) -> "LightSpeaker":
        """A model whose graphs are there, ready to speak."""
        return LightSpeaker(parts)

    def facts(self, config: CosyVoice2Config) -> Facts:
        """Numbers of a model of this config."""
        lm = config.lm
        return Facts(
            sample_rate=config.mel.sample_rate,
            frame_rate=TOKENS_PER_SECOND,
            codebooks=1,
            codes=lm.speech_vocab,
            text_ids=lm.vocab_size,
            speaker_dim=config.flow.speaker_dim,
            stack=lm.hybrid,
            head=Head(text_vocab=lm.vocab_size, speech_vocab=lm.head_size),
            learned=Learned(
                clips=config.zero_shot, turns=not is_aligned(lm), instructions=config.text == "bpe"
            ),
        )

    def fingerprint(self, folder: Path, config: CosyVoice2Config, part: str) -> str:
        """SHA-256 of the files behind a part or the front end."""
        return fingerprint(folder, part, config.text)

    def front_end(self, folder: Path, config: CosyVoice2Config) -> FrontEnd:
        """BPE or phones, as the config says."""
        if config.text == "phones":
            return PhoneFrontEnd.load(folder)
        if config.text != "bpe":
            raise CheckpointError(
                f"unknown text front end `{config.text}`", "`text` is `bpe` or `phones`"
            )
        from mamtra_cli.families.cosyvoice2.bpe import BpeFrontEnd, BytePairTokenizer
        from mamtra_cli.families.cosyvoice2.text import wetext_normalizers

        inner = folder / QWEN_FOLDER
        own = (folder / VOCAB_FILE).is_file() or not inner.is_dir()
        tokenizer = BytePairTokenizer.read(folder if own else inner)
        if tokenizer.vocab_size > config.lm.vocab_size:
            raise CheckpointError(
                f"the tokenizer knows {tokenizer.vocab_size} ids, the model {config.lm.vocab_size}",
                "the tokenizer files belong to another model",
            )
        return BpeFrontEnd(tokenizer, normalizers=wetext_normalizers())

    def measures(self, config: CosyVoice2Config) -> Formulas:
        """What its pipeline needs, by formulas."""
        del config
        return Formulas()

    def sampling(self, config: CosyVoice2Config) -> Sampling:
        """Repetition-aware sampling from the nucleus."""
        return Sampling(
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            ras_window=config.ras_window,
            ras_threshold=config.ras_threshold,
        )

    def lesson_sampling(self, config: CosyVoice2Config) -> Sampling:
        """The same, at the temperature of lessons."""
        sampling = self.sampling(config)
        if config.lesson_temperature is None:
            return sampling
        return replace(sampling, temperature=config.lesson_temperature)


class LightSpeaker(TextSpeaker):
    """See `families.speaker.Speaker`; without clips.

    Args:
        parts: of the model.
    """

    def __init__(self, parts: LightParts) -> None:
        super().__init__(parts)
        self.light = parts

    def ready(self) -> None:
        """Open the graphs now."""
        _ = self.tokens, self.codec

    @cached_property
    def tokens(self) -> ArrayTokens:
        """The language model as the token loop drives it."""
        weights = self.light.weights("lm")
        tables = {number: StoredTable(weights, name) for number, name in TABLES.items()}
        return ArrayTokens(self.config.lm, OnnxStack(self.light.session("lm")), tables)

    @cached_property
    def codec(self) -> FlowCodec:
        """Tokens to sound."""
        config = self.config
        session = self.light.session(config.vocoder_part)
        road = LightWave(
            config.flow,
            {name: self.light.session(name) for name in FLOW_GRAPHS},
            light_vocoder(config.hift, config.source_filter, session),
            wave_options(config, "cpu"),
        )
        return FlowCodec(road, sample_rate=config.mel.sample_rate, frame_rate=TOKENS_PER_SECOND)

    def counts(
        self, ids: Sequence[int], frames: Sequence[Frame], voice: Voice, settings: Manner
    ) -> tuple[int, ...] | None:
        """How many of the tokens each id takes: the modules tell, read for the first who asks."""
        found: tuple[int, ...] | None = self.light.modules.counts(ids, frames, voice, settings)
        return found

    def sound_prompt(self, voice: Voice, settings: Manner | None = None) -> ArrayPrompt:
        """A voice as the flow wants it."""
        voice = voice.seen(settings or self.settings(voice))
        speaker, mel = np.asarray(voice.embedding), np.asarray(voice.prompt_mel)
        return ArrayPrompt(
            speaker=speaker[None].astype(np.float32),
            tokens=tuple(voice.prompt_tokens.tolist()),
            mel=mel[None].astype(np.float32),
        )


LIGHT = LightCosyVoice2()
