"""What the container would run runs: the image itself is built only where a builder is."""

import ast
import json
import tomllib
from pathlib import Path

import pytest

from mamtra_cli.cli.app import run

ROOT = Path(__file__).parents[2]
STEPS = (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()


def step(name: str) -> str:
    return next(line.removeprefix(name).strip() for line in STEPS if line.startswith(name))


def test_what_is_copied_is_there() -> None:
    copied = [line.split()[1:-1] for line in STEPS if line.startswith("COPY")]
    assert all((ROOT / name).exists() for names in copied for name in names)


def test_its_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert step("ARG EXTRAS=") in extras


def test_its_command_wants_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(step("ENTRYPOINT")) == ["mamtra"]
    assert run(json.loads(step("CMD"))) == 2
    assert "MAMTRA_SERVE_KEY" in capsys.readouterr().err


def test_its_health_check_is_a_program() -> None:
    program = json.loads(step("HEALTHCHECK CMD"))
    assert program[:2] == ["python", "-c"]
    ast.parse(program[2])
    assert f":{step('EXPOSE')}/healthz" in program[2]
