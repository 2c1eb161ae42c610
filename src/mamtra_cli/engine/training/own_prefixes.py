"""A student's own speech as training data: what it would say to the texts of a batch.

A model that only ever reads the truth is not taught to recover from itself. In a share of the
updates the tokens of a batch are the student's own, drawn as a teacher's lessons are; then the
teacher scores them (on-policy distillation, GKD, arXiv 2306.13649). Tokens depend on the seed, the
update and the example, not on the number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.lessons.examples import Batch
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.sequences import concatenate
from mamtra_cli.layers.state import HybridState

STEPS_APART = 1_000_003
LONGEST = 1.5  # times the tokens that the data have for a text


class PlainDecoder:
    """The token loop's view of a language model that is being trained: nothing is rearranged."""

    def __init__(self, lm: SpeechLM) -> None:
        self.lm = lm

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an utterance."""
        return self.lm.config.stop_ids

    def prefill(self, utterances: Sequence[Utterance]) -> tuple[Tensor, HybridState]:
        """Read prompts."""
        sequence = concatenate([utterance.prompt for utterance in utterances])
        return self.lm.extend(sequence.to(self.lm.speech_embedding.weight.device))

    def step(self, tokens: Tensor, state: HybridState) -> tuple[Tensor, HybridState]:
        """Read one token a row."""
        return self.lm.step(tokens.to(self.lm.speech_embedding.weight.device), state)

    def select(self, state: HybridState, rows: Sequence[int]) -> HybridState:
        """Keep the given rows of a state."""
        return state.select(rows)


@dataclass(frozen=True, kw_only=True)
class OwnPrefixes:
    """Replaces the tokens of some batches.

    Attributes:
        engine: the student.
        share: of the updates that read the student's own speech.
        seed: of the draws.
    """

    engine: Engine
    share: float
    seed: int = 0

    def owns(self, step: int) -> bool:
        """Whether an update reads the student's own speech; evenly spread over the run."""
        return int((step + 1) * self.share) > int(step * self.share)

    def __call__(self, batch: Batch) -> Batch:
        """The batch, with the student's tokens where its update is such a one."""
        if not self.owns(batch.step):
            return batch
        utterances = []
        for row, example in enumerate(batch.examples):
            seed = self.seed + batch.step * STEPS_APART + batch.indices[row]
            made = self.engine.utterance(list(example.text_ids), seed=seed)
            most = max(1, min(made.max_tokens, round(example.frames * LONGEST)))
            utterances.append(replace(made, max_tokens=most, min_tokens=min(made.min_tokens, most)))
        rows = list(batch.examples)
        lm = self.engine.lm
        training = lm.training
        lm.eval()
        try:
            with torch.no_grad():
                sampling = self.engine.lesson_sampling
                found = decode(PlainDecoder(lm), utterances, sampling, rows=len(utterances))
                for index, outcome in found:
                    # What a guard would refuse is what there is to learn from.
                    tokens = outcome.tokens or rows[index].tokens
                    rows[index] = replace(rows[index], tokens=tokens)
        finally:
            lm.train(training)
        return replace(batch, examples=tuple(rows), own=True)
