"""A conditioner under a teacher whose flow, vocoder and front end it will share.

What the flow's encoder makes of the teacher's tokens is what the conditioner is to say (mu*). The
teacher tells how many tokens each phone takes; its flow and vocoder tell mel, energy and pitch, in
one of its voices an utterance, and the style is heard from another utterance of that voice.
See `families.course.Course`.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from mamtra_cli.card import CardFacts, model_card
from mamtra_cli.checkpoint import find_file
from mamtra_cli.codecs.flow_hift.few_steps import whose
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source import PITCH_ZERO
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.errors import UsageError
from mamtra_cli.families.lessons import Example
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import REFERENCE_FRAMES, MVCConfig, preset
from mamtra_cli.families.mvc.lessons import Recording, collate, fitted, losses, with_noise
from mamtra_cli.families.phones import LETTERS, LEXICON, SYMBOLS, PhoneFrontEnd
from mamtra_cli.families.speaker import Loaded, Speaker
from mamtra_cli.voices.voice import Voice

SUMMARY = (
    "A conditioning stack of state-space models alone, on the flow and vocoder of its teacher: no "
    "attention and no LSTM between the text and the flow."
)
NOTICES = (
    "The conditioning follows MambaVoiceCloning (arXiv 2604.00292): gated bidirectional Mamba with "
    "AdaLN for text, bidirectional Mamba for rhythm, causal Mamba for prosody, an aligner in "
    "training at most. It is not the authors' model and has none of their weights, its recurrence "
    "is Mamba-2, and its decoder is not theirs: its numbers say nothing of the paper's."
)
MEASURED = 64  # examples that the statistics of pitch and energy are taken from


class ConditionerCourse:
    """See the module docstring.

    Args:
        teacher: the model, loaded as it is asked for.
        speaker: the same as one that speaks.
        folder: its files.
        voices: its voices.
        examples: all that will be learned from.
        student: sizes and weights to go on from; `None` begins anew.
        size: the preset that begins anew.

    Raises:
        UsageError: the teacher lacks what is to be shared, or cannot tell durations.
    """

    part = "conditioner"

    def __init__(
        self,
        teacher: Loaded,
        speaker: Speaker,
        folder: Path,
        voices: Sequence[Voice],
        examples: Sequence[Example],
        student: tuple[MVCConfig, Conditioner] | None = None,
        size: str = "mini",
    ) -> None:
        front, sizes = teacher.front_end, teacher.config
        shared = ("flow", "mel", "hift", "source_filter", "speaker_encoder")
        if not isinstance(front, PhoneFrontEnd) or any(not hasattr(sizes, n) for n in shared):
            raise UsageError(
                f"`{teacher.name}` has no phones, flow and vocoder to share",
                "learn from a model such as `mini`",
            )
        if not voices:
            raise UsageError(f"`{teacher.name}` has no voices", "name a teacher that has")
        self.speaker, self.own_voices = speaker, list(voices)
        self.flow = cast(Flow, teacher.part("flow"))
        self.vocoder = teacher.part(sizes.vocoder_part)
        parts = (sizes.vocoder_part, "flow", "speaker_encoder")
        names = (*(f"{part}.safetensors" for part in parts), SYMBOLS, LEXICON, LETTERS)
        self.files = {name: find_file(folder, name) for name in names}
        self.heard: dict[str, Recording] = {}
        self.mels: dict[str, Tensor] = {}
        self.company: dict[int, list[Example]] = {}
        for example in examples:
            self.company.setdefault(self._voice(example), []).append(example)
        if student is None:
            plain = preset(size, symbols=len(front.vocabulary))
            whole = {name: getattr(sizes, name) for name in shared}
            # Without speech, as for a plan, its statistics are those of the preset.
            measured = [self.recording(one) for one in examples[:MEASURED]]
            conditioner = fitted(plain, measured) if measured else plain
            self.config = MVCConfig(conditioner=conditioner, **whole)
            self.module = Conditioner(conditioner)
        else:
            self.config, self.module = student

    def losses(self, examples: Sequence[Example], seed: int | None) -> Mapping[str, Tensor]:
        """Of durations, pitch, voicing, energy and mu."""
        recordings = [self.recording(example) for example in examples]
        references = [self._reference(example, seed or 0) for example in examples]
        batch = collate(self.config.conditioner, recordings, references)
        if seed is None:
            found = losses(self.module, batch)
        else:
            generator = torch.Generator().manual_seed(seed)
            found = losses(self.module, with_noise(batch, generator), generator)
        return {"loss": found.pop("total"), **found}

    def card(self, name: str, checks: Mapping[str, float]) -> str:
        """What of MVC the student is, what not, and the losses on held-out speech."""
        rows = {key.replace("_", " ", 1): f"{value:.3f}" for key, value in checks.items()}
        return model_card(
            CardFacts(
                name=name,
                license="apache-2.0",
                tags=("text-to-speech", "mamba", "state-space"),
                summary=SUMMARY,
                tables={"Losses on held-out speech": rows} if rows else {},
                notices=NOTICES,
            )
        )

    @torch.inference_mode()
    def voices(self) -> Iterator[tuple[str, Tensor]]:
        """Speaker vectors of the teacher's, and the styles heard of what it says in them."""
        for number, voice in enumerate(self.own_voices):
            said = self.company.get(number) or next(iter(self.company.values()))
            mels = [self._mel(example, voice) for example in said[:8]]
            styles = [self.module.style(mel[None, :REFERENCE_FRAMES])[0] for mel in mels]
            vector = torch.cat((voice.embedding.float(), torch.stack(styles).mean(0).cpu()))
            yield voice.name, vector

    def recording(self, example: Example) -> Recording:
        """What an example teaches, made once."""
        if example.id not in self.heard:
            voice = self.own_voices[self._voice(example)]
            frames = [(token,) for token in example.tokens]
            counts = self.speaker.counts(
                example.text_ids, frames, voice, self.speaker.settings(voice)
            )
            if counts is None:
                raise UsageError(
                    "the teacher cannot tell how long each phone lasts", "learn from `mini`"
                )
            with torch.no_grad():
                mu, _ = self.flow.encode(torch.tensor([example.tokens]), streaming=False)
            mel = self._mel(example, voice)
            self.heard[example.id] = Recording(
                ids=torch.tensor(example.text_ids),
                counts=self.flow.ratio * torch.tensor(counts),
                pitch=self._pitch(mel),
                energy=mel.mean(-1),
                mu=mu[0].T.clone(),
            )
        return self.heard[example.id]

    def _voice(self, example: Example) -> int:
        """Whose an example is: a function of its name alone."""
        return whose(example.id, len(self.own_voices))

    def _reference(self, example: Example, seed: int) -> Tensor:
        """Three seconds or less of another example of the same voice."""
        rows = self.company.get(self._voice(example)) or [example]
        chosen = zlib.crc32(f"{example.id} {seed}".encode())
        other = rows[chosen % len(rows)]
        mel = self._mel(other, self.own_voices[self._voice(other)])
        start = chosen % max(1, len(mel) - REFERENCE_FRAMES)
        return mel[start : start + REFERENCE_FRAMES]

    @torch.no_grad()
    def _mel(self, example: Example, voice: Voice) -> Tensor:
        """The teacher's mel (F, mel) of an example in a voice."""
        if example.id not in self.mels:
            tokens = torch.tensor([example.tokens])
            nobody = torch.zeros(1, 0, dtype=torch.long)
            silence = torch.zeros(1, 0, self.flow.config.mel_bins)
            vector = voice.embedding[None].float()
            self.mels[example.id] = self.flow.inference(tokens, nobody, silence, vector)[0].T
        return self.mels[example.id]

    @torch.no_grad()
    def _pitch(self, mel: Tensor) -> Tensor:
        """F0 (F,) in Hz as the vocoder hears it, 0 where unvoiced."""
        if isinstance(self.vocoder, SourceFilter):
            voicing, height = self.vocoder.pitch_of(mel.T[None])
            return (PITCH_ZERO * torch.exp2(height[0])) * (voicing[0] > 0)
        assert isinstance(self.vocoder, HiFT)
        f0 = self.vocoder.f0(mel.T[None])[0]
        return f0 * (f0 > self.vocoder.config.voiced_threshold)
