"""Names to folders. What needs a hub is in tests/tasks/test_push.py."""

from pathlib import Path

import pytest

from mamtra_cli import hub
from mamtra_cli.errors import ModelNotFoundError
from mamtra_cli.events import Note
from mamtra_cli.families import registry
from mamtra_cli.hub_client import url_of


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str | None]]:
    """Collects what would be fetched."""
    calls: list[tuple[str, str | None]] = []

    def fetch(repo: str, revision: str | None, *rest: object, **more: object) -> Path:
        calls.append((repo, revision))
        return tmp_path / "0123abcd"

    monkeypatch.setattr(hub, "fetch", fetch)
    return calls


def test_the_commit_behind_an_alias_that_fixes_none_is_told(
    asked: list[tuple[str, str | None]],
) -> None:
    told: list[object] = []
    loose = hub.Repository(alias="loose", name="org/loose", revision="main")
    fixed = hub.Repository(alias="fixed", name="org/fixed", revision="0" * 40)
    for name in ("fixed", "org/loose@main", "loose"):
        hub.locate(name, [loose, fixed], report=told.append)
    assert asked[-1] == ("org/loose", "main")
    text = "`loose` is no fixed version: `org/loose@0123abcd` is the one used now"
    assert told == [Note(text=text, warning=True)]


def test_local_folder_is_taken_as_it_is(tmp_path: Path, asked: list[object]) -> None:
    got = hub.locate(str(tmp_path))
    assert (got.folder, got.revision) == (tmp_path, None)
    assert asked == []


def test_local_folder_wins_over_the_hub(
    tmp_path: Path, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.locate("org/name").folder == Path("org/name")
    assert asked == []


@pytest.mark.parametrize(
    ("name", "repo", "revision"),
    [
        ("org/name", "org/name", None),
        ("org/name@v1", "org/name", "v1"),
        ("org/na.me-2@refs/pr/1", "org/na.me-2", "refs/pr/1"),
        (
            "cosyvoice2",
            "FunAudioLLM/CosyVoice2-0.5B",
            "eec1ae6c79877dbd9379285cf8789c9e0879293d",
        ),
    ],
    ids=["plain", "tag", "ref", "alias"],
)
def test_hub_names_are_split(
    asked: list[tuple[str, str | None]], name: str, repo: str, revision: str | None
) -> None:
    got = registry.locate(name)
    assert asked == [(repo, revision)]
    assert (got.name, got.revision) == (repo, "0123abcd")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("minni", "did you mean `mini`?"),
        ("", "name a folder, org/name or `mini`"),
        ("./nosuch", "name a folder, org/name or `mini`"),
        ("a/b/c", "name a folder, org/name or `mini`"),
    ],
    ids=["typo", "empty", "path", "deep"],
)
def test_no_model_is_told_with_the_nearest(asked: list[object], name: str, hint: str) -> None:
    with pytest.raises(ModelNotFoundError) as said:
        registry.locate(name)
    assert said.value.hint == hint
    assert asked == []


def test_companions_are_fetched_along(asked: list[tuple[str, str | None]]) -> None:
    other = hub.Repository(alias="", name="org/codec", revision="2")
    whole = hub.Repository(alias="it", name="org/it", revision="1", companions=(other,))
    assert hub.locate("it", [whole]).name == "org/it"
    assert asked == [("org/it", "1"), ("org/codec", "2")]


def test_built_in_model_that_is_not_installed_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub, "BUILT_IN", {"mini": tmp_path})
    with pytest.raises(ModelNotFoundError, match="lacks the built-in model `mini`"):
        hub.locate("mini")


def test_address_follows_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    assert url_of("a/b") == "http://127.0.0.1:9/a/b"
