"""Files and folders appear whole or not at all, and never in place of what nobody named."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mamtra_cli import atomic, publish
from mamtra_cli.errors import OutputError
from mamtra_cli.ownership import MARK, Kind, owned, read_mark
from mamtra_cli.publish import (
    NewFolder,
    apart,
    beside,
    check_free,
    heal,
    left_behind,
    write_whole,
    written_whole,
)

KIND = Kind(name="thing", words="a thing")
OTHER = Kind(name="other", words="another thing")


def write(target: Path, text: str = "x", *, kind: Kind = KIND, force: bool = False) -> None:
    with NewFolder(target, kind=kind, force=force) as folder:
        (folder.path / "sub").mkdir()
        (folder.path / "sub" / "a").write_text(text)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARK
    }


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_mark_lists_every_file(tmp_path: Path) -> None:
    write(tmp_path / "m")
    assert read_mark(tmp_path / "m") == {"kind": "thing", "files": ["sub/a"]}


def test_force_replaces_what_we_wrote(tmp_path: Path) -> None:
    write(tmp_path / "m", "old")
    write(tmp_path / "m", "new", force=True)
    assert tree(tmp_path) == {"m/sub/a": "new"}
    assert os.listdir(tmp_path) == ["m"]


def test_force_names_what_it_did_not_write_and_leaves_everything(tmp_path: Path) -> None:
    write(tmp_path / "m", "old")
    (tmp_path / "m" / "sub" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds `sub/notes\.txt`, which mamtra did not write"):
        write(tmp_path / "m", "new", force=True)
    assert tree(tmp_path) == {"m/sub/a": "old", "m/sub/notes.txt": "mine"}


@pytest.mark.parametrize("marked", [True, False], ids=["other kind", "no mark"])
def test_force_takes_no_other_folder(tmp_path: Path, marked: bool) -> None:
    write(tmp_path / "m", "old", kind=OTHER)
    if not marked:
        (tmp_path / "m" / MARK).unlink()
    with pytest.raises(OutputError, match="is not a thing that mamtra wrote"):
        write(tmp_path / "m", "new", force=True)
    assert tree(tmp_path) == {"m/sub/a": "old"}


def test_folder_inside_with_its_own_mark_is_ours_too(tmp_path: Path) -> None:
    write(tmp_path / "m", "old")
    write(tmp_path / "m" / "report", "old", kind=OTHER)
    write(tmp_path / "m", "new", force=True)
    assert tree(tmp_path) == {"m/sub/a": "new"}


def test_mark_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    write(tmp_path / "m", "old")
    (tmp_path / "m" / MARK).write_text('{"kind": "thing", "files": ["sub/a", "../precious"]}')
    write(tmp_path / "m", "new", force=True)
    assert tree(tmp_path) == {"m/sub/a": "new", "precious": "mine"}


def write_while(target: Path, happens: Callable[[], object], *, force: bool = False) -> None:
    with NewFolder(target, kind=KIND, force=force) as folder:
        (folder.path / "a").write_text("made")
        happens()


@pytest.mark.parametrize("files", [5, "a", {"a": 1}])
def test_mark_that_lists_nothing_is_no_mark(tmp_path: Path, files: object) -> None:
    (tmp_path / MARK).write_text(json.dumps({"kind": KIND.name, "files": files}))
    assert owned(tmp_path, KIND) is None


def test_folder_filled_meanwhile_is_left_and_the_result_kept(tmp_path: Path) -> None:
    def fill() -> None:
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "notes.txt").write_text("mine")

    with pytest.raises(OutputError, match=r"is not empty.* in `.*m\.new1`") as said:
        write_while(tmp_path / "m", fill)
    assert tree(tmp_path) == {"m/notes.txt": "mine", "m.new1/a": "made"}
    assert said.value.hint


def test_leave_to_replace_is_for_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "m", "old")
    write(tmp_path / "theirs", "theirs")

    def replace() -> None:
        (tmp_path / "m").rename(tmp_path / "away")
        (tmp_path / "theirs").rename(tmp_path / "m")

    with pytest.raises(OutputError, match=r"was replaced.*m\.new1`"):
        write_while(tmp_path / "m", replace, force=True)
    assert tree(tmp_path) == {"m/sub/a": "theirs", "m.new1/a": "made", "away/sub/a": "old"}


@pytest.mark.parametrize("when", ["while it is written", "while names change"])
def test_file_added_to_the_old_folder_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    write(tmp_path / "m", "old")

    def add(*given: object) -> None:
        (tmp_path / "m" / "notes").write_text("mine")

    happens: Callable[[], object] = add
    if when == "while names change":
        monkeypatch.setattr(publish, "check_replaceable", add)
        happens = dict
        monkeypatch.setattr(publish, "check_free", lambda *given, **more: None)
    with pytest.raises(OutputError, match=r"`notes`, which.*m\.new1`"):
        write_while(tmp_path / "m", happens, force=True)
    assert tree(tmp_path) == {"m/sub/a": "old", "m/notes": "mine", "m.new1/a": "made"}


@pytest.mark.parametrize("where", ["home", "above", "current", "git", "root"])
def test_no_leave_is_enough_for_some_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    at = tmp_path / "deep" / "at"
    write(at, "old")
    target = at
    if where in ("home", "above"):
        monkeypatch.setenv("HOME", str(at))
        monkeypatch.setenv("USERPROFILE", str(at))
        target = at if where == "home" else at.parent
    elif where == "current":
        monkeypatch.chdir(at)
        target = Path()
    elif where == "git":
        (at / ".git").write_text("gitdir: elsewhere")
    else:
        target = Path(at.anchor)
    (tmp_path / "link").symlink_to(tmp_path / "deep", target_is_directory=True)
    through = [target, tmp_path / "link" / "at"] if where != "root" else [target]
    for path in through:
        with pytest.raises(OutputError, match=r"home folder|current folder|git|root|did not write"):
            check_free(path, force=True, kind=KIND)
    assert tree(at)["sub/a"] == "old"


def test_link_to_a_folder_is_no_folder(tmp_path: Path) -> None:
    write(tmp_path / "m", "old")
    (tmp_path / "link").symlink_to(tmp_path / "m", target_is_directory=True)
    with pytest.raises(OutputError, match="is not a folder"):
        check_free(tmp_path / "link", force=True, kind=KIND)


def test_leftovers_of_dead_processes_go_and_others_stay(tmp_path: Path) -> None:
    dead = dead_process()
    half = tmp_path / f".m.{dead}.partial"
    half.mkdir()
    (half / MARK).write_text('{"kind": "thing", "files": null}')
    (half / "weights").write_text("half")
    foreign = tmp_path / f".m.{dead}-{publish.HOST}.partial"
    foreign.mkdir()
    (foreign / "theirs").write_text("no mark of ours")
    for name in (f".m.{os.getppid()}.partial", f".m.{dead}-elsewhere.partial", ".m2.1.partial"):
        (tmp_path / name).write_text("at work")
    write(tmp_path / "m")
    assert sorted(os.listdir(tmp_path)) == sorted(
        [
            foreign.name,
            f".m.{os.getppid()}.partial",
            f".m.{dead}-elsewhere.partial",
            ".m2.1.partial",
            "m",
        ]
    )


def test_killed_between_two_renames_the_old_folder_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "m", "old")
    (tmp_path / "m").rename(tmp_path / f".m.{dead_process()}.old")
    heal(tmp_path / "m")
    assert tree(tmp_path) == {"m/sub/a": "old"}


@pytest.mark.parametrize("able", [True, False], ids=["exchange", "two renames"])
def test_replacing_that_fails_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    write(tmp_path / "m", "old")
    rename = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.suffix == ".partial" and target.name == "m":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    def refused(one: Path, other: Path) -> bool:
        if able:
            raise OSError(errno.EIO, "Input/output error")
        return False

    monkeypatch.setattr(Path, "rename", broken)
    monkeypatch.setattr(publish, "exchanged", refused)
    with pytest.raises(OutputError, match=r"input/output error.*m\.new1`"):
        write(tmp_path / "m", "new", force=True)
    assert tree(tmp_path) == {"m/sub/a": "old", "m.new1/sub/a": "new"}


def test_replacing_works_where_nothing_can_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "renamed", lambda *names: False)
    write(tmp_path / "m", "old")
    write(tmp_path / "m", "new", force=True)
    write_whole(tmp_path / "f", "one", replace=False)
    with pytest.raises(OutputError, match="exists"):
        write_whole(tmp_path / "f", "two", replace=False)
    assert tree(tmp_path) == {"m/sub/a": "new", "f": "one"}
    assert sorted(os.listdir(tmp_path)) == ["f", "m"]


RACE = """
import sys, time
from pathlib import Path
from mamtra_cli.errors import OutputError
from mamtra_cli.ownership import Kind
from mamtra_cli.publish import NewFolder, written_whole
target, what = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
try:
    if what == "file":
        with written_whole(target, replace=False) as path:
            path.write_text("x")
            time.sleep(0.05)
    else:
        with NewFolder(target, kind=Kind(name="thing", words="a thing")) as folder:
            (folder.path / "a").write_text("x")
            time.sleep(0.05)
