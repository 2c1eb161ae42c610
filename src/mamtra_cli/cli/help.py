"""Plain help with option headings, and options that are converted only where there is need.

Each option names its heading in `rich_help_panel`; here they become sections of Typer's plain
help. Knows nothing of the commands.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

WIDTH = 88
CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": WIDTH,
}

ARGUMENTS = "Arguments"
GENERAL = "General"


class HeadedCommand(TyperCommand):
    """A command whose help groups the options under their headings, in order of first use."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        spare(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section a heading; `General` closes."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            name, text = record[0], plain(record[1])
            if param.param_type_name == "argument":
                sections.setdefault(ARGUMENTS, []).append((name.split(" ")[0], text))
            else:
                heading = getattr(param, "rich_help_panel", None) or GENERAL
                sections.setdefault(heading, []).append((name, text))
        for heading in sorted(sections, key=lambda name: name == GENERAL):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


def spare(params: Iterable[Any]) -> None:
    """Keep Typer's converter from parameters for which it has nothing to do.

    To make one imports pydantic, 0.1 s of a short `synth`; but what was not given stays the
    default that it is, and so does a text.
    """
    for param in params:
        if not param.required and "process_value" not in vars(param):
            param.process_value = partial(_processed, param, param.process_value)


def _processed(param: Any, convert: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    source = ctx.get_parameter_source(param.name)
    kind = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    untouched = source is not None and source.name == "DEFAULT"
    if not untouched and not (kind is str and isinstance(value, str)):
        return convert(ctx, value)
    return value if param.callback is None else param.callback(ctx, param, value)


def plain(text: str) -> str:
    """Return an option's help with its defaults and ranges in words."""
    text = re.sub(r"default: \((.*?)\)(?=[;\]])", r"default: \1", text)
    text = re.sub(r"\b(\S+?)<=x<=(\S+?)(?=[;\]])", r"\1 to \2", text)
    return re.sub(r"\bx>=(\S+?)(?=[;\]])", r"at least \1", text)


class OrderedGroup(TyperGroup):
    """The command list: options first, then the commands in the order of use."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line up to the name of a command."""
        spare(self.get_params(ctx))
        return super().parse_args(ctx, args)
