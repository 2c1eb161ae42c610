"""Steps of a language model at a context and a batch: as they are run eagerly, and as a graph.

Weights are random: bytes and seconds are those of any weights. A step is all of it: embedding,
stack, head, log-softmax, draw, and the id that comes back in.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.backbone import costs
from mamtra_cli.backbone.decoding.caches import DecodeState
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.decoding.graph import GraphedStep
from mamtra_cli.backbone.decoding.static import StaticRows
from mamtra_cli.backbone.kinds import letter_of
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.engine.measuring.meter import synchronise
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.layers.mixer_config import PRESETS
from mamtra_cli.ops.device_draws import DeviceDraws
from mamtra_cli.ops.draws import Frame, Variates, draw_frames
from mamtra_cli.ops.sampling import Sampling

PUBLISHED = Sampling(top_p=0.8, top_k=25, ras_window=10)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Sizes of a run.

    Attributes:
        config: the teacher.
        device, dtype: of everything.
        steps: timed steps a round.
        rounds: of which the least counts, after one that warms up.
    """

    config: CosyVoice2Config
    device: torch.device
    dtype: torch.dtype
    steps: int
    rounds: int = 3

    @property
    def precision(self) -> costs.Precision:
        """Bytes per element."""
        return costs.Precision.of(self.dtype.itemsize)


def planned(config: CosyVoice2Config, ratio: str, mixer: str) -> CosyVoice2Config:
    """The teacher with other layers."""
    chosen = PRESETS[mixer]
    letter = letter_of(chosen.mixer)
    words = ratio if ratio == "1:0" else f"{ratio},kind={letter}"
    kinds = LayerPlan.parse(words, config.lm.n_layers).kinds
    return replace(config, lm=replace(config.lm, kinds=kinds, mixer=chosen.to_dict()))


class Shelf:
    """The model that was asked for last; there is room for one."""

    def __init__(self) -> None:
        self._held: tuple[object, Model] | None = None

    def model(self, protocol: Protocol, ratio: str, mixer: str) -> "Model":
        """A teacher or hybrid with random weights."""
        key = (ratio, mixer, protocol.dtype)
        if self._held is None or self._held[0] != key:
            self._held = None
            self._held = (key, Model(planned(protocol.config, ratio, mixer), protocol))
        return self._held[1]


class Model:
    """A language model with random weights and no text table: it is looked up, not read."""

    def __init__(self, config: CosyVoice2Config, protocol: Protocol) -> None:
        self.config, self.protocol = config, protocol
        torch.manual_seed(0)
        with torch.device(protocol.device):
            lm = SpeechLM(replace(config.lm, vocab_size=8))
        self.lm = lm.to(protocol.dtype).eval().requires_grad_(False)
        self.fused = FusedStack(self.lm.stack, share=True)

    def state(self, context: int, batch: int) -> DecodeState:
        """Rows that have read so many tokens, whatever these were."""
        protocol = self.protocol
        x = torch.zeros(
            batch, 1, self.config.lm.d_model, device=protocol.device, dtype=protocol.dtype
        )
        with torch.inference_mode():
            state = self.fused.start(self.lm.stack(x).state, context + room(protocol))
        longer = torch.full_like(state.position, context)
        return replace(state, lengths=(context,) * batch, position=longer)

    def scores(self, hidden: Tensor) -> Tensor:
        """(B, V) log-probabilities."""
        return torch.log_softmax(self.lm.llm_decoder(hidden).float(), dim=-1)

    def eager(self, context: int, batch: int, ids: list[list[Frame]]) -> Callable[[], None]:
        """A step as a batch of streams takes it; the ids come into `ids`."""
        state, variates = self.state(context, batch), [Variates(row) for row in range(batch)]
        for _ in range(batch):
            ids.append([(0,)])

        def step() -> None:
            nonlocal state
            last = torch.tensor([row[-1][0] for row in ids], device=self.protocol.device)
            hidden, state = self.fused.step(self.lm.speech_embedding(last), state)
            scores = self.scores(hidden)[:, None]
            histories = [row[1:] for row in ids]
            for row, frame in zip(
                ids, draw_frames(scores, PUBLISHED, histories, variates), strict=True
            ):
                row.append(frame)

        return step

    def graphed(self, context: int, batch: int, steps: int) -> tuple[GraphedStep, Tensor]:
        """The same as a graph, and where its ids are written: (B, steps), ahead of the first 0."""
        protocol = self.protocol
        rows = StaticRows(self.fused, self.state(context, batch), context + room(protocol))
        draws = drawn_ahead(batch, self.config.lm.head_size, 2 * room(protocol), protocol.device)
        draws.restart()
        last = torch.zeros(batch, dtype=torch.long, device=protocol.device)
        said = torch.zeros(batch, steps, dtype=torch.long, device=protocol.device)
        count = torch.zeros(batch, 1, dtype=torch.long, device=protocol.device)

        def work(end: int) -> None:
            drawn = draws(self.scores(rows.step(self.lm.speech_embedding(last), end)))
            last.copy_(drawn)
            said.scatter_(1, count, drawn[:, None])
            count.add_(1).clamp_(max=steps - 1)

        held = (*draws.moving, last, said, count)
        record = protocol.device.type == "cuda" and not pretended()
        return GraphedStep(rows, work, held, record=record), said

    def floor_bytes(self, context: int, batch: int) -> int:
        """Bytes that a step cannot do without."""
        lm = self.config.lm
        head = costs.Head(speech_vocab=lm.head_size)
        return costs.decode_bytes(
            lm.hybrid, context, batch=batch, head=head, precision=self.protocol.precision
        )


