"""Commands that write, killed, starved, without space, and six at once.

After each, what was there before must be there still, and what has a name must be whole.
"""

import os
import random
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faults.forks import (
    PRECIOUS,
    QUICK,
    Ran,
    Tally,
    digest,
    fresh,
    leftovers,
    mamtra,
    start,
    touches,
)

ALONE = 25  # one kill of so many is of a process of its own
ROUND = 5  # kills of a command before the next one's turn

SAID = "hello there my good old friends, how are you all today"  # in the clips


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A command that writes.

    Attributes:
        name: of the command and what it meets.
        args: its command line.
        target: what it writes; alike whenever it ends well, unless `timed`.
        old: made before, and replaced by it.
        timed: what it writes tells of the time, so that no two are alike.
        again: how to go on after a kill; None runs the same line.
    """

    name: str
    args: list[str]
    target: str
    old: bool = False
    timed: bool = False
    again: list[str] | None = None


def writers(model: Path, data: Path, clips: Path) -> list[Writer]:
    """Every command that writes, without and with something to replace."""
    convert = ["convert", str(model), "--ratio", "1:1", *QUICK, "-o", "out"]
    speak = ["synth", "Hello there.", "-m", str(model), "--retries", "20"]
    distill = ["distill", str(data / "student"), "--teacher", str(model), "--steps", "6"]
    distill += ["--data", str(data / "pairs.jsonl"), "--batch-tokens", "60", "--save-every", "2"]
    distill += ["--no-report", "--no-plot", "--check-tokens", "0", "--device", "cpu", "-o", "out"]
    prepare = ["prepare", str(clips), "-m", str(model), "-o", "out", "--no-plot"]
    voice = ["voice", "add", "zoe", str(clips / "a.wav"), "-m", str(model), "--consent", "mine"]
    voice += ["--text", SAID, "--voices", "out"]
    return [
        Writer(name="convert", args=convert, target="out"),
        Writer(name="convert --force", args=[*convert, "--force"], target="out", old=True),
        Writer(name="synth wav", args=[*speak, "-o", "out.wav"], target="out.wav"),
        Writer(
            name="synth mp3 --force",
            args=[*speak, "-o", "out.mp3", "--force"],
            target="out.mp3",
            old=True,
        ),
        Writer(
            name="distill",
            args=distill,
            target="out",
            again=["distill", "--resume", "out.run", "--device", "cpu"],
        ),
        Writer(name="prepare", args=prepare, target="out", timed=True),
        Writer(name="voice add", args=voice, target="out", timed=True),
    ]


def kills(found: list[Writer], count: int, chance: random.Random, folder: Path) -> Iterator[Tally]:
    """Kill each command, look, and let it end.

    Half of the kills come after a random time, half where it is about to change a file; tallies
    come in small rounds, so that what was tried is known however the campaign ends.
    """
    plain: dict[str, tuple[Ran, str, int]] = {}
    for number in range(count):
        writer = found[number // ROUND % len(found)]
        if writer.name not in plain:
            home = fresh(folder, "plain")
            ran = mamtra(writer.args, home, limit=120)
            new = digest(home / writer.target)
            plain[writer.name] = ran, new, touches(writer.args, fresh(folder, "counted"))
        if number % ROUND == 0:
            tally = Tally(name=f"kill -9: {writer.name}")
        first, new, moments = plain[writer.name]
        if first.code:
            tally.add("does not run", first.said[-200:])
        else:
            tally.add(*killed(writer, first.seconds, new, moments, number, chance, folder))
        if number % ROUND == ROUND - 1 or number == count - 1:
            yield tally


def killed(
    writer: Writer,
    seconds: float,
    new: str,
    moments: int,
    number: int,
    chance: random.Random,
    folder: Path,
) -> tuple[str, str]:
    """Kill a command once; what is wrong then, or after its next run, and where.

    Args:
        writer: the command.
        seconds, new, moments: time, outcome and file changes of an unbroken run.
        number: of the kill.
        chance: where it comes.
        folder: to work in.
    """
    home = fresh(folder, f"kill{number}")
    before = ""
    if writer.old:
        make_old(home / writer.target)
        before = digest(home / writer.target)
    if number % ALONE == ALONE - 1:
        mamtra(writer.args, home, kill_after=chance.uniform(0, 3 + 2 * seconds), alone=True)
    elif number % 2:
        mamtra(writer.args, home, kill_at=chance.randint(1, moments), limit=120)
    else:
        mamtra(writer.args, home, kill_after=chance.uniform(0, 1.1 * seconds))
    wrong, where = after_kill(writer, home, before, new)
    end = finish(writer, home)
    if not wrong and end.code:
        wrong, where = "does not end after it", end.said[-200:]
    left = leftovers(home)
    if not wrong and left:
        wrong, where = "leftovers", ", ".join(left)
    if not wrong and not writer.timed and digest(home / writer.target) != new:
        wrong, where = "ends in other bytes", writer.name
    if (home / PRECIOUS).read_text() != "mine":
        wrong, where = "lost", PRECIOUS
    shutil.rmtree(home)
    return wrong, where


def finish(writer: Writer, home: Path) -> Ran:
    """Run a killed command again until it has ended well, as a user would."""
    if (home / writer.target).exists() and not writer.old and not writer.timed:
        if (home / "out.run").exists():
            shutil.rmtree(home / "out.run")
        return Ran(code=0, said="", seconds=0, grown=0, hung=False)
    if writer.again and (home / "out.run" / "run.json").is_file():
        end = mamtra(writer.again, home, limit=120)
        if not end.code:
            return end
    extra = [] if writer.old else ["--force"]
    return mamtra([*writer.args, *extra], home, limit=120)


def after_kill(writer: Writer, home: Path, before: str, new: str) -> tuple[str, str]:
    """What is wrong with what a killed command left under its name."""
    there = digest(home / writer.target)
    if writer.old and not there:
        return "lost", f"{writer.name}: neither old nor new"
    if there in (before, new, ""):
        return "", ""
    if writer.timed:
        bad = [p for p in (home / writer.target).glob("*.parquet") if not whole_parquet(p)]
        return ("half-written", str(bad[0])) if bad else ("", "")
    return "half-written", f"{writer.name}: {sorted(os.listdir(home))}"


def whole_parquet(path: Path) -> bool:
    """Whether a shard can be read to its end."""
    from mamtra_cli.engine.preparing.shards import read_rows
    from mamtra_cli.errors import MamtraError

    try:
        return bool(list(read_rows(path)))
    except MamtraError:
        return False


def make_old(target: Path) -> None:
    """What a command is to replace: a folder that mamtra wrote, or a file."""
    from mamtra_cli.checkpoint import FolderWriter

    if target.suffix:
        target.write_bytes(b"old sound")
        return
    with FolderWriter(target) as writer:
        writer.write_config("cosyvoice2", {})
        writer.write_text("README.md", "old")


def full(found: list[Writer], count: int, chance: random.Random, folder: Path) -> Iterator[Tally]:
    """Let no file grow beyond some size, as on a full disk."""
    tally = Tally(name="no space")
    for number in range(count):
        writer = chance.choice(found)
        home = fresh(folder, f"full{number}")
        before = ""
        if writer.old:
            make_old(home / writer.target)
            before = digest(home / writer.target)
        size = int(10 ** chance.uniform(1.5, 5))
        ran = mamtra(writer.args, home, limits={resource.RLIMIT_FSIZE: size}, limit=120)
        wrong = ran.fault
        if not wrong and ran.code and digest(home / writer.target) != before and not writer.timed:
            wrong = "half-written" if (home / writer.target).exists() else "lost"
        if not wrong and leftovers(home):
            wrong = "leftovers"
        tally.add(wrong, f"{writer.name} at {size} bytes: {ran.said[-300:]}")
        shutil.rmtree(home)
    yield tally


def starved(
    found: list[Writer], count: int, chance: random.Random, folder: Path
) -> Iterator[Tally]:
    """Let a command have little memory more than the interpreter has already."""
    tally = Tally(name="no memory")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    base = pages * resource.getpagesize()
    for number in range(count):
        writer = chance.choice(found)
        home = fresh(folder, f"memory{number}")
        more = int(chance.uniform(1, 200)) << 20
        ran = mamtra(writer.args, home, limits={resource.RLIMIT_AS: base + more}, limit=120)
        wrong = ran.fault
        if not wrong and leftovers(home):
            wrong = "leftovers"
        tally.add(wrong, f"{writer.name} with {more >> 20} MB: {ran.said[-300:]}")
        shutil.rmtree(home)
    yield tally


def races(found: list[Writer], count: int, folder: Path) -> Iterator[Tally]:
    """Six at once on one output."""
    tally = Tally(name="six at once")
    chosen = [writer for writer in found if not writer.old and not writer.timed]
    for number in range(count):
        writer = chosen[number % len(chosen)]
        home = fresh(folder, f"race{number}")
        children = []
        for place in range(6):
            child = os.fork()
            if not child:
                start(writer.args, home, folder / f"race{place}.said", {})
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        said = [(folder / f"race{place}.said").read_text() for place in range(6)]
        wrong = "" if sorted(codes) == [0, 1, 1, 1, 1, 1] else f"ends {sorted(codes)}"
        if any("Traceback" in text for text in said):
            wrong = "traceback"
        if not wrong and leftovers(home):
            wrong = "leftovers"
        tally.add(wrong, f"{writer.name}: {' | '.join(text[-150:] for text in said)}")
        shutil.rmtree(home)
    yield tally
