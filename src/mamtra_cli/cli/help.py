"""Plain help with option headings.

Each option names its heading in `rich_help_panel`; here they become sections of Typer's plain
help. Knows nothing of the commands.
"""

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

WIDTH = 88
CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": WIDTH,
}

ARGUMENTS = "Arguments"
GENERAL = "General"
OUTPUT = "Output"


class HeadedCommand(TyperCommand):
    """A command whose help groups the options under their headings, in order of first use."""

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


def plain(text: str) -> str:
    """Return an option's help with its defaults and ranges in words."""
    text = re.sub(r"default: \((.*?)\)(?=[;\]])", r"default: \1", text)
    text = re.sub(r"\b(\S+?)<=x<=(\S+?)(?=[;\]])", r"\1 to \2", text)
    return re.sub(r"\bx>=(\S+?)(?=[;\]])", r"at least \1", text)


class OrderedGroup(TyperGroup):
    """The command list: options first, then the commands in the order of use."""
