"""What a teacher says of the training data, stored once: its k likeliest tokens at each position.

For each target (one a codebook at every position that predicts) the ids and log probabilities of
k tokens and the log probability of all others together, at the temperature of the loss; on
request the hidden states that are compared too. Safetensors files of some hundred examples, each
written whole, so that a killed run goes on where it was. Log probabilities and states are
float16: with k = V the loss differs from the live teacher's by less than 0.002 nats (tested); with
fewer it is at most the live one.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mamtra_cli.engine.lessons.examples import Batch
from mamtra_cli.engine.training.losses import Stored
from mamtra_cli.engine.training.parallel import World
from mamtra_cli.errors import TrainingError
from mamtra_cli.events import Advance, Report, Stage, ignore
from mamtra_cli.families.lessons import IGNORE, Example, Layout, Lessons
from mamtra_cli.publish import output_errors, written_whole

SHARD = 256  # examples a file
ROWS = 16  # examples the teacher reads together
ALMOST_NOTHING = -60.0  # log probability of a rest that rounding left below zero


class TeacherCache:
    """A folder of stored predictions.

    Args:
        folder: of the files.
        examples: the training data, in the order of `Batch.indices`.
        flags: which of them are laid out in turns.
        k: tokens kept at each position.
        temperature: of the stored distribution.
        layers: states to store: inputs of these layers, -1 for the last state.
    """

    def __init__(
        self,
        folder: Path,
        examples: Sequence[Example],
        flags: Sequence[bool],
        *,
        k: int,
        temperature: float = 1.0,
        layers: Sequence[int] = (),
    ) -> None:
        self.folder = folder
        self.examples = examples
        self.flags = flags
        self.k = k
        self.temperature = temperature
        self.layers = list(layers)
        self._open: dict[int, dict[str, Tensor]] = {}

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / f"teacher-{shard:05d}.safetensors"

    @property
    def shards(self) -> int:
        """How many files there are."""
        return -(-len(self.examples) // SHARD)

    def make(self, teacher: Lessons, world: World | None = None, report: Report = ignore) -> None:
        """Write the files that are not there; processes share the work."""
        world = world or World()
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        mine = range(world.rank, self.shards, world.size)
        report(Stage(name="listening", total=len(mine), unit="files"))
        for shard in mine:
            if not self.path(shard).is_file():
                self._write(shard, teacher)
            report(Advance())
        world.wait()

    def fetch(
        self, batch: Batch, laid: Layout, *, hidden: bool
    ) -> tuple[Stored, dict[int, Tensor]]:
        """What is stored for a batch: where it predicts (N, K), and states (B, T, D)."""
        device = laid.targets.device
        *shape, codebooks = laid.targets.shape
        ids = torch.zeros(*shape, codebooks, self.k, dtype=torch.long)
        log_p = torch.zeros(*shape, codebooks, self.k)
        rest = torch.zeros(*shape, codebooks)
        targets = (laid.targets.cpu() != IGNORE).any(-1)
        states: dict[int, Tensor] = {}
        for index, (row, part) in zip(batch.indices, laid.rows, strict=True):
            held, at, place = self._find(index)
            here = targets[row, part]
            count = int(here.sum())
            span = slice(at * codebooks, (at + count) * codebooks)
            if count:
                framed = (count, codebooks, -1)
                ids[row, part][here] = held["ids"][span].view(framed).long()
                log_p[row, part][here] = held["log_p"][span].view(framed).float()
                rest[row, part][here] = held["rest"][span].view(count, codebooks)
            for layer in self.layers if hidden else ():
                state = held[f"state.{layer}"][place : place + part.stop - part.start]
                if layer not in states:
                    states[layer] = torch.zeros(*shape, state.shape[-1])
                states[layer][row, part] = state.float()
        stored = Stored(ids=ids[targets], log_p=log_p[targets], rest=rest[targets])
        moved = Stored(
            ids=stored.ids.to(device), log_p=stored.log_p.to(device), rest=stored.rest.to(device)
        )
        return moved, {layer: state.to(device) for layer, state in states.items()}

    def _find(self, index: int) -> tuple[dict[str, Tensor], int, int]:
        """The tensors of an example's shard, and where its targets and positions begin."""
        shard = index // SHARD
        if shard not in self._open:
            try:
                with safe_open(self.path(shard), framework="pt") as file:
                    names = list(file.keys())
                    self._open[shard] = {name: file.get_tensor(name) for name in names}
            except Exception as error:
                raise TrainingError(
                    f"`{self.path(shard)}` is damaged: {error}",
                    "remove it and go on with `--resume`; it is made again",
                ) from error
        held = self._open[shard]
        return held, int(held["starts"][index % SHARD]), int(held["places"][index % SHARD])

    @torch.no_grad()
    def _write(self, shard: int, teacher: Lessons) -> None:
        chosen = list(range(shard * SHARD, min((shard + 1) * SHARD, len(self.examples))))
        pieces: dict[str, list[Tensor]] = {}
        starts, places, at, place = [], [], 0, 0
        for first in range(0, len(chosen), ROWS):
            part = chosen[first : first + ROWS]
            turns = [self.flags[i] for i in part]
            laid = teacher.lay_out([self.examples[i] for i in part], turns=turns)
            capture = [layer for layer in self.layers if layer >= 0]
            out = teacher.stack(
                teacher.embed(laid.inputs), **laid.reading, capture=capture, keep_state=False
            )
            states = {**out.captured, -1: out.hidden}
            for row, span in laid.rows:
                here = (laid.targets[row, span] != IGNORE).any(-1)
                logits = teacher.heads(out.hidden[row, span][here]).float().flatten(0, 1)
                log_p = torch.log_softmax(logits / self.temperature, dim=-1)
                top, ids = log_p.topk(self.k, dim=-1)
                rest = torch.log1p(-top.exp().sum(-1).clamp(max=1.0)).clamp_min(ALMOST_NOTHING)
                small = torch.int16 if logits.shape[-1] < 1 << 15 else torch.int32
                found = {"ids": ids.to(small), "log_p": top.half(), "rest": rest}
                for layer in self.layers:
                    found[f"state.{layer}"] = states[layer][row, span].half()
                for name, value in found.items():
                    pieces.setdefault(name, []).append(value.cpu())
                starts.append(at)
                places.append(place)
                at += int(here.sum())
                place += span.stop - span.start
        tensors = {name: torch.cat(values) for name, values in pieces.items()}
        tensors |= {"starts": torch.tensor(starts), "places": torch.tensor(places)}
        path = self.path(shard)
        with written_whole(path) as partial:
            save_file(tensors, partial)
