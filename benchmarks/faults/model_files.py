"""Model folders that mean harm, or are broken: ours and published ones."""

import json
import lzma
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from faults.forks import QUICK

DEEP = "[" * 200_000
CONVERT = (*QUICK, "-o", "never")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A name, what makes its files in a folder, and the command that meets them there."""

    name: str
    make: Callable[[Path], None]
    args: tuple[str, ...]
    may_pass: bool = False  # nothing is wrong with it that must be refused


class Call:
    """Unpickles to a call that leaves a trace."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def speak(name: str, make: Callable[[Path], None]) -> Case:
    return Case(name=name, make=make, args=("synth", "Hi.", "-m", "m", "-o", "o.wav"))


def changed(model: Path, keys: str, value: object) -> Callable[[Path], None]:
    """A copy of a model whose config has another value at a dotted place."""

    def make(folder: Path) -> None:
        shutil.copytree(model, folder / "m")
        path = folder / "m" / "config.json"
        data = json.loads(path.read_text())
        place = data["config"]
        *heads, last = keys.split(".")
        for key in heads:
            place = place[key]
        place[last] = value
        path.write_text(json.dumps(data))

    return make


def with_file(model: Path, name: str, data: bytes) -> Callable[[Path], None]:
    """A copy of a model in which a file holds other bytes."""

    def make(folder: Path) -> None:
        shutil.copytree(model, folder / "m")
        (folder / "m" / name).unlink(missing_ok=True)
        (folder / "m" / name).write_bytes(data)

    return make


def configs(model: Path) -> Iterator[Case]:
    sizes: dict[str, list[object]] = {
        "lm.d_model": [0, -256, 1e30, 10**400, "x", None, True, [1], 10**12],
        "lm.n_heads": [0, -1, 3, 10**9],
        "lm.n_kv_heads": [0, 3, 10**9],
        "lm.n_layers": [0, -1, 10**9],
        "lm.head_dim": [0, 10**9],
        "lm.d_ff": [10**12, 0],
        "lm.vocab_size": [10**12, -5],
        "lm.speech_vocab": [10**12, 0],
        "lm.rope_theta": [0, -1, float("inf"), float("nan")],
        "lm.norm_eps": [float("nan"), -1],
        "lm.kinds": ["X" * 4, "T" * 10**6, "TM"],
        "lm.mixer": [{"conv_kernel": 10**9}, {"gate": -1}, {"x": 1}, []],
        "lm.durations": [[float("inf")] * 59, [-1.0] * 59, [1.0] * 3],
        "mel.sample_rate": [0, -1, 10**12],
        "mel.hop": [0, 10**9],
        "mel.n_fft": [0, 10**9],
        "hift.upsample_rates": [[8, 5, 10**6], [], [0, 0, 0]],
        "hift.upsample_kernels": [[16], [10**9] * 3],
        "flow.steps": [0, 10**9],
        "flow.temperature": [float("nan"), -1],
        "flow.encoder.blocks": [0, 10**9],
        "flow.estimator.channels": [0, 10**9],
        "top_p": [2, -1, float("nan")],
        "top_k": [-1, 10**12],
        "temperature": [float("inf"), -1],
        "hop_tokens": [0, 10**12],
    }
    for keys, values in sizes.items():
        for number, value in enumerate(values):
            yield speak(f"config {keys} {number}", changed(model, keys, value))


def jsons(model: Path, published: Path) -> Iterator[Case]:
    long = json.dumps({"format_version": 1, "family": "cosyvoice2", "config": {"k" * 10**6: 1}})
    value = json.dumps({"format_version": 1, "family": "x" * 5 * 10**6, "config": {}})
    for what, data in {
        "deep": DEEP,
        "deep maps": '{"a":' * 100_000,
        "long key": long,
        "long value": value,
        "list": "[]",
        "number": "5",
        "half": '{"format_version": 1, "fam',
        "nan": '{"format_version": NaN}',
        "digits": '{"format_version": ' + "9" * 10_000 + "}",
        "true": '{"format_version": true, "family": "cosyvoice2", "config": {}}',
        "nul": "\0" * 1000,
        "latin": "\xfc",
        "empty": "",
    }.items():
        raw = data.encode("latin-1")
        yield speak(f"config.json {what}", with_file(model, "config.json", raw))
        if what not in ("list", "true", "nan", "long key", "long value"):
            yield speak(f"mamtra.json {what}", with_file(model, "mamtra.json", raw))
            yield speak(f"symbols.json {what}", with_file(model, "symbols.json", raw))
        inner = "CosyVoice-BlankEN/config.json"
        yield Case(
            name=f"qwen {what}",
            make=with_file(published, inner, raw),
            args=("convert", "m", *CONVERT),
        )


