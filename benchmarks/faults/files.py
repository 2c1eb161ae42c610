"""Files that mean harm, or are merely broken: each is a folder to make and a command to run on it.

Sizes that no model has, JSON and YAML that unfold, archives and sound that swell, pickles that
call, names that lead away, pipes where files should be. A case writes into a folder of its own; its
command must end with a stated error, quickly, in little memory, and without running anything.
"""

import gzip
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from faults import model_files as models
from faults.forks import Tally, fresh, mamtra
from faults.model_files import DEEP, Case

MEMORY = 1 << 30  # bytes by which a refusal may grow
MADE, BROKEN = "hostile files", "files broken at random"
ROUND = 50  # broken files of a tally


def cases(model: Path, published: Path, seed: int = 0, rounds: int = 0) -> Iterator[Case]:
    """Every case.

    Args:
        model: a folder of ours that is whole.
        published: one in the published layout.
        seed, rounds: of files that are broken at random, beside the made ones.
    """
    yield from models.configs(model)
    yield from models.jsons(model, published)
    yield from models.tensors(model)
    yield from models.archives(published)
    yield from models.yamls(published)
    yield from voices(model)
    yield from sounds()
    yield from data()
    yield from recipes()
    yield from models.broken(model, published, random.Random(seed), rounds)


def voices(model: Path) -> Iterator[Case]:
    def file(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            shutil.copytree(model, folder / "m")
            save_file(tensors, folder / "v.safetensors", facts)

        return make

    def prompt(frames: int, bins: int, token: int = 1) -> dict[str, torch.Tensor]:
        return {
            "embedding": torch.ones(192),
            "prompt_tokens": torch.full((50,), token),
            "prompt_mel": torch.zeros(frames, bins),
            "prompt_text_ids": torch.ones(5, dtype=torch.long),
        }

    said = {"format_version": "1", "voice": DEEP}
    for what, tensors, facts in (
        ("short mel", prompt(3, 80), {}),
        ("narrow mel", prompt(100, 7), {}),
        ("token", prompt(100, 80, 10**9), {}),
        ("minus", prompt(100, 80, -5), {}),
        ("embedding", {"embedding": torch.ones(7)}, {}),
        ("square", {"embedding": torch.ones(2, 96)}, {}),
        ("nan", {"embedding": torch.full((192,), float("nan"))}, {}),
        ("facts", {"embedding": torch.ones(192)}, said),
        ("version", {"embedding": torch.ones(192)}, {"format_version": "x"}),
    ):
        args = ("synth", "Hi.", "-m", "m", "--voice", "./v.safetensors", "-o", "o.wav")
        yield Case(name=f"voice {what}", make=file(tensors, facts), args=args)


def sounds() -> Iterator[Case]:
    def silence(hours: float) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            path = folder / "c.flac"
            with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
                for _ in range(int(hours * 60)):
                    file.write(np.zeros(60 * 8000, np.float32))

        return make

    def raw(data: bytes) -> Callable[[Path], None]:
        return lambda folder: (folder / "c.flac").write_bytes(data) and None

    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        2**32 - 1,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        2**31,
        2**31,
        2,
        16,
        b"data",
        2**32 - 1,
    )
    add = ("voice", "add", "z", "c.flac", "--consent", "mine", "--text", "Hi.", "--voices", "v")
    for what, make in {
        "6 hours": silence(6),
        "header": raw(header),
        "empty": raw(b""),
        "text": raw(b"fLaC" + b"x" * 1000),
    }.items():
        yield Case(name=f"clip {what}", make=make, args=add)


def data() -> Iterator[Case]:
    def text(name: str, data: bytes) -> Callable[[Path], None]:
        return lambda folder: (folder / name).write_bytes(data) and None

    def unfolding(folder: Path) -> None:
        with gzip.open(folder / "c.jsonl.gz", "wb", 1) as file:
            for _ in range(1024):
                file.write(b"x" * (1 << 20))

    prepare = ("prepare", "c.jsonl", "-o", "p")
    for what, data in {
        "deep": DEEP,
        "start": '{"audio": "a.wav", "text": "hi", "start": ' + "9" * 400 + "}",
        "nan": '{"audio": "a.wav", "text": "hi", "start": NaN}',
        "list": "[1]",
        "away": '{"audio": "/etc/passwd", "text": "hi"}',
    }.items():
        yield Case(name=f"corpus {what}", make=text("c.jsonl", data.encode()), args=prepare)
    yield Case(name="corpus swollen", make=unfolding, args=("prepare", "c.jsonl.gz", "-o", "p"))
    for what, raw in {"deep": DEEP.encode(), "bytes": b"\xff" * 100, "empty": b""}.items():
        distill = ("distill", "mini", "--teacher", "mini", "--data", "d.jsonl", "-o", "never")
        yield Case(name=f"lessons {what}", make=text("d.jsonl", raw), args=distill)
    speak = ("synth", "-i", "t.txt", "-m", "mini", "-o", "o.wav")
    yield Case(name="text nul", make=text("t.txt", b"\0" * 1000), args=speak)
    yield Case(name="text zero", make=lambda folder: None, args=("synth", "-i", "/dev/zero"))


def recipes() -> Iterator[Case]:
    for what, name, data in (
        ("preset list", "r.toml", "preset = [1]"),
        ("preset table", "r.toml", "preset = {a = 1}"),
        ("deep json", "r.json", DEEP),
        ("deep toml", "r.toml", "a = " + "[" * 20_000),
        ("nan", "r.toml", "lr = nan"),
        ("steps", "r.toml", "steps = -1"),
        ("unknown", "r.toml", "x" * 100_000 + " = 1"),
        ("long", "r.toml", 'student = "' + "x" * 10**6 + '"'),
        ("types", "r.json", '{"student": 5}'),
        ("list", "r.json", "[]"),
    ):

        def make(folder: Path, name: str = name, data: str = data) -> None:
            (folder / name).write_text(data)

        yield Case(name=f"recipe {what}", make=make, args=("distill", "-c", name, "-o", "never"))

    def code(folder: Path) -> None:
        (folder / "r.toml").write_text('model = "mini"\nsentences = 1\nasr = "command:mkdir pwned"')

    yield Case(name="recipe program", make=code, args=("eval", "-c", "r.toml"))


def hostile(
    model: Path, published: Path, rounds: int, seed: int, folder: Path, *, made: bool = True
) -> Iterator[Tally]:
    """Files that mean harm (unless not `made`), and files that are broken at random.

    Tallies come in small rounds, so that what was tried is known however the campaign ends.
    """
    tallies = {name: Tally(name=name) for name in (MADE, BROKEN)}
    for case in cases(model, published, seed, rounds):
        name = BROKEN if case.name.startswith("random") else MADE
        if name == MADE and not made:
            continue
        home = fresh(folder, "hostile")
        case.make(home)
        ran = mamtra(case.args, home)
        wrong = ran.fault
        if not wrong and ran.hung:
            wrong = "hung"
        if not wrong and not case.may_pass and ran.code == 0:
            wrong = "accepted"
        if not wrong and ran.grown > MEMORY:
            wrong = f"took {ran.grown >> 20} MB"
        if (home / "pwned").exists():
            wrong = "ran code"
        tallies[name].add(wrong, f"{case.name}: {ran.said[-400:]}")
        if name == BROKEN and tallies[name].tried == ROUND:
            yield tallies[name]
            tallies[name] = Tally(name=name)
        elif name == BROKEN and tallies[MADE].tried:
            yield tallies[MADE]
            tallies[MADE] = Tally(name=MADE)
    yield from (tally for tally in tallies.values() if tally.tried)
