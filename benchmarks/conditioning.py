"""The conditioning stack beside the text side of StyleTTS2: time, memory, streaming. Goals D1-D4.

Baseline S has StyleTTS2's published sizes with random weights: text encoder (three convolutions,
BiLSTM), PL-BERT (ALBERT, twelve runs of one layer of 768) with fused attention and its limit of 512
positions lifted, duration encoder, duration LSTM, frame LSTM and the two AdaIN stacks of F0 and
energy. Style encoders and style diffusion are left out, which favours the baseline. S-noBERT is the
same without PL-BERT. T phones, 3 T frames. Batch 1, one thread, processor time, the median of pairs
that take turns in one process; memory is that of weights and the most that one forward holds beside
them (resident pages, after those that nobody uses were given back), each in a process of its own.

A third baseline is real: the text side of Kokoro-82M, of StyleTTS2's kind, in eight bits and in
ONNX Runtime, for as many seconds of speech (kokoro_text.py).

    python benchmarks/conditioning.py                      # T = 64 to 512
    python benchmarks/conditioning.py --lengths 64 128 256 512 1024 2048 4096 --rounds 5
    python benchmarks/conditioning.py --streaming          # D4: windows of 32 phones, look-ahead 8
    python benchmarks/conditioning.py --streaming --lengths 1000 10000 --rounds 1  # B8: no growth
    python benchmarks/conditioning.py --model mini-mvc     # a model's stack in place of the presets
    python benchmarks/conditioning.py --lengths 64 128 256 510 --kokoro work/kokoro-exposed.onnx
    python benchmarks/conditioning.py --share mini-mvc mini  # of the pipeline, on torch and graphs

`NAME graphs` is a stack in ONNX Runtime, as models speak without torch.
"""

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kokoro_text
import torch
from kokoro_text import KokoroText
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.engine.loading.light import Wishes
from mamtra_cli.engine.loading.opening import open_talker
from mamtra_cli.engine.measuring.meter import metered
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import PRESETS
from mamtra_cli.families.mvc.light import ArrayReader
from mamtra_cli.families.mvc.stream import ModuleReader
from mamtra_cli.families.mvc.windows import WHOLE, Reader, TextState, Windows, pushed

SYMBOLS, HIDDEN, STYLE = 178, 512, 128
PER_PHONE = 3  # frames
TEXTS = Path(__file__).with_name("everyday_sentences.txt")
FRAME = 0.02  # seconds
GRAPHS = " graphs"
KOKORO = "Kokoro int8"
GOALS = {  # by the first and the last T that they hold for: speed-up over S, share of its memory
    "default": {
        (1, 256): (2.2, 0.65),
        (257, 1024): (2.2, 0.60),
        (2048, 2048): (3.0, 0.45),
        (4096, 4096): (4.0, 0.35),
    },
    "small": {(1, 1024): (3.3, 0.50), (4096, 4096): (6.0, 0.30)},
}


