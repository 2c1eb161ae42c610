"""`Engine`: find a model, load its parts when they are first needed, read prompts, step.

Speaking needs the language model, the flow and the vocoder; training and conversion the language
model alone: nothing else is read from disk. Knows folders, devices and states; nothing of how
tokens are chosen (decode.py) or of what is done with sound (speech.py).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from mamtra_cli.backbone import costs
from mamtra_cli.backbone.decoding.caches import DecodeState, select
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt
from mamtra_cli.device import Compute, apply_threads, bound_kernels, choose, fit_threads
from mamtra_cli.engine.decoding.loop import Utterance
from mamtra_cli.errors import CheckpointError, PlanError, UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.families import registry
from mamtra_cli.families.base import Facts, Family, FrontEnd
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.sequences import (
    after,
    concatenate,
    decode_sequence,
    expected_tokens,
    is_aligned,
    length_limits,
)
from mamtra_cli.families.folder import Model
from mamtra_cli.families.lessons import Lessons
from mamtra_cli.layers.state import HybridState
from mamtra_cli.layers.text_table import TextTable
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.voices.library import check_fit, library_folder
from mamtra_cli.voices.voice import Manner, Voice, find_voice, list_voices

CACHE_ROOM = 256  # tokens that caches have room for at first; they double
TOKENS_PER_SECOND = 25
HURRIED = 0.5  # share of the tokens expected of a text below which a cap cannot be kept
LONGEST_PIECE = 8.0  # seconds of speech that a piece of text should take at most
LONGEST_TEXT = 80  # ids of a piece where the model cannot say how long they take


class Engine:
    """One model, ready to speak or to be trained.

    Args:
        model: its folder as its family reads it; `None` where every part is given.
        config: its sizes.
        family: what kind of model it is.
        folder: where its voices are.
        compute: device and types.
        name: what to call it.
        parts: modules that are there already (conversion in memory, tests).
        front_end: its text front end, if it is there already.
        lean: leave the text embedding where it was read (`TextTable`), off the device; the model
            then only speaks.
    """

    def __init__(
        self,
        config: CosyVoice2Config,
        *,
        family: Family,
        folder: Path,
        compute: Compute,
        name: str,
        model: Model | None = None,
        parts: Mapping[str, nn.Module] | None = None,
        front_end: FrontEnd | None = None,
        lean: bool = False,
    ) -> None:
        self.config = config
        self.family = family
        self.folder = folder
        self.compute = compute
        self.name = name
        self.model = model
        self.device = compute.torch_device
        self._parts = dict(parts or {})
        self._given = frozenset(self._parts)
        self._front_end = front_end
        self.lean = lean

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
        lean: bool = False,
        report: Report = ignore,
    ) -> Self:
        """Find a model and read its configuration; parts are loaded when they are first used.

        Args:
            name: `mini`, a folder, an alias or org/name[@revision].
            device, dtype, threads: what to compute with; `auto` and 0 choose.
            lean: leave the text embedding off the device, for an engine that only speaks.
            report: hears of downloads.
        """
        located = registry.locate(name, report=report)
        report(Stage(name="loading", detail=located.name))
        model = registry.open_model(located.folder)
        return cls.of(model, located.name, device=device, dtype=dtype, threads=threads, lean=lean)

    @classmethod
    def of(
        cls,
        model: Model,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
        lean: bool = False,
    ) -> Self:
        """An engine around an opened model; see `load`."""
        compute = choose(device, dtype, threads)
        stack = model.facts.stack
        counted = 0 if stack is None else costs.parameters(stack).total
        compute = fit_threads(compute, counted, threads)
        apply_threads(compute)
        bound_kernels()
        return cls(
            model.config,
            family=model.family,
            folder=model.folder,
            compute=compute,
            name=name,
            model=model,
            lean=lean,
        )

    def with_lessons(self, lessons: Lessons, name: str) -> "Engine":
        """The same model with another language model in place of its own."""
        stack = lessons.stack.config
        conversion = self.family.conversion(self.config)
        assert conversion is not None
        config = conversion.with_mixers(self.config, stack.layer_kinds, stack.mixer.to_dict())
        parts = {**self._parts, conversion.part: lessons.lm.to(self.device).eval()}
        return Engine(
            config,
            family=self.family,
            folder=self.folder,
            compute=self.compute,
            name=name,
            model=self.model,
            parts=parts,
            front_end=self._front_end,
        )

    def ready(self, *parts: str) -> None:
        """Load parts now, not when they are first used."""
        for part in parts:
            self.part(part)
        if self.lm_part in parts:
            _ = self._decoder

    def broken_weight(self) -> str | None:
        """The first weight of a loaded part that holds a value that is not finite."""
        for part, module in self._parts.items():
            for name, weight in module.named_parameters():
                if not bool(weight.isfinite().all()):
                    return f"{part}.{name}"
        return None

    @property
    def speech_parts(self) -> tuple[str, ...]:
        """Parts that a text needs to become sound."""
        return tuple(self.family.speech_parts(self.config).values())

    @cached_property
    def lm_part(self) -> str:
        """The part that holds the language model; "" where the model has none."""
        conversion = self.family.conversion(self.config)
        return "" if conversion is None else conversion.part

    @cached_property
    def lessons(self) -> Lessons:
        """The language model as something to be taught, in evaluation mode.

        Raises:
            PlanError: the model has none.
        """
        found = self.lm_part and self.family.lessons(self.config, self.part(self.lm_part))
        if not found:
            raise PlanError(
                f"`{self.name}` is a {self.family.name} model, which does not speak token by token",
                "name a model that has a language model",
            )
        return found

    @property
    def lm(self) -> SpeechLM:
        """The language model, in evaluation mode."""
        lm = self.part("lm")
        assert isinstance(lm, SpeechLM)
        return lm

    @property
    def flow(self) -> Flow:
        """Speech tokens to mel."""
        flow = self.part("flow")
        assert isinstance(flow, Flow)
        return flow

    @property
    def vocoder(self) -> HiFT | SourceFilter:
        """Mel to samples."""
        vocoder = self.part(self.config.vocoder_part)
        assert isinstance(vocoder, HiFT | SourceFilter)
        return vocoder

    @cached_property
    def facts(self) -> Facts:
        """Numbers of the model."""
        return self.family.facts(self.config)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.facts.sample_rate

    @cached_property
    def sampling(self) -> Sampling:
        """How this model's tokens are chosen unless the user says otherwise."""
        return self.family.sampling(self.config)

    @cached_property
    def lesson_sampling(self) -> Sampling:
        """How tokens are chosen that another model is to learn from."""
        return self.family.lesson_sampling(self.config)

    def sampling_with(self, *, lesson: bool = False, **changes: Any) -> Sampling:
        """The model's sampling, of speech or of lessons, with what is not `None` changed."""
        given = {name: value for name, value in changes.items() if value is not None}
        return dataclasses.replace(self.lesson_sampling if lesson else self.sampling, **given)

    def voices(self) -> list[str]:
        """Names of the model's voices."""
        return list_voices(self.folder)

    def fingerprint(self, part: str) -> str:
        """SHA-256 of the files behind a part or the front end; "" where they are not there."""
        return self.family.fingerprint(self.folder, self.config, part)

    def voice(self, name: str = "", library: Path | None = None) -> Voice:
        """A voice of the model, one of the user's, a voice file, or the model's first voice.

        Args:
            name: which; "" for the first.
            library: the user's voices; `None` for the usual folder.

        Raises:
            ModelNotFoundError: there is none of that name.
            CheckpointError: it is damaged, or was made for another model.
        """
        voice = find_voice(self.folder, name, library_folder(library))
        self.check_voice(voice)
        return voice

    def check_voice(self, voice: Voice) -> None:
        """Refuse a voice that was made for another model."""
        wanted = self.config.flow.speaker_dim
        if len(voice.embedding) != wanted:
            raise CheckpointError(
                f"voice `{voice.name}` has {len(voice.embedding)} numbers, not {wanted}",
                hint="it belongs to another model",
            )
        if len(voice.prompt_tokens) and int(voice.prompt_tokens.max()) >= self.config.lm.eos_id:
            raise CheckpointError(
                f"voice `{voice.name}` holds speech tokens that this model does not know",
                hint="it belongs to another model",
            )
        check_fit(voice, self.fingerprint)

    def manner(self, voice: Voice, asked: Manner | None = None) -> Manner:
        """How a voice speaks: as asked, else in the richest mode that it and the model know."""
        asked = asked or Manner()
        if asked.mode is None and voice.mode == "zero-shot" and not self.config.zero_shot:
            return dataclasses.replace(asked, mode="cross-lingual")
        return asked

    def voice_prompt(self, voice: Voice, manner: Manner | None = None) -> VoicePrompt:
        """A voice as the flow wants it."""
        voice = voice.seen(self.manner(voice, manner))
        if not len(voice.prompt_tokens):
            return VoicePrompt.of_speaker(voice.embedding, self.config.flow.mel_bins)
        return VoicePrompt(
            speaker=voice.embedding[None].float(),
            tokens=voice.prompt_tokens[None],
            mel=voice.prompt_mel[None].float(),
        )

    def pieces(self, text: str) -> list[str]:
        """Cut a text into speakable pieces, at least one."""
        durations = self.config.lm.durations
        most = LONGEST_TEXT
        if is_aligned(self.config.lm) and durations:
            mean = sum(durations) / len(durations)
            most = round(LONGEST_PIECE * TOKENS_PER_SECOND / max(mean, 1.0))
        return self.front_end.split(text, most)

    def use_rules(self, rules: str) -> None:
        """Read numbers and signs by other rules; see `FrontEnd.with_rules`."""
        self._front_end = self.front_end.with_rules(rules)

    def use_phones(self, phones: Mapping[str, tuple[str, ...]]) -> None:
        """Say words by given phones; see `FrontEnd.with_phones`."""
        if phones:
            self._front_end = self.front_end.with_phones(phones)

    def encode(self, piece: str) -> list[int]:
        """Ids of one piece."""
        return self.front_end.ids(piece)

    def utterance(
        self,
        ids: Sequence[int],
        voice: Voice | None = None,
        *,
        seed: int = 0,
        max_seconds: float | None = None,
        manner: Manner | None = None,
    ) -> Utterance:
        """Text ids as something to decode.

        Args:
            ids: of one piece.
            voice: whose prompt goes before; `None` for none.
            seed: of its draws.
            max_seconds: cap; `None` for what the text allows.
            manner: how the voice is asked to speak; `None` as in `manner`.
        """
        lm = self.config.lm
        manner = Manner() if voice is None else self.manner(voice, manner)
        prompt_text, prompt_tokens = ([], []) if voice is None else voice.heard(manner)
        least, most = length_limits(lm, len(ids))
        expected = sum(expected_tokens(lm, ids)) if is_aligned(lm) else None
        if max_seconds is not None:
            most = max(1, min(most, round(max_seconds * TOKENS_PER_SECOND)))
            if most < HURRIED * (expected or 0.0):
                raise UsageError(
                    f"`--max-seconds {max_seconds:g}` is too short for a piece of text that takes "
                    f"about {(expected or 0.0) / TOKENS_PER_SECOND:.1f} s",
                    "give more seconds, or a shorter text",
                )
        return Utterance(
            prompt=decode_sequence(lm, ids, prompt_text, prompt_tokens),
            min_tokens=min(least, most),
            max_tokens=most,
            expected=expected,
            prompt_tokens=tuple(prompt_tokens),
            start=None if voice is None else self._kept(voice, manner),
            seed=seed,
        )

    def _kept(self, voice: Voice, manner: Manner) -> tuple[int, HybridState] | None:
        """What this language model has read of a voice's transcript already, if it was this one."""
        facts, state = voice.facts, voice.state
        if facts is None or state is None or voice.asked(manner) != "zero-shot":
            return None
        same = (facts.language_model, facts.language_model_dtype) == (
            self._lm_hash,
            self.compute.dtype,
        )
        return (1 + len(voice.prompt_text_ids), state) if facts.language_model and same else None

    @cached_property
    def _lm_hash(self) -> str:
        """Of the language model's file; "" where another was put in its place."""
        return "" if self.lm_part in self._given else self.fingerprint(self.lm_part)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an utterance."""
        return self.config.lm.stop_ids

    def prefill(self, utterances: Sequence[Utterance]) -> tuple[Tensor, DecodeState]:
        """Read prompts: (B, V) float32 log-probabilities of the first token, and a state."""
        sequence = concatenate([utterance.prompt for utterance in utterances]).to(self.device)
        longest = max(utterance.max_tokens for utterance in utterances)
        room = sequence.ids.shape[1] + min(longest, CACHE_ROOM)
        start = utterances[0].start if len(utterances) == 1 else None
        if start is None:
            scores, state = self.lm.extend(sequence)
        else:
            count, held = start
            scores, state = self.lm.extend(after(sequence, count), held.to(self.device))
        return scores, self._decoder.start(state, room)

    def step(self, tokens: Tensor, state: DecodeState) -> tuple[Tensor, DecodeState]:
        """Read one token (B,) a row: (B, V) log-probabilities of the next, and the state."""
        lm = self.lm
        hidden, state = self._decoder.step(lm.speech_embedding(tokens.to(self.device)), state)
        scores = torch.log_softmax(lm.llm_decoder(hidden).float(), dim=-1)
        return scores, state

    def select(self, state: DecodeState, rows: Sequence[int]) -> DecodeState:
        """Keep the given rows of a state."""
        return select(state, rows)

    @cached_property
    def _decoder(self) -> FusedStack:
        """The stack arranged for single tokens; its weights are the stack's own."""
        lm = self.lm
        # Sharing gives the stack new parameters, which must not be of inference mode.
        with torch.inference_mode(False):
            return FusedStack(lm.stack, share=True)

    @property
    def front_end(self) -> FrontEnd:
        """Text to pieces and ids."""
        if self._front_end is None:
            if self.model is None:
                raise ValueError("this engine was made without a text front end")
            self._front_end = self.model.front_end()
        return self._front_end

    def part(self, name: str) -> nn.Module:
        """A part, loaded and placed when it is first asked for."""
        if name not in self._parts:
            if self.model is None:
                raise ValueError(f"this engine was made without the part {name!r}")
            # Half precision breaks flow and vocoder; only the language model gains by it.
            dtype = self.compute.torch_dtype if name == self.lm_part else torch.float32
            with torch.inference_mode(False):
                part = self.model.load(name, dtype).requires_grad_(False)
                if self.lean:
                    leave_on_host(part, self.family.gathered)
                self._parts[name] = part.to(self.device)
        return self._parts[name]


def leave_on_host(part: nn.Module, tables: Sequence[str]) -> None:
    """Leave the named tables of a part where they were read: few of their rows are ever used."""
    named = dict(part.named_parameters())
    for name in tables:
        if name in named:
            part.set_submodule(name.removesuffix(".weight"), TextTable(named[name].detach()))
