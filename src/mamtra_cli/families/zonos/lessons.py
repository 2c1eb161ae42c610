"""The language model as something to be taught: delayed columns after a prefix of conditions.

Each utterance is read as it is spoken: phones and conditions, then its frames delayed, the end
after the last. What is predicted are frames and the end in codebook 0; masks, and the end that the
other codebooks are given, teach nothing. One utterance in `1 / UNSAID` leaves all conditions but
the text unsaid, so that a student keeps what guidance leads away from. See
`families.lessons.Lessons`. Knows no losses and no data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.families.lessons import IGNORE, Example, Layout, pack
from mamtra_cli.families.zonos.delay import delayed
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.manner import Settings, values
from mamtra_cli.families.zonos.positions import positions

UNSAID = 8  # one utterance in so many has no conditions but its text
TEXT = "espeak"
SHARED = ("embeddings", "heads", "prefix_conditioner")


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """What `embed` reads.

    Attributes:
        texts: phones of each utterance.
        voices: its speaker vector, empty where that is unsaid.
        said: whether its conditions are told.
        columns: (n, K) long, those it reads.
        rows: row and slice of it.
        size: rows, and positions of each.
    """

    texts: tuple[tuple[int, ...], ...]
    voices: tuple[tuple[float, ...], ...]
    said: tuple[bool, ...]
    columns: tuple[Tensor, ...]
    rows: tuple[tuple[int, slice], ...]
    size: tuple[int, int]


class ZonosLessons:
    """See `families.lessons.Lessons`.

    Args:
        lm: the language model.
        manner: how the speech that is learned from was asked for.
    """

    in_turns = False

    def __init__(self, lm: ZonosLM, manner: Settings | None = None) -> None:
        self.lm = lm
        self.manner = manner or Settings()
        self.heads = lm.heads

    @property
    def stack(self) -> HybridStack:
        """The hybrid stack."""
        return self.lm.stack

    @property
    def _device(self) -> torch.device:
        return self.lm.prefix_conditioner.project.weight.device

    @property
    def tables(self) -> tuple[nn.Module, ...]:
        """The tables of the codebooks, and the conditions."""
        return (*self.lm.embeddings, self.lm.prefix_conditioner)

    def size(self, example: Example) -> int:
        """Positions that an example takes: prefix, and columns but the last."""
        config = self.lm.config
        prefix = len(example.text_ids) + len(config.conditions) - 1
        return prefix + example.frames + config.codebooks - 1

    def count(self, example: Example, *, turns: bool = False) -> int:
        """Ids that an example predicts: all of its frames, and the end."""
        del turns
        return example.frames * self.lm.config.codebooks + 1

    def lay_out(
        self, examples: Sequence[Example], *, turns: Sequence[bool] = (), packed: bool = False
    ) -> Layout:
        """Prefixes and columns with their targets, padded or packed."""
        if any(turns):
            raise ValueError("this model does not learn in turns")
        config, device = self.lm.config, self._device
        lengths = [self.size(example) for example in examples]
        packing = pack(lengths) if packed else None
        rows = [(row, slice(0, length)) for row, length in enumerate(lengths)]
        size = (len(rows), max(lengths))
        if packing is not None:
            rows, size = list(packing.rows), (len(packing.lengths), max(packing.lengths))
        targets = torch.full((*size, config.codebooks), IGNORE)
        real = torch.zeros(size, dtype=torch.bool)
        places = torch.zeros(size) if config.durations else None
        columns = []
        for example, (row, part) in zip(examples, rows, strict=True):
            read, wanted = self._columns(example)
            targets[row, part.stop - len(wanted) : part.stop] = wanted
            real[row, part] = True
            columns.append(read.to(device))
            if places is not None:
                at = positions(config, example.text_ids, self.manner.speaking_rate, len(read))
                places[row, part] = torch.tensor(at)
        inputs = Utterances(
            texts=tuple(example.text_ids for example in examples),
            voices=tuple(example.voice for example in examples),
            said=tuple(crc32(example.id.encode()) % UNSAID != 0 for example in examples),
            columns=tuple(columns),
            rows=tuple(rows),
            size=size,
        )
        return Layout(
            inputs=inputs,
            positions=None if places is None else places.to(device),
            targets=targets.to(device),
            real=real.to(device),
            seq_idx=None if packing is None else packing.seq_idx().to(device),
            rows=rows,
        )

    def embed(self, inputs: Utterances) -> Tensor:
        """(B, T, D); zeros where padded."""
        lm, device = self.lm, self._device
        laid: list[list[Tensor]] = [[] for _ in range(inputs.size[0])]
        each = zip(
            inputs.rows, inputs.texts, inputs.voices, inputs.said, inputs.columns, strict=True
        )
        for (row, _), text, voice, said, columns in sorted(each, key=lambda one: one[0][1].start):
            vector = torch.tensor(voice) if voice else None
            heard = values(lm.config, self.manner, text, vector)
            told = {k: v for k, v in heard.items() if v is not None and (said or k == TEXT)}
            prefix = lm.prefix_conditioner({k: v.to(device) for k, v in told.items()})
            laid[row] += [prefix[0], lm.embed(columns[None])[0]]
        joined = [torch.cat(parts) for parts in laid]
        return torch.stack([pad(row, (0, 0, 0, inputs.size[1] - len(row))) for row in joined])

    def around(self, stack: HybridStack) -> "ZonosLessons":
        """A language model of other layers that shares everything else with this one."""
        config = replace(
            self.lm.config, kinds=stack.config.layer_kinds, mixer=stack.config.mixer.to_dict()
        )
        with torch.device("meta"):
            lm = ZonosLM(config)
        lm.backbone = stack
        for name in SHARED:
            setattr(lm, name, getattr(self.lm, name))
        return ZonosLessons(lm.eval().requires_grad_(False), self.manner)

    def _columns(self, example: Example) -> tuple[Tensor, Tensor]:
        """Columns that are read, and what each predicts: both (S + K - 1, K)."""
        config = self.lm.config
        frames = torch.tensor(example.tokens, dtype=torch.long).view(-1, config.codebooks)
        end = torch.full((1, config.codebooks), config.eos_id)
        columns = delayed(torch.cat((frames, end)).T[None], config.mask_id)[0].T  # (S + 1 + K, K)
        wanted = columns[1:-1].masked_fill(columns[1:-1] == config.mask_id, IGNORE)
        others = wanted[:, 1:]
        others[others == config.eos_id] = IGNORE
        return columns[:-2], wanted