def lstm(width: int, out: int) -> nn.LSTM:
    """Both directions together `out` wide."""
    return nn.LSTM(width, out // 2, batch_first=True, bidirectional=True)


class AdaptiveBlock(nn.Module):
    """Residual block of two convolutions behind instance norms that a style modulates."""

    def __init__(self, first: int, out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(first, out, 3, padding=1)])
        self.convs.append(nn.Conv1d(out, out, 3, padding=1))
        self.norms = nn.ModuleList([nn.InstanceNorm1d(first), nn.InstanceNorm1d(out)])
        self.styles = nn.ModuleList([nn.Linear(STYLE, 2 * first), nn.Linear(STYLE, 2 * out)])
        self.skip = nn.Conv1d(first, out, 1, bias=False) if first != out else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(1, C, F) to (1, C', F)."""
        y = x
        for conv, norm, modulation in zip(self.convs, self.norms, self.styles, strict=True):
            gamma, beta = modulation(style)[..., None].chunk(2, dim=1)
            y = conv(F.leaky_relu((1 + gamma) * norm(y) + beta, 0.2))
        return (self.skip(x) + y) / 2**0.5


class Albert(nn.Module):
    """One layer of ALBERT run twelve times: 768 wide, twelve heads, 2048 inside, embedding 128."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.places = nn.Embedding(SYMBOLS, 128), nn.Embedding(4096, 128)
        self.into = nn.Linear(128, 768)
        self.qkv, self.out = nn.Linear(768, 3 * 768), nn.Linear(768, 768)
        self.up, self.down = nn.Linear(768, 2048), nn.Linear(2048, 768)
        self.norms = nn.ModuleList([nn.LayerNorm(768), nn.LayerNorm(768)])

    def forward(self, ids: Tensor) -> Tensor:
        """(1, T) to (1, T, 768)."""
        x = self.into(self.embedding(ids) + self.places(torch.arange(ids.shape[1])))
        for _ in range(12):
            q, k, v = self.qkv(x).view(1, -1, 3, 12, 64).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = self.norms[0](x + self.out(y))
            x = self.norms[1](x + self.down(F.gelu(self.up(x))))
        return x


class Baseline(nn.Module):
    """Text side of StyleTTS2."""

    def __init__(self, bert: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, HIDDEN)
        self.convs = nn.ModuleList(nn.Conv1d(HIDDEN, HIDDEN, 5, padding=2) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN) for _ in range(3))
        self.text = lstm(HIDDEN, HIDDEN)
        self.bert = Albert() if bert else None
        self.project = nn.Linear(768, HIDDEN) if bert else nn.Identity()
        self.duration = nn.ModuleList(lstm(HIDDEN + STYLE, HIDDEN) for _ in range(3))
        self.styles = nn.ModuleList(nn.Linear(STYLE, 2 * HIDDEN) for _ in range(3))
        self.plain = nn.LayerNorm(HIDDEN, elementwise_affine=False)
        self.pace, self.count = lstm(HIDDEN + STYLE, HIDDEN), nn.Linear(HIDDEN, 50)
        self.shared = lstm(HIDDEN + STYLE, HIDDEN)
        self.curves = nn.ModuleList(
            nn.ModuleList(
                [AdaptiveBlock(512, 512), AdaptiveBlock(512, 256), AdaptiveBlock(256, 256)]
            )
            for _ in range(2)
        )
        self.heads = nn.ModuleList(nn.Conv1d(256, 1, 1) for _ in range(2))

    def forward(self, ids: Tensor, style: Tensor) -> Tensor:
        """(1, T) phones: features and curves of 3 T frames."""
        x = self.embedding(ids)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x.transpose(1, 2)).transpose(1, 2)), 0.2)
        text, _ = self.text(x)
        h = text if self.bert is None else self.project(self.bert(ids))
        spread = style[:, None].expand(-1, ids.shape[1], -1)
        for layer, modulation in zip(self.duration, self.styles, strict=True):
            h, _ = layer(torch.cat((h, spread), dim=-1))
            gamma, beta = modulation(style)[:, None].chunk(2, dim=-1)
            h = (1 + gamma) * self.plain(h) + beta
        h = torch.cat((h, spread), dim=-1)
        self.count(self.pace(h)[0])
        frames, _ = self.shared(h.repeat_interleave(PER_PHONE, dim=1))
        frames = frames.transpose(1, 2)
        for blocks, head in zip(self.curves, self.heads, strict=True):
            y = frames
            for block in blocks:
                y = block(y, style)
            head(y)
        return text.repeat_interleave(PER_PHONE, dim=1)


def stack(name: str) -> Conditioner:
    """A preset with random weights, or a model's."""
    if name not in PRESETS:
        part = Engine.load(name, device="cpu").part("conditioner")
        assert isinstance(part, Conditioner)
        return part
    torch.manual_seed(0)
    model = Conditioner(PRESETS[name])
    nn.init.zeros_(model.duration.weight)
    model.duration.bias.data.fill_(torch.log2(torch.tensor(float(PER_PHONE))))
    return model.eval().requires_grad_(False)


def reader(name: str) -> tuple[Conditioner, Reader, Callable[[Tensor], object]]:
    """A stack, what reads texts by it, and a style as that takes one."""
    model = stack(name.removesuffix(GRAPHS))
    if not name.endswith(GRAPHS):
        return model, ModuleReader(model), model.styled
    from mamtra_cli.families.mvc.graphs import conditioner_graphs

    sessions = [open_session(made.SerializeToString()) for _, made in conditioner_graphs(model)]
    return model, ArrayReader(model.config, *sessions), Tensor.numpy


@dataclass(frozen=True, kw_only=True)
class System:
    """Numbers that were learned, bytes of those that a text needs, and one forward."""

    parameters: int
    nbytes: int
    forward: Callable[[], object]


def counted(model: nn.Module, besides: str = "") -> tuple[int, int]:
    """Parameters, and bytes of those that are not of a part."""
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    needed = [n for name, n in sizes.items() if not besides or not name.startswith(besides)]
    return sum(sizes.values()), 4 * sum(needed)


def work(name: str, length: int, graph: Path | None = None) -> System:
    """A system and one forward of it; `graph` is Kokoro's."""
    generator = torch.Generator().manual_seed(0)
    if name == KOKORO:
        assert graph is not None
        kokoro = KokoroText(graph)
        ids = torch.randint(1, kokoro_text.SYMBOLS, (length,), generator=generator)
        vector = 0.15 * torch.randn(kokoro_text.STYLE, generator=generator)  # as wide as its voices
        forward = kokoro.forward(ids.tolist(), vector.numpy(), PER_PHONE * FRAME)
        return System(parameters=kokoro.parameters, nbytes=kokoro.nbytes, forward=forward)
    if name.startswith("S-"):
        model = Baseline(bert=name == "S-sdpa").eval().requires_grad_(False)
        ids = torch.randint(SYMBOLS, (1, length), generator=generator)
        style = torch.randn(1, STYLE, generator=generator)
        numbers, nbytes = counted(model)
        return System(parameters=numbers, nbytes=nbytes, forward=lambda: model(ids, style))
    conditioner, reading, styled = reader(name)
    config = conditioner.config
    text = torch.randint(config.symbols, (length,), generator=generator).tolist()
    vector = torch.randn(1, config.style_width, generator=generator)

    def read() -> object:
        state = TextState(style=styled(vector), windows=WHOLE)
        return pushed(reading, state, text, last=True)

    numbers, nbytes = counted(conditioner, "style.")  # the style net runs once a voice
    return System(parameters=numbers, nbytes=nbytes, forward=read)


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one run."""
    start = time.process_time()
    with torch.inference_mode():
        run()
    return time.process_time() - start


def give_back() -> None:
    """Pages that were let go of but are kept by the allocator, where that is glibc's."""
    if sys.platform == "linux":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def peak(name: str, length: int, graph: Path | None) -> int:
    """Bytes of weights, and those that a forward adds to the resident peak."""
    system, added = work(name, length, graph), []
    with torch.inference_mode():
        system.forward()
        for _ in range(3):
            give_back()
            with metered() as memory:
                system.forward()
            assert memory.peak is not None
            added.append(memory.peak)
    return statistics.median(added) + system.nbytes


def compared(names: list[str], length: int, rounds: int, graph: Path | None) -> None:
    """One row a system: parameters, milliseconds, speed-ups, memory."""
    bases = ["S-sdpa", "S-noBERT"]
    if graph is not None and length <= kokoro_text.LONGEST:
        bases.append(KOKORO)
    elif graph is not None:
        print(f"T {length}: Kokoro takes {kokoro_text.LONGEST} at most", file=sys.stderr)
    systems = [*bases, *names]
    runs = {name: work(name, length, graph) for name in systems}
    spent: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(rounds + 1):
        for name, system in runs.items():
            took = seconds(system.forward)
            if number:
                spent[name].append(took)
    held = {}
    given = [] if graph is None else ["--kokoro", str(graph)]
    for name in systems:
        command = [sys.executable, __file__, "--peak", name, "--lengths", str(length), *given]
        held[name] = int(subprocess.run(command, check=True, capture_output=True).stdout)
    for name in systems:
        pairs = {
            base: statistics.median(a / b for a, b in zip(spent[base], spent[name], strict=True))
            for base in bases
        }
        row = {
            "T": length,
            "system": name,
            "parameters_m": round(runs[name].parameters / 1e6, 1),
            "ms": round(1e3 * statistics.median(spent[name]), 1),
            "speedup": round(pairs["S-sdpa"], 2),
            "speedup_no_bert": round(pairs["S-noBERT"], 2),
            **({"speedup_kokoro": round(pairs[KOKORO], 2)} if KOKORO in pairs else {}),
            "memory_mb": round(held[name] / 1e6, 1),
            "memory_share": round(held[name] / held["S-sdpa"], 2),
        }
        for (first, last), (speed, memory) in GOALS.get(name.removesuffix(GRAPHS), {}).items():
            if not first <= length <= last:
                continue
            row["goal"] = [speed, memory]
            row["met"] = pairs["S-sdpa"] >= speed and held[name] <= memory * held["S-sdpa"]
        print(json.dumps(row), flush=True)


def streaming(name: str, length: int, rounds: int) -> None:
    """D4: a text in windows of 32 phones with 8 beyond, against the whole.

    `peak_mb` is what the windows add to the process: nothing, where a shorter text went before.
    """
    conditioner, reading, styled = reader(name)
    text = torch.randint(conditioner.config.symbols, (length,)).tolist()
    style = styled(torch.zeros(1, conditioner.config.style_width))

    def run(windows: Windows) -> int:
        state = TextState(style=style, windows=windows)
        most = 0
        for start in range(0, length, 32):
            part = text[start : start + 32]
            state, _ = pushed(reading, state, part, last=start + 32 >= length)
            most = max(most, state.nbytes)
        return most

    with torch.inference_mode(), metered() as memory:
        state = run(Windows())
    ratios = []
    for number in range(rounds + 1):
        whole, windows = seconds(lambda: run(WHOLE)), seconds(lambda: run(Windows()))
        if number:
            ratios.append(windows / whole)
    row = {"T": length, "system": name, "windows": "C 32, L 8"}
    row |= {"cost": round(statistics.median(ratios), 2), "state_mb": round(state / 1e6, 2)}
    print(json.dumps({**row, "peak_mb": round((memory.peak or 0) / 1e6, 1)}), flush=True)


def shares(names: list[str], rounds: int) -> None:
    """Processor seconds a second of speech, of text to frames and of all; roads take turns."""
    texts = sorted(TEXTS.read_text().split("\n"), key=len)[-8:]
    roads = {
        (name, road): open_talker(name, Wishes(device="cpu", threads=1, backend=backend))
        for name in names
        for road, backend in (("torch", "torch"), ("graphs", "auto"))
    }
    spent: dict[tuple[str, str, bool], list[float]] = {}
    for number in range(rounds + 1):
        for (name, road), engine in roads.items():
            for mute in (True, False):
                options, voice = SpeechOptions(mute=mute), engine.voice()
                start, length = time.process_time(), 0
                for text in texts:
                    for part in speak(engine, text, voice, options):
                        length += part.piece.tokens if part.piece else 0
                if number:
                    took = (time.process_time() - start) * engine.facts.frame_rate / length
                    spent.setdefault((name, road, mute), []).append(took)
    for name, road in roads:
        frames, whole = (statistics.median(spent[name, road, mute]) for mute in (True, False))
        row = {"model": name, "road": road, "frames": round(frames, 5), "whole": round(whole, 4)}
        print(json.dumps({**row, "share": round(frames / whole, 3)}), flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", nargs="*", help="stacks: presets or models")
    parser.add_argument(
        "--kokoro", type=Path, metavar="GRAPH", help=f"a third baseline; `{kokoro_text.MADE_BY}`"
    )
    parser.add_argument("--streaming", action="store_true")
    parser.add_argument("--share", nargs="+", metavar="MODEL", help="models")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        print(peak(args.peak, args.lengths[0], args.kokoro))
        return
    if args.share:
        shares(args.share, args.rounds)
        return
    names = args.model or [n + road for n in ("default", "small") for road in ("", GRAPHS)]
    for length in args.lengths:
        if args.streaming:
            for name in names:
                streaming(name, length, args.rounds)
        else:
            compared(names, length, args.rounds, args.kokoro)


if __name__ == "__main__":
    main()