except OutputError as error:
    assert "exists" in error.message or "is not empty" in error.message, error.message
    sys.exit(1)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_of_several_processes_one_wins_and_the_others_say_so(tmp_path: Path, what: str) -> None:
    source = Path(publish.__file__).parent.parent
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / "m"), what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(source)},
        )
        for _ in range(4)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    for run in runs:
        run.communicate(timeout=60)
    assert sorted(run.returncode for run in runs) == [0, 1, 1, 1]
    assert left_behind(tmp_path / "m") == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_file_that_fails_halfway_is_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "old")

    def fail() -> None:
        with written_whole(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(OutputError if error is OSError else error):
        fail()
    assert tree(tmp_path) == {"a.txt": "old"}


def test_leftover_of_a_file_goes_with_the_next_writing(tmp_path: Path) -> None:
    (tmp_path / f".a.txt.{dead_process()}.partial").write_text("half")
    beside(tmp_path / "a.txt").write_text("half, by a process that had our number")
    write_whole(tmp_path / "a.txt", "whole")
    assert tree(tmp_path) == {"a.txt": "whole"}


@pytest.mark.parametrize("pair", [(9_100_000, 9_099_000), (2 * 10**9, 10**9), (5, 4), (2**41, 7)])
def test_what_is_needed_and_what_is_free_are_told_apart(pair: tuple[int, int]) -> None:
    needed, free = apart(*pair)
    assert needed != free
    assert needed.split()[-1] in ("GB", "MB", "kB", "bytes")
