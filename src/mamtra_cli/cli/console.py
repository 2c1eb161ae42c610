"""What the user sees: the result on stdout, talk on stderr, errors in two lines, exit codes.

The one place that prints. A command opens a `Console`, hands its `report` to a task and the
task's result to `result`; every way out (stated failure, interruption, closed pipe, surprise)
ends in `__exit__`. Exit codes: 0 done, 1 failed for a stated reason, 2 wrong command line,
3 missed a limit the user set, 130 interrupted, 141 nobody reads stdout any more (in no words, as
other programs of a pipe).
"""

import errno
import json
import logging
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from types import FrameType, TracebackType
from typing import Any, Self

import typer

from mamtra_cli import __version__
from mamtra_cli.cli.progress import Progress
from mamtra_cli.config import reason, to_dict
from mamtra_cli.errors import MamtraError, OutOfMemoryError, OutputError, UsageError
from mamtra_cli.events import Event

REPORT = "this is a bug in mamtra: please report it with the lines above"
INTERRUPTED = 130
UNREAD = 141  # as a shell tells of a program that SIGPIPE ended: 128 + 13
LONGEST = 1200  # characters of a message
ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a batch system, a terminal that is closed


class Console:
    """The terminal of one command.

    Args:
        command: its name, repeated in the JSON result.
        as_json: one JSON object on stdout instead of words.
        quiet: only errors on stderr.
        verbose: debug messages and tracebacks on stderr.
    """

    def __init__(
        self,
        command: str,
        *,
        as_json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        self.command = command
        self.as_json = as_json
        self.verbose = verbose
        self.handled: dict[signal.Signals, Any] = {}
        self.interrupted = False
        self.progress = Progress(show=not (quiet or as_json), warn=not quiet)
        if not self.progress.live:
            # The hub client draws its own bars; it reads this when it is first imported.
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    @classmethod
    def of(cls, ctx: typer.Context) -> Self:
        """Return the console that the options of a running command ask for."""
        params = ctx.params
        return cls(
            ctx.command_path.partition(" ")[2] or str(ctx.info_name),
            as_json=bool(params.get("json")),
            quiet=bool(params.get("quiet")),
            verbose=bool(params.get("verbose")),
        )

    def report(self, event: Event) -> None:
        """Show what a task reports."""
        self.progress.show_event(event)

    def result(self, result: Any, lines: Iterable[str] = ()) -> None:
        """Print the result: `lines` for people, the fields of `result` for programs."""
        self.progress.close()
        if self.as_json:
            fields = to_dict(result)
            write_line(dump({"mamtra": __version__, "command": self.command, **fields}))
        else:
            for line in lines:
                write_line(line)

    def missed(self, limit: MamtraError | None) -> None:
        """Leave where the result missed a limit; programs read it in the result."""
        if limit is not None:
            raise typer.Exit(limit.exit_code) if self.as_json else limit

    def __enter__(self) -> Self:
        if self.verbose:
            logging.basicConfig(
                level=logging.DEBUG, stream=sys.stderr, format="%(name)s: %(message)s"
            )
        if threading.current_thread() is threading.main_thread():
            for name in ENDINGS:
                number = getattr(signal, name, None)
                before = None if number is None else signal.getsignal(number)
                # One that is ignored (`nohup`) or in other hands stays as it is.
                if number and before in (signal.SIG_DFL, signal.default_int_handler):
                    self.handled[number] = signal.signal(number, self.interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.close()
        for number, before in self.handled.items():
            signal.signal(number, before)
        if error is None or isinstance(error, typer.Exit | SystemExit):
            return
        raise typer.Exit(self.fail(error)) from None

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Let a signal end the process like Ctrl-C: what is half-written is removed."""
        self.interrupted = True
        raise KeyboardInterrupt

    def fail(self, error: BaseException) -> int:
        """Show an error and return the exit code."""
        if self.interrupted and not isinstance(error, MamtraError):
            error = KeyboardInterrupt()  # code that is not Python's may raise something else for it
        if isinstance(error, BrokenPipeError):
            silence_stdout()
            return UNREAD
        known = recognise(error)
        if self.verbose or known is None:
            sys.stderr.write("".join(traceback.format_exception(error)))
        if known is None:
            if self.as_json:
                said = shortened(f"{type(error).__name__}: {error}")
                fields = {"error": said, "code": "bug"}
                write_line(dump({**fields, "hint": REPORT}))
            sys.stderr.write(f"{REPORT}\n")
            return 1
        show_error(known.message, known.hint, known.code, as_json=self.as_json)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else known.exit_code


def recognise(error: BaseException) -> MamtraError | None:
    """Return the stated failure that an exception is, or None for a surprise."""
    if isinstance(error, MamtraError):
        return error
    if isinstance(error, KeyboardInterrupt):
        stopped = MamtraError("interrupted")
        stopped.code = "interrupted"
        return stopped
    no_room = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError) or no_room:
        first = str(error).strip().split(". ")[0].partition("DefaultCPUAllocator: ")[2]
        first = first or str(error).strip().split(". ")[0] or "no memory left"
        return OutOfMemoryError(
            f"out of memory: {first[:1].lower()}{first[1:]}",
            "try a shorter text, `--dtype bfloat16`, or `--device cpu`",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return UsageError(f"`{error.filename}` is no path: {reason(error)}", "check what was named")
    if isinstance(error, ValueError) and str(error).startswith("embedded null"):
        return UsageError("a path holds a NUL character", "check what was named")
    return None


def show_error(message: str, hint: str | None, code: str, *, as_json: bool) -> None:
    """Print a failure: one JSON object on stdout, or `error:` and `hint:` on stderr.

    What a file or a hub put into it is shown as far as it helps: the start and the end.
    """
    message, hint = shortened(message), shortened(hint) if hint else hint
    if as_json:
        try:
            write_line(dump({"error": message, "code": code, "hint": hint}))
            return
        except OutputError:
            pass  # no room for the object: say it in words
    sys.stderr.write(f"{paint('error:', '31')} {message}\n")
    if hint:
        sys.stderr.write(f"{paint('hint:', '36')} {hint}\n")


def shortened(text: str) -> str:
    """Return a text of a message without its middle where it is longer than any is meant to be."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


def paint(text: str, colour: str) -> str:
    """Return text in an ANSI colour where stderr is a terminal that wants it."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def dump(fields: Mapping[str, Any]) -> str:
    """Return one JSON object on one line; a number that is not finite becomes null."""
    return json.dumps(_finite(fields), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def write_line(text: str) -> None:
    """Write a line of the result to stdout at once, so that a closed pipe shows here.

    Raises:
        BrokenPipeError: nobody reads it any more.
        OutputError: the disk is full, or the like.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> OutputError:
    """Return the stated failure of a stdout that takes nothing."""
    return OutputError(
        f"cannot write the result to stdout: {reason(error)}", "send it somewhere with space"
    )


def silence_stdout() -> None:
    """Send what is still buffered nowhere: the reader of the pipe is gone."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):
        return


def size(count: float) -> str:
    """Return a number of bytes in words: `812 B`, `12.3 kB`, `2.02 GB`."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.2f} GB"


def amount(count: float) -> str:
    """Return a large count in words: `812`, `4.7M`, `505.8M`."""
    if count < 10_000:
        return f"{count:.0f}"
    if count < 1_000_000:
        return f"{count / 1e3:.1f}k"
    return f"{count / 1e6:.1f}M" if count < 1e9 else f"{count / 1e9:.2f}B"


def facts(rows: Mapping[str, str]) -> list[str]:
    """Return `  name  value` lines with the values in one column."""
    width = max(map(len, rows), default=0)
    return [f"  {name:<{width}}  {value}" for name, value in rows.items()]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], left: int = 1) -> list[str]:
    """Return a plain table: the first `left` columns to the left, numbers to the right."""
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
