"""A student's own speech as training data: what it would say to the texts of a batch.

A model that only ever reads the truth is not taught to recover from itself. In a share of the
updates the tokens of a batch are the student's own, drawn as a teacher's lessons are; then the
teacher scores them (on-policy distillation, GKD, arXiv 2306.13649). Tokens depend on the seed, the
update and the example, not on the number of processes.
"""

from dataclasses import dataclass, replace

import torch

from mamtra_cli.engine import seeds
from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.lessons.examples import Batch
from mamtra_cli.engine.model import Engine

LONGEST = 1.5  # times the tokens that the data have for a text


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
            seed = self.seed + batch.step * seeds.UPDATES_APART + batch.indices[row]
            most = max(1, round(example.frames * LONGEST))
            script = self.engine.speaker.begin(example.text_ids, most=most)
            utterances.append(Utterance(script=script, seed=seed))
        rows = list(batch.examples)
        lm = self.engine.lessons.lm
        training = lm.training
        lm.eval()
        try:
            with torch.no_grad():
                sampling = self.engine.lesson_sampling
                model = self.engine.speaker.plain_tokens()
                found = decode(model, utterances, sampling, rows=len(utterances))
                for index, outcome in found:
                    # What a guard would refuse is what there is to learn from.
                    said = tuple(id for frame in outcome.frames for id in frame)
                    tokens = said or rows[index].tokens
                    rows[index] = replace(rows[index], tokens=tokens)
        finally:
            lm.train(training)
        return replace(batch, examples=tuple(rows), own=True)
