"""Lines of files: every kind of file, and wrong ones told in a line."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mamtra_cli.engine.speaking.line_files import FIELDS, read_lines
from mamtra_cli.errors import DataError, MamtraError, UsageError
from mamtra_cli.recipes import SynthRecipe


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "has no `text`"),
        ('{"text": 3}', "has no `text`"),
        ('{"text": "a", "sped": 1}', "unknown field `sped`"),
        ('{"text": "a", "seed": "1"}', "`seed`"),
        ('{"text": "a", "speed": 100}', "out of range"),
        ('{"text": "a", "output": "../x.wav"}', "leads out"),
        ('{"text": "a", "output": "/x.wav"}', "leads out"),
        ('{"text": "a", "output": "a\\u0000.wav"}', "no name of a file"),
        ('{"text": "a", "output": "%s.wav"}' % ("a" * 300), "no name of a file"),
        ('{"text": "a", "id": "1"}\n{"text": "b", "id": "1"}', "repeats the id"),
    ],
)
def test_wrong_lines_are_told(tmp_path: Path, line: str, words: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(line + "\n")
    with pytest.raises(DataError, match=words):
        list(read_lines(SynthRecipe(jsonl=source), "wav"))


def read(*paths: Path, column: str = "text") -> list[tuple[str, str, str]]:
    """Id, output and text of the lines of some files."""
    recipe = SynthRecipe(input_file=paths, column=column)
    return [(line.id, line.output, line.text) for line in read_lines(recipe, "mp3")]


def test_files_and_folders_are_lines_named_after_them(tmp_path: Path) -> None:
    (tmp_path / "book" / "part").mkdir(parents=True)
    for name in ("book/b.txt", "book/part/a.txt", "alone.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "book" / "cover.png").write_bytes(b"\x89")
    assert read(tmp_path / "alone.txt", tmp_path / "book") == [
        ("alone", "alone.mp3", "alone.txt"),
        ("b", "b.mp3", "book/b.txt"),
        ("part/a", "part/a.mp3", "book/part/a.txt"),
    ]


def test_rows_of_a_table_are_lines_and_columns_its_fields(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        'said,voice,seed,note\n"Two\nlines, quoted.",m1,7,x\nHello.,,,\n'
    )
    recipe = SynthRecipe(input_file=(tmp_path / "t.csv",), column="said", voice="f1", seed=3)
    first, second = read_lines(recipe, "wav")
    assert (first.id, first.voice, first.seed, first.text) == (
        "t-000001",
        "m1",
        7,
        "Two\nlines, quoted.",
    )
    assert (second.voice, second.seed, second.text) == ("f1", 3, "Hello.")
    (tmp_path / "t.tsv").write_text("text\tid\nHello.\tgreeting\n")
    assert read(tmp_path / "t.tsv") == [("greeting", "greeting.mp3", "Hello.")]


@pytest.mark.parametrize(
    ("name", "text", "column", "kind", "words"),
    [
        ("t.csv", "a,b\n1,2\n", "text", DataError, "has no column `text`"),
        ("t.csv", "", "text", DataError, "has no column `text`"),
        ("t.csv", "text,seed\na,one\n", "text", DataError, "`seed` of line 2"),
        ("t.csv", "text,speed\na,nan\n", "text", DataError, "out of range"),
        ("t.csv", "text,id\na,1\nb,1\n", "text", DataError, "repeats the id"),
        ("t.csv", 'text\n"' + "a" * 200_000, "text", DataError, "cannot read"),
        ("t.txt", "Hello.", "said", UsageError, "`--column` needs a table"),
        ("none/x.md", "", "text", UsageError, "holds no .txt"),
    ],
)
def test_wrong_files_are_told(
    tmp_path: Path, name: str, text: str, column: str, kind: type[MamtraError], words: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(kind, match=words):
        read(path if path.parent == tmp_path else path.parent, column=column)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
LINES = st.text(max_size=40) | st.dictionaries(st.sampled_from([*FIELDS, "x"]), JSON).map(
    json.dumps
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=4))
def test_no_file_of_lines_makes_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    source = tmp_path_factory.getbasetemp() / "any.jsonl"
    source.write_text("\n".join(lines), "utf-8", "surrogatepass")
    try:
        found = list(read_lines(SynthRecipe(jsonl=source), "wav"))
    except MamtraError:
        return  # told in a line
    assert len({line.id for line in found}) == len(found)
