"""Texts are read in UTF-8 and marked UTF-16; of others the error names the conversion."""

from pathlib import Path

import pytest

from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.text.encoding import decode, parse_unbroken, read_text, unbroken

TEXT = "Zoë said “no”.\n你好"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
    ],
    ids=["utf-8", "mark", "utf-16", "big-endian", "utf-32"],
)
def test_text_is_the_same_however_it_is_marked_and_cut(data: bytes, size: int) -> None:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert "".join(decode(parts, "stdin")) == TEXT


def test_nothing_is_an_empty_text() -> None:
    assert "".join(decode([], "stdin")) == ""


@pytest.mark.parametrize("kind", ["WINDOWS-1252", "UTF-16LE", "UTF-16BE"])
def test_other_encoding_is_told_with_its_conversion(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes("Zoë said “no”.".encode(kind))
    with pytest.raises(TextError, match="is not UTF-8 text") as told:
        read_text(path)
    assert told.value.hint is not None
    assert f"`iconv -f {kind} -t UTF-8 {path}`" in told.value.hint


def test_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*no such file"):
        read_text(tmp_path / "letter.txt")


def test_halves_of_a_pair_become_one_sign_or_the_sign_of_what_is_lost() -> None:
    assert unbroken("a \ud83d\ude00, \ud83d and \udcff.") == "a \U0001f600, \ufffd and \ufffd."
    assert parse_unbroken(r'{"\ud800": ["\\ud800", "\ud83d\ude00"]}') == {
        "\ufffd": ["\\ud800", "\U0001f600"]
    }
