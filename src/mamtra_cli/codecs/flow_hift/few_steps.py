"""A flow of few steps under one of many: the mean velocity of its path, guidance included.

The teacher solves with its own guidance from one noise; between two points of that path its mean
velocity is what the student is to tell where a step of its own begins (MeanFlow, arXiv 2505.13447,
with the path itself in place of the derivative). Only the estimator learns: encoder, speaker and
noise stay, so does what a frame may see, and with it every promise of streaming. See
`families.course.Course`. Knows voices as vectors; texts and folders are others' business.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.chunk_mask import lengths_to_mask
from mamtra_cli.codecs.flow_hift.config import FlowConfig
from mamtra_cli.codecs.flow_hift.flow import (
    PROMPT_PROBABILITY,
    PROMPT_SHARE,
    Flow,
    fixed_noise,
)
from mamtra_cli.errors import PlanError, UsageError

TEACHER_STEPS = 10  # the teacher takes as many, or the next multiple of the student's
INTERVALS = 3  # of the student's steps that are learned from one path at once
MIXED = 0.5  # share of utterances in a mix of two voices, so that a new voice is no stranger


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a flow is shown of utterances: means (B, mel, T), and mask (B, T), True = real."""

    mu: Tensor
    mask: Tensor


class FewSteps:
    """See the module docstring.

    Args:
        config: sizes of the whole model, with a field `flow`.
        flow: the teacher.
        shown: utterances, and whether chunk masks apply, to what the flow is shown of them.
        speakers: vectors (speaker_dim,) of the voices to learn in.
        steps: that the student will take; it learns their divisors too.

    Raises:
        PlanError: the flow takes few steps already.
        UsageError: there are no voices.
    """

    part = "flow"

    def __init__(
        self,
        config: Any,
        flow: Flow,
        shown: Callable[[Sequence[Any], bool], Shown],
        speakers: Sequence[Tensor],
        steps: int,
    ) -> None:
        if flow.config.has_spans:
            raise PlanError(
                f"this flow was taught {flow.config.steps} steps already",
                "name the model that it was made from",
            )
        if not speakers:
            raise UsageError("the model has no voices to speak in", "make one: mamtra voice clone")
        self.teacher = flow
        self.config = replace(config, flow=shortened(flow.config, steps))
        with torch.random.fork_rng(devices=[]):
            self.module = Flow(self.config.flow).to(flow.input_embedding.weight.device)
        self.module.load_state_dict(flow.state_dict(), strict=False)  # what is new says nothing
        self.module.requires_grad_(False)
        self.module.decoder.estimator.requires_grad_(True)
        self.shown = shown
        self.speakers = torch.stack([vector.float() for vector in speakers])
        self.steps = steps
        self.teacher_steps = steps * max(1, -(-TEACHER_STEPS // steps))
        self.intervals = intervals(steps, self.teacher_steps)
        self.mels: dict[str, Tensor] = {}

    def told(self) -> dict[str, str]:
        """The course in words, by what they are about."""
        rows = 2 if self.teacher.config.cfg_rate else 1
        learned = ", ".join(str(n) for n in divisors(self.steps))
        return {
            "flow": f"{self.steps} evaluations in place of {rows * self.teacher.config.steps}, "
            f"learned for {learned} steps",
            "teacher": f"{self.teacher_steps} steps, guidance {self.teacher.config.cfg_rate:g}",
        }

    def losses(self, examples: Sequence[Any], seed: int | None) -> Mapping[str, Tensor]:
        """Of the mean velocities of one path; without a seed, distances of mels after all steps."""
        if seed is None:
            return self._distances(examples)
        return {"loss": self._matching(examples, seed)}

    def _matching(self, examples: Sequence[Any], seed: int) -> Tensor:
        """Distance of velocities, weighed by the share of time that a step covers."""
        generator = torch.Generator().manual_seed(seed)
        streaming = seed % 2 == 1
        rows = len(examples)
        with torch.no_grad():
            heard = self.shown(examples, streaming)
            device = heard.mu.device
            noise = torch.randn(heard.mu.shape, generator=generator).to(device)
            spks = self.teacher.speaker(self._voices(examples, generator).to(device))
            cond = self._known(examples, heard, generator)
            times, points = zip(
                *self.teacher.decoder.path(
                    heard.mu, spks, cond, noise,
                    streaming=streaming, steps=self.teacher_steps, mask=heard.mask,
                ),
                strict=True,
            )  # fmt: skip
            path, clock = torch.stack(points), torch.stack(times).to(device)
        each = min(INTERVALS, len(self.intervals))
        order = torch.rand((rows, len(self.intervals)), generator=generator).argsort(1)
        total = torch.zeros((), device=device)
        place = torch.arange(rows, device=device)
        table = torch.tensor(self.intervals, device=device)
        for chosen in order[:, :each].T.to(device):
            start, stop, share = table[chosen].unbind(1)
            begin, end = path[start, place], path[stop, place]
            t, r = clock[start], clock[stop]
            span = (r - t)[:, None, None]
            told = self.module.decoder.estimator(
                begin, heard.mu, t, spks, cond, r=r, mask=heard.mask, streaming=streaming
            )
            error = (told.float() * span - (end - begin)) * share[:, None, None]
            error = error * heard.mask[:, None]
            total = total + error.abs().sum() + error.square().sum()
        norm: Tensor = total / (each * heard.mask.sum() * self.module.config.mel_bins)
        return norm

    @torch.no_grad()
    def _distances(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Mean absolute difference of log-mels from the teacher's for every number of steps."""
        counts = divisors(self.steps)
        sums = dict.fromkeys(counts, 0.0)
        frames = 0
        for example in examples:
            heard = self.shown([example], False)
            spks = self.teacher.speaker(self._voices([example]).to(heard.mu.device))
            given = (heard.mu, spks, torch.zeros_like(heard.mu), self._noise(heard.mu))
            want = self.teacher.decoder.solve(*given, streaming=False, steps=self.teacher_steps)
            for count in counts:
                got = self.module.decoder.solve(*given, streaming=False, steps=count)
                sums[count] += float((got - want).abs().mean(1).sum())
            frames += heard.mu.shape[2]
        return {f"mel_{count}": torch.tensor(total / frames) for count, total in sums.items()}

    def _known(self, examples: Sequence[Any], heard: Shown, generator: torch.Generator) -> Tensor:
        """Of half the rows the beginning, as a recording would show it."""
        draws = torch.rand((2, len(examples)), generator=generator)
        cond = torch.zeros_like(heard.mu)
        for row, example in enumerate(examples):
            length = int(heard.mask[row].sum())
            count = int(draws[0, row] * PROMPT_SHARE * length)
            if count and draws[1, row] < PROMPT_PROBABILITY:
                cond[row, :, :count] = self._mel(example)[:, :count]
        return cond

    def _mel(self, example: Any) -> Tensor:
        """The teacher's mel (mel, T) of an example by its own steps."""
        if example.id not in self.mels:
            heard = self.shown([example], False)
            spks = self.teacher.speaker(self._voices([example]).to(heard.mu.device))
            cond = torch.zeros_like(heard.mu)
            made = self.teacher.decoder.solve(
                heard.mu, spks, cond, self._noise(heard.mu), streaming=False
            )
            self.mels[example.id] = made[0]
        return self.mels[example.id]

    def _noise(self, mu: Tensor) -> Tensor:
        """The noise that speech starts from, as wide as mu."""
        return fixed_noise(0, mu.shape[2], mu.shape[1]).to(mu.device)

    def _voices(self, examples: Sequence[Any], generator: torch.Generator | None = None) -> Tensor:
        """A speaker vector a row: an example's own voice, with a generator at times a mix."""
        own = [whose(example.id, len(self.speakers)) for example in examples]
        vectors = self.speakers[own]
        if generator is None:
            return vectors
        others = torch.randint(len(self.speakers), (len(own),), generator=generator)
        draws = torch.rand((2, len(own)), generator=generator)
        weights = (draws[0] * (draws[1] < MIXED))[:, None]
        unit = torch.nn.functional.normalize
        return torch.lerp(unit(vectors, dim=1), unit(self.speakers[others], dim=1), weights)


def whose(name: str, voices: int) -> int:
    """Which of so many voices an utterance is in: a function of its name alone."""
    return zlib.crc32(name.encode()) % voices


def shortened(config: FlowConfig, steps: int) -> FlowConfig:
    """The sizes of a flow of so few steps under one of these."""
    return replace(config, steps=steps, cfg_rate=0.0, velocity="mean")


def divisors(steps: int) -> list[int]:
    """Numbers of equal shares of as many steps, the fewest first."""
    return [count for count in range(1, steps + 1) if steps % count == 0]


def intervals(steps: int, teacher_steps: int) -> list[tuple[int, int, int]]:
    """Every step of every divisor: its first and last point of the teacher's, and its weight.

    The weight is the number of steps, so that each divisor counts alike however long its steps.
    """
    found = []
    for count in divisors(steps):
        size = teacher_steps // count
        found += [(k * size, (k + 1) * size, count) for k in range(count)]
    return found


def of_tokens(flow: Flow) -> Callable[[Sequence[Any], bool], Shown]:
    """What a flow is shown of utterances of tokens: what its own encoder makes of them."""
    device = flow.input_embedding.weight.device

    def shown(examples: Sequence[Any], streaming: bool) -> Shown:
        lens = torch.tensor([len(example.tokens) for example in examples])
        ids = torch.zeros((len(examples), int(lens.max())), dtype=torch.long)
        for row, example in zip(ids, examples, strict=True):
            row[: len(example.tokens)] = torch.tensor(example.tokens)
        mu, mask = flow.encode(ids.to(device), lens.to(device), streaming=streaming)
        assert mask is not None
        return Shown(mu=mu, mask=mask)

    return shown


def of_means(made: Callable[[Any], Tensor]) -> Callable[[Sequence[Any], bool], Shown]:
    """What a flow is shown of utterances that another network makes (T, mel) of, each once."""
    kept: dict[str, Tensor] = {}

    def shown(examples: Sequence[Any], streaming: bool) -> Shown:
        del streaming
        for example in examples:
            if example.id not in kept:
                kept[example.id] = made(example)
        rows = [kept[example.id] for example in examples]
        mu = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).transpose(1, 2)
        lens = torch.tensor([len(row) for row in rows], device=mu.device)
        return Shown(mu=mu, mask=lengths_to_mask(lens, mu.shape[2]))

    return shown
