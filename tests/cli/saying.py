"""What the tests of wrong command lines share."""

import json
from pathlib import Path
from typing import Any

import pytest

from mamtra_cli.cli.app import run


def said(capsys: pytest.CaptureFixture[str], *args: str | Path) -> dict[str, Any]:
    """Run a command line that fails; return its JSON error with the exit code under `rc`."""
    rc = run([*map(str, args), "--json"])
    out = capsys.readouterr().out
    return {"rc": rc, **json.loads(out)}
