"""Command lines put together at random."""

import random
import string
from collections.abc import Iterator
from pathlib import Path

from faults.forks import PRECIOUS, Tally, fresh, mamtra

WORDS = (
    "mini student /nowhere . .. ~ / -1 0 1 2 1:3 9:1 1e9 1e400 nan inf -inf 99999999999999999999 "
    "x "
    + "a"
    * 300
    + " 日本語 \u202e é \x01 '' hello.wav c.jsonl m@../.. org/name@v1 --force --json "
    "-n -q -v -h --help out.mp3 - T=0,1 auto:swap T=99 pattern:TM preset:x 5GB int8 float64 cuda "
    "cpu mps 0.5 1.5 16000 7 whisper:x command:true none full"
).split(" ")


def fuzzed(count: int, chance: random.Random, folder: Path) -> Iterator[Tally]:
    """Command lines put together at random, from options that exist and words that may not fit."""
    from typer.main import get_command

    from mamtra_cli.cli.app import app

    lines = Tally(name="fuzzed command lines")
    root = get_command(app)
    home = fresh(folder, "lines")
    (home / "hello.wav").write_bytes(b"no sound")
    (home / "c.jsonl").write_text('{"text": "hi"}\n')
    before = {name: (home / name).read_bytes() for name in (PRECIOUS, "hello.wav", "c.jsonl")}
    for _ in range(count):
        args, command = [], root
        while getattr(command, "commands", None):
            name = chance.choice(sorted(command.commands))
            args.append(name)
            command = command.commands[name]
        options = [opt for param in command.params for opt in param.opts if opt.startswith("-")]
        for _ in range(chance.randrange(7)):
            word = chance.choice(WORDS)
            if chance.random() < 0.15:
                word = "".join(chance.choice(string.printable) for _ in range(chance.randrange(12)))
            args += [chance.choice(options), word] if chance.random() < 0.7 else [word]
        args = [word for word in args if word not in ("--force", "--install-completion", "-o/")]
        ran = mamtra(args, home, limit=3.0)
        wrong = ran.fault
        changed = [name for name, data in before.items() if (home / name).read_bytes() != data]
        if changed:
            wrong = f"lost {changed[0]}"
            home = fresh(folder, "lines")
            for name, data in before.items():
                (home / name).write_bytes(data)
        lines.add(wrong, f"{args}: {ran.said[-300:]}")
    yield lines