@lru_cache(maxsize=2)
def drawn_ahead(batch: int, width: int, draws: int, device: torch.device) -> DeviceDraws:
    """Draws of so many rows, made once: random numbers take longer than steps."""
    return DeviceDraws(PUBLISHED, [Variates(row) for row in range(batch)], width, draws, device)


def room(protocol: Protocol) -> int:
    """Tokens beyond the context that a timing needs."""
    return (protocol.rounds + 1) * protocol.steps + 8


def pretended() -> bool:
    """Whether the device is one that runs no kernels (tests/pretended_cuda.py)."""
    return torch.cuda.is_available() and torch.cuda.get_device_name() == "Pretended GPU"


def timed(step: Callable[[], object], protocol: Protocol) -> dict[str, float]:
    """Milliseconds of a step: least and median of rounds of so many; the first round warms up."""
    found = []
    with torch.inference_mode():
        for _ in range(protocol.rounds + 1):
            synchronise(protocol.device)
            start = time.perf_counter()
            for _ in range(protocol.steps):
                step()
            synchronise(protocol.device)
            found.append(1e3 * (time.perf_counter() - start) / protocol.steps)
    return {"ms": min(found[1:]), "median_ms": statistics.median(found[1:])}


def transformers_step(protocol: Protocol, context: int, batch: int) -> Callable[[], Any]:
    """The step of transformers' Qwen2 with a growing cache, its logits included, no draw."""
    from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

    lm = protocol.config.lm
    config = Qwen2Config(
        vocab_size=lm.head_size,
        hidden_size=lm.d_model,
        intermediate_size=lm.d_ff,
        num_hidden_layers=lm.n_layers,
        num_attention_heads=lm.n_heads,
        num_key_value_heads=lm.n_kv_heads,
        head_dim=lm.head_dim,
        max_position_embeddings=65_536,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
    )
    with torch.device(protocol.device):
        model = Qwen2ForCausalLM(config).to(protocol.dtype).eval()
    cache = DynamicCache(config=config)
    shape = (batch, lm.n_kv_heads, context, lm.head_dim)
    for layer in range(lm.n_layers):
        empty = torch.zeros(shape, device=protocol.device, dtype=protocol.dtype)
        cache.update(empty, empty, layer)
    token = torch.zeros(batch, 1, dtype=torch.long, device=protocol.device)

    def step() -> Any:
        out = model(input_ids=token, past_key_values=cache, use_cache=True).logits
        token.copy_(out[:, -1:].argmax(dim=-1))
        return out

    return step
