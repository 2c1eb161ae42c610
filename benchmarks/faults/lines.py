"""Command lines put together at random, many in one fork: most end before anything is done."""

import functools
import io
import os
import random
import signal
import string
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.forks import CODES, TALK, Tally, fresh

BATCH = 100
SECONDS = 0.7  # until a line that works is interrupted, as Ctrl-C does
HUNG = 60.0
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
    told = folder / "lines.told"
    for first in range(0, count, BATCH):
        lines = [line(chance) for _ in range(min(BATCH, count - first))]
        tally = Tally(name="fuzzed command lines")
        while lines:
            home = fresh(folder, "lines")
            (home / "hello.wav").write_bytes(b"no sound")
            (home / "c.jsonl").write_text('{"text": "hi"}\n')
            told.write_text("")
            child = os.fork()
            if not child:
                run_lines(lines, home, told)
            _, status = os.waitpid(child, 0)
            ends = told.read_text(errors="replace").split("\0")[:-1]
            if status:
                ends.append("died")
            for args, end in zip(lines, ends, strict=False):
                tally.add(end, str(args))
            lines = lines[len(ends) :]
        yield tally


def line(chance: random.Random) -> list[str]:
    """A command line."""
    args, command = [], commands()
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
    return [word for word in args if word not in ("--force", "--install-completion", "-o/")]


@functools.cache
def commands() -> Any:
    """The commands, made once."""
    from typer.main import get_command

    from mamtra_cli.cli.app import app

    return get_command(app)


def run_lines(lines: list[list[str]], home: Path, told: Path) -> None:
    """Be the fork that runs lines one after the other; never returns.

    It ends with a line that was interrupted, as a command does: an import that was broken off
    leaves modules that the next line would find half made.
    """
    from mamtra_cli.cli import app

    app.get_command = lambda _: commands()  # type: ignore[assignment]
    os.chdir(home)
    precious = {path: path.read_bytes() for path in home.iterdir()}
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    with open(told, "w") as file:
        for args in lines:
            found, interrupted = outcome(app.run, args)
            lost = [path.name for path, data in precious.items() if not _same(path, data)]
            file.write((f"lost {lost[0]}" if lost else found) + "\0")
            file.flush()
            if lost or interrupted:
                break
    os._exit(0)


def _same(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def outcome(run: Any, args: list[str]) -> tuple[str, bool]:
    """What is wrong with the end of a line, "" for nothing; and whether it was interrupted."""
    rung: list[int] = []

    def ring(number: int, frame: object) -> None:
        rung.append(number)
        signal.raise_signal(signal.SIGINT)

    said = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="replace", write_through=True)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stderr = said
    signal.signal(signal.SIGALRM, ring)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, HUNG)
    try:
        code = run(args)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        return "traceback " + traceback.format_exc()[-200:].replace("\0", ""), bool(rung)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    text = said.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]
    return wrong(code, text, verbose="-v" in args or "--verbose" in args), bool(rung)


def wrong(code: int, text: str, *, verbose: bool) -> str:
    """What is wrong with an exit code and what was said; "" for nothing."""
    if "bug in mamtra" in text or (not verbose and "Traceback" in text):
        return "traceback " + text[-200:].replace("\0", "")
    if code and len(text) > TALK and not verbose:
        return "long message"
    return "" if code in CODES else f"exit code {code}"
