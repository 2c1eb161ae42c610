"""The language model as something to be taught: layouts of `sequences.py`, one codebook.

See `families.lessons.Lessons`. Knows no losses and no data.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.rows import PAD, is_aligned
from mamtra_cli.families.cosyvoice2.sequences import LMBatch, can_interleave, lay_out
from mamtra_cli.families.lessons import IGNORE, Example, Layout, Packing, pack

SHARED = ("llm_embedding", "llm_decoder", "speech_embedding")
FIXED = 3  # positions beside text and speech: sos, task and the end of speech


class SpeechLessons:
    """See `families.lessons.Lessons`.

    Args:
        lm: the language model.
    """

    def __init__(self, lm: SpeechLM) -> None:
        self.lm = lm
        self.heads = nn.Sequential(lm.llm_decoder, nn.Unflatten(-1, (1, lm.config.head_size)))

    @property
    def stack(self) -> HybridStack:
        """The hybrid stack."""
        return self.lm.stack

    @property
    def tables(self) -> tuple[nn.Module, ...]:
        """The embeddings of speech, special ids and text."""
        return (self.lm.speech_embedding, self.lm.llm_embedding, self.lm.stack.embed_tokens)

    @property
    def in_turns(self) -> bool:
        """Positions that are assigned need no turns: text stands where it is spoken."""
        return not is_aligned(self.lm.config)

    def size(self, example: Example) -> int:
        """Positions that an example takes."""
        return len(example.text_ids) + len(example.tokens) + FIXED

    def count(self, example: Example, *, turns: bool = False) -> int:
        """Speech, its end, and the requests for more text where it is laid out in turns."""
        config, text, speech = self.lm.config, len(example.text_ids), len(example.tokens)
        asked = turns and can_interleave(config, text, speech)
        return speech + 1 + (text // config.text_chunk if asked else 0)

    def lay_out(
        self, examples: Sequence[Example], *, turns: Sequence[bool] = (), packed: bool = False
    ) -> Layout:
        """Sequences with their targets, padded or packed."""
        batch = lay_out(
            self.lm.config,
            [example.text_ids for example in examples],
            [example.tokens for example in examples],
            turns or None,
        )
        lengths = batch.lengths.tolist()
        rows = [(i, slice(0, length)) for i, length in enumerate(lengths)]
        device = self.lm.speech_embedding.weight.device
        seq_idx = None
        if packed:
            packing = pack(lengths)
            batch, rows = _packed(batch, packing), list(packing.rows)
            seq_idx = packing.seq_idx().to(device)
        batch = batch.to(device)
        return Layout(
            inputs=batch,
            positions=batch.positions,
            targets=batch.targets[..., None],
            real=batch.tables != PAD,
            seq_idx=seq_idx,
            rows=rows,
        )

    def embed(self, inputs: LMBatch) -> Tensor:
        """(B, T, D); zeros where padded."""
        return self.lm.embed(inputs)

    def around(self, stack: HybridStack) -> "SpeechLessons":
        """A language model of other layers that shares everything else with this one."""
        config = replace(
            self.lm.config, kinds=stack.config.layer_kinds, mixer=stack.config.mixer.to_dict()
        )
        with torch.device("meta"):
            lm = SpeechLM(config)
        inner = lm.llm["model"]
        assert isinstance(inner, nn.ModuleDict)
        inner["model"] = stack
        for name in SHARED:
            setattr(lm, name, getattr(self.lm, name))
        return SpeechLessons(lm.eval().requires_grad_(False))


def _packed(batch: LMBatch, packing: Packing) -> LMBatch:
    return LMBatch(
        ids=packing.lay(batch.ids, 0),
        tables=packing.lay(batch.tables, PAD),
        positions=None if batch.positions is None else packing.lay(batch.positions, 0.0),
        targets=packing.lay(batch.targets, IGNORE),
        lengths=torch.tensor(packing.lengths),
    )
