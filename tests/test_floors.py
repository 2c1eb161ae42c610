"""The import contracts of pyproject.toml hold."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "mamtra_cli"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def test_import_contracts_hold() -> None:
    pytest.importorskip("importlinter")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_family_and_codec_is_out_of_bounds_for_what_is_above() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    name = "nothing above families names a family, or a codec"
    told = next(one for one in contracts["contracts"] if one["name"] == name)["forbidden_modules"]
    found = [
        f"mamtra_cli.{floor}.{path.parent.name}"
        for floor in ("families", "codecs")
        for path in sorted((SOURCE / floor).glob("*/__init__.py"))
    ]
    assert sorted(told) == sorted(found)


def test_no_code_above_families_says_the_name_of_one() -> None:
    """Help texts may show one as an example; a name, a string or a default may not."""
    words = {
        path.parent.name.rstrip("0123456789")
        for floor in ("families", "codecs")
        for path in (SOURCE / floor).glob("*/__init__.py")
    }
    pattern = re.compile(rf"(?<![a-z])({'|'.join(words)})", re.IGNORECASE)
    for floor in ("engine", "serving", "tasks", "cli"):
        for path in (SOURCE / floor).rglob("*.py"):
            code = ast.parse(path.read_text())
            for node in ast.walk(code):
                if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
                    node.body = node.body[1:]
            assert not pattern.search(ast.unparse(code)), path


def test_rooms_and_files_keep_their_size() -> None:
    assert len([*(SOURCE / "engine").glob("[!_]*.py")]) <= 3
    long = [path for path in SOURCE.rglob("*.py") if path.read_text().count("\n") > 400]
    assert long == []


def test_tests_lie_where_their_sources_do() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in ROOT.glob("tests/**/test_*.py")}
    own = {"benchmarks", "docs", "examples"}  # of what is outside the package
    homes = {one: (ROOT if set(one.parts[:1]) & own else SOURCE) / one for one in folders}
    lost = [one for one, home in homes.items() if not home.is_dir()]
    assert lost == []


def test_floors_of_packages_admit_no_known_hole() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "audit.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_package_init_files_hold_a_docstring_only() -> None:
    # These gather the names of what is below.
    names = {SOURCE, SOURCE / "recipes", SOURCE / "backbone" / "kinds"}
    for path in SOURCE.rglob("__init__.py"):
        if path.parent in names:
            continue
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert lines[0].startswith('"""'), path
        assert lines[-1].endswith('"""'), path


@pytest.mark.parametrize("word", ["utils", "common", "misc", "manager", "helpers"])
def test_no_file_is_named_after_nothing(word: str) -> None:
    assert [path for path in SOURCE.rglob("*.py") if word in path.stem] == []


def test_every_module_says_what_it_is() -> None:
    for path in SOURCE.rglob("*.py"):
        assert path.read_text().startswith('"""'), path