def tensors(model: Path) -> Iterator[Case]:
    def header(text: str) -> bytes:
        raw = text.encode()
        return struct.pack("<Q", len(raw)) + raw + bytes(8)

    def pipe(folder: Path) -> None:
        shutil.copytree(model, folder / "m")
        (folder / "m" / "lm.safetensors").unlink()
        os.mkfifo(folder / "m" / "lm.safetensors")

    axes = json.dumps({"a": {"dtype": "F32", "shape": [2**40] * 100_000, "data_offsets": [0, 8]}})
    minus = json.dumps({"a": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}})
    for what, data in {
        "deep": header(DEEP),
        "axes": header(axes),
        "minus": header(minus),
        "metadata": header('{"__metadata__": {"format_version": 1}}'),
        "metadata list": header('{"__metadata__": [1]}'),
        "no offsets": header('{"a": {"dtype": "F32", "shape": [2]}}'),
        "offsets": header('{"a": {"dtype": "F32", "shape": [2], "data_offsets": ["0", 8]}}'),
        "long length": struct.pack("<Q", 1 << 62) + b"{}",
        "short": b"\1",
        "empty": b"",
        "pickle": pickle.dumps({"a": Call()}),
    }.items():
        yield speak(f"weights {what}", with_file(model, "lm.safetensors", data))
    yield speak("weights pipe", pipe)
    yield speak(
        "lexicon of 1 GB",
        lambda folder: with_file(model, "lexicon.txt.xz", swollen(1 << 30))(folder),
    )


def archives(published: Path) -> Iterator[Case]:
    def packed(size: int, stored: bool = False) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            shutil.copytree(published, folder / "m")
            kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            (folder / "m" / "llm.pt").unlink()
            with zipfile.ZipFile(folder / "m" / "llm.pt", "w", kind) as archive:
                with archive.open("archive/data.pkl", "w", force_zip64=True) as file:
                    file.write(b"\x80\x02")
                    for _ in range(size >> 20):
                        file.write(b"N0" * (1 << 19))
                    file.write(b"N.")
                archive.writestr("archive/version", "3")

        return make

    def saved(value: object) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            shutil.copytree(published, folder / "m")
            torch.save(value, folder / "m" / "llm.pt")

        return make

    run = ("convert", "m", *CONVERT)
    yield Case(name="pt packed 1 GB", make=packed(1 << 30), args=run)
    yield Case(name="pt table of 80 MB", make=packed(80 << 20, stored=True), args=run)
    yield Case(name="pt call", make=saved({"a": torch.ones(1), "b": Call()}), args=run)
    yield Case(name="pt list", make=saved([1, 2]), args=run)
    yield Case(name="pt empty", make=saved({}), args=run)
    for number, raw in enumerate(
        (
            b"\x80\x02(NNu.",
            b"\x80\x02t.",
            b"\x80\x02)R.",
            b"\x80\x02NQ.",
            b"",
            b"PK\3\4",
            b"cos\nsystem\n.",
        )
    ):
        yield Case(name=f"pt pickle {number}", make=with_file(published, "llm.pt", raw), args=run)


def yamls(published: Path) -> Iterator[Case]:
    nine = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    nine += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    for what, text in {
        "anchors": "\n".join([*nine, "hift:", "  upsample_rates: *a9", "llm: {}", "flow: {}"]),
        "deep": "[" * 20_000,
        "deep maps": "\n".join(" " * i + "a:" for i in range(3000)),
        "references": "llm: {}\nflow: {}\nhift: {}\n"
        + "\n".join(f"r{i}: !ref {' * '.join([f'<r{i + 1}>'] * 9)}" for i in range(9))
        + "\nr9: 9\nfeat_extractor:\n  hop_size: !ref <r0>\n",
        "call": "llm: !!python/object/apply:os.mkdir ['pwned']\nflow: {}\nhift: {}\n",
        "sections": "llm: 1\nflow: 2\nhift: 3\n",
        "layers": "llm: {speech_token_size: 99999999999999}\nflow: {}\nhift: {}\n",
    }.items():
        make = with_file(published, "cosyvoice2.yaml", text.encode())
        yield Case(name=f"yaml {what}", make=make, args=("convert", "m", *CONVERT))


def broken(model: Path, published: Path, chance: random.Random, rounds: int) -> Iterator[Case]:
    """Files of a model with some bytes changed, cut, doubled or filled."""
    ours = [p.relative_to(model).as_posix() for p in model.rglob("*") if p.is_file()]
    ours = [name for name in ours if not name.startswith(".") and not name.endswith(".md")]
    theirs = [p.relative_to(published).as_posix() for p in published.rglob("*") if p.is_file()]
    for number in range(rounds):
        source, names = (model, ours) if number % 2 else (published, theirs)
        name = chance.choice(names)
        data = bytearray((source / name).read_bytes())
        head = min(len(data), 4096)
        match chance.randrange(4):
            case 0:
                for _ in range(chance.randint(1, 20)):
                    data[chance.randrange(head)] = chance.randrange(256)
            case 1:
                del data[chance.randrange(len(data)) :]
            case 2:
                at = chance.randrange(head)
                data[at:at] = data[at : at + chance.randint(1, 500)]
            case 3:
                at = chance.randrange(len(data))
                data[at : at + 1000] = chance.randbytes(min(1000, len(data) - at))
        args = (
            ("synth", "Hi.", "-m", "m", "-o", "o.wav") if number % 2 else ("convert", "m", *CONVERT)
        )
        case = with_file(source, name, bytes(data))
        yield Case(name=f"random {number} {name}", make=case, args=args, may_pass=True)


def swollen(size: int) -> bytes:
    """An xz file that is small on disk and so large in memory."""
    packer = lzma.LZMACompressor(preset=0)
    piece = b"a" * (1 << 20)
    return b"".join([*(packer.compress(piece) for _ in range(size >> 20)), packer.flush()])
