"""The Typer app: the list of commands, and the way in and out of the process.

A command is imported when it is asked for, and its task inside its body: help, completion and usage
errors load neither the other commands nor torch. Usage errors are worded here in the house form;
everything later ends in `Console`.
"""

import gc
import itertools
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

from mamtra_cli import __version__
from mamtra_cli.cli.console import UNREAD, show_error, silence_stdout, unwritable, write_line
from mamtra_cli.cli.help import CONTEXT, HeadedCommand, OrderedGroup
from mamtra_cli.config import nearest
from mamtra_cli.errors import OutputError

COMMANDS = {
    "convert": "Replace attention layers of a teacher with Mamba-2 layers.",
    "prepare": "Turn speech, or texts the model speaks, into data for `mamtra distill`.",
    "distill": "Train a converted model to match its teacher.",
    "synth": "Speak a text.",
    "eval": "Score a model: word errors, voice, length, closeness to its teacher.",
    "profile": "Measure speed, memory and size.",
    "export": "Write a model as ONNX graphs beside its weights.",
    "push": "Upload a model and its card to the Hugging Face Hub.",
    "doctor": "Show what is installed, which device and kernels run, and why.",
    "serve": "Speak to many callers over HTTP.",
    "voice": "Copy voices from clips, and keep them as files.",
}
"""Every command and the first line of its help."""
MODULES = {"eval": "evaluate"}  # of commands whose name cannot be a module's


COLLECT_AFTER = 50_000
"""New objects before the first look for garbage: importing makes as many, which all stay."""


class Commands(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made and name in COMMANDS:
            module = MODULES.get(name, name)
            found = getattr(import_module(f"mamtra_cli.cli.{module}"), module)
            if not isinstance(found, typer.Typer):
                alone = typer.Typer(add_completion=False, rich_markup_mode=None)
                alone.command(name, cls=HeadedCommand, context_settings=CONTEXT)(found)
                found = alone
            self._made[name] = get_command(found)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Root(OrderedGroup):
    """The command list, which is shown without importing a command."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = Commands()  # type: ignore[assignment]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    name="mamtra",
    cls=Root,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


def show_version(value: bool) -> None:
    """Print the version and leave."""
    if value:
        write_line(f"mamtra {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Show the version and exit.",
            is_eager=True,
            callback=show_version,
        ),
    ] = False,
) -> None:
    """Turn a speech model into a Mamba/Transformer hybrid, and speak with it.

    A model is a local folder or a Hugging Face id: org/name or org/name@revision.

    \b
    Convert a teacher, train the student to match it, listen:
      $ mamtra convert mini --ratio 1:3 -o student
      $ mamtra distill student -o student-tuned
      $ mamtra synth "Hello there." -m student-tuned -o hello.wav
    """
    if ctx.invoked_subcommand is None:
        write_line(ctx.get_help())


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    open_missing_streams()
    start_without_looks()
    be_polite()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:  # a closed pipe, or a full disk that was told
        silence_stdout()
        code = code or (UNREAD if isinstance(error, BrokenPipeError) else 1)
    sys.exit(code)


def start_without_looks() -> None:
    """Look for garbage once `COLLECT_AFTER` objects are there, and from then on as Python does.

    What was imported by then is looked at no more. A server needs the usual looks: callers who hang
    up leave circles of tasks and tracebacks that hold sound.
    """
    usual = gc.get_threshold()

    def started(phase: str, info: Mapping[str, int]) -> None:
        del info
        if phase == "stop":
            gc.callbacks.remove(started)
            gc.freeze()
            gc.set_threshold(*usual)

    gc.callbacks.append(started)
    gc.set_threshold(COLLECT_AFTER)


def be_polite() -> None:
    """Keep threads that wait from taking the core of whoever works; the user's word counts.

    Libraries read these when they are loaded, so they are said here. numpy's products are too small
    to be shared: on a busy machine one thread took 10 % less processor time for a sentence.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def open_missing_streams() -> None:
    """Put the null device where the caller closed a standard stream (`>&-`): Python has None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def run(args: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = get_command(app)(args=args, prog_name="mamtra", standalone_mode=False)
    except (BrokenPipeError, SystemExit):  # the latter is Click's, where it wrote the help
        silence_stdout()
        return UNREAD
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except (OutputError, OSError) as error:
        # The help, or the words of an error; all that commands do ends in `Console`.
        known = error if isinstance(error, OutputError) else unwritable(error)
        show_error(known.message, known.hint, known.code, as_json=False)
        return known.exit_code
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        message, hint = usage_words(error, usage(), args)
        before = itertools.takewhile(lambda arg: arg != "--", args)
        show_error(message, hint, "usage", as_json="--json" in before)
        return 2
    return code if isinstance(code, int) else 0


def usage_words(error: Any, text: str, args: list[str]) -> tuple[str, str]:
    """Return a usage error in the house form: fact and hint, literals in backticks."""
    known = list(getattr(error, "possibilities", None) or [])
    text = text.partition(" (Possible options:")[0]
    text, _, more = text.partition(". Did you mean ")
    known += re.findall(r"'([^']*)'", more)
    word = str(getattr(error, "option_name", "") or (args or [""])[0])
    text = re.sub(r"'([^']*)'", r"`\1`", text).rstrip(".")
    text = re.sub(r"option: (\S+)$", r"option `\1`", text)
    text = re.sub(r": Input (.*?), unable .*$", r": input \1", text)
    fact = text[:1].lower() + text[1:]
    if known:
        return fact, f"did you mean `{nearest(word, known) or known[0]}`?"
    if args[:1] == ["synth"] and any(is_text(arg) for arg in args if arg.startswith(word)):
        return fact, "put `--` before a text that begins with `-`: mamtra synth -o FILE -- TEXT"
    command = " ".join(["mamtra", *(arg for arg in args[:1] if arg in COMMANDS)])
    return fact, f"see `{command} --help`"


def is_text(arg: str) -> bool:
    """Whether an argument that was taken for an option is rather something to say."""
    return arg.startswith("-") and (" " in arg or not arg.strip("-")[:1].isalpha())
