"""Lists of clips and odd names: every line is an entry, and none of them is fatal."""

import gzip
import json
import os
from pathlib import Path

import pytest
from tests.sounds import RATE, write_sound

from mamtra_cli.engine.corpora.clip import Bad, Clip
from mamtra_cli.engine.corpora.corpus import Corpus, find
from mamtra_cli.errors import AudioError, DataError


def clips(corpus: Corpus) -> list[Clip]:
    found = list(corpus.entries())
    assert not [entry for entry in found if isinstance(entry, Bad)]
    return [entry for entry in found if isinstance(entry, Clip)]


def write_list(path: Path, text: str) -> Path:
    for name in ("1", "2", "3"):
        write_sound(path.with_name(f"{name}.wav"), 0.4, int(name))
    path.write_text(text)
    return path


def test_quoted_line_breaks_of_a_csv_file_part_words(tmp_path: Path) -> None:
    text = 'file_name,text\r\n1.wav,"one,\r\ntwo"\r\n2.wav,three\r\n'
    corpus = find(write_list(tmp_path / "list.csv", text))
    assert [clip.text.split() for clip in clips(corpus)] == [["one,", "two"], ["three"]]


def test_odd_quote_of_a_tsv_file_swallows_no_row(tmp_path: Path) -> None:
    text = 'path\tsentence\n1.wav\t"Hello he said\n2.wav\tplain "words"\n3.wav\tlast\n'
    corpus = find(write_list(tmp_path / "list.tsv", text))
    assert [clip.text for clip in clips(corpus)] == ['"Hello he said', 'plain "words"', "last"]


def test_jsonl_of_windows_is_read_and_other_encodings_are_told(tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.jsonl", "")
    line = '{"audio": "1.wav", "text": "Zoë “spoke”."}\n'
    path.write_bytes(line.encode("utf-16"))
    assert [clip.text for clip in clips(find(path))] == ["Zoë “spoke”."]
    path.write_bytes(line.encode("utf-8") + line.encode("cp1252"))
    clip, bad = find(path).entries()
    assert isinstance(clip, Clip)
    assert isinstance(bad, Bad)
    assert bad.cause == "the line is not UTF-8 text"


@pytest.mark.parametrize("end", ["\x85", "\x0b", "\u2028"], ids=["nel", "vt", "ls"])
def test_lines_of_a_list_end_at_line_feeds_only(tmp_path: Path, end: str) -> None:
    write_sound(tmp_path / "wavs" / "a.wav", 0.4, 0)
    (tmp_path / "metadata.csv").write_text(f"a|one{end}two|one{end}two\r\n", encoding="utf-8")
    (clip,) = clips(find(tmp_path))
    assert clip.text == f"one{end}two"


@pytest.mark.parametrize(
    "record",
    [
        {"audio": ""},
        {"audio": "."},
        {"audio": "/"},
        {"audio": ".."},
        {"audio": "a\0.wav"},
        {"audio": "1.wav", "start": 1e308},
        {"audio": "1.wav", "start": 5.0, "duration": 1e308},
    ],
    ids=str,
)
def test_entry_of_a_list_that_cannot_be_is_told_and_not_fatal(
    tmp_path: Path, record: dict[str, object]
) -> None:
    lines = [record | {"text": "x"}, {"audio": "2.wav", "text": "y"}]
    text = "\n".join(map(json.dumps, lines))
    first, second = find(write_list(tmp_path / "list.jsonl", text)).entries()
    if isinstance(first, Clip):
        with pytest.raises(AudioError):
            first.sha256() and first.load(RATE, 30.0)
    assert isinstance(second, Clip)


@pytest.mark.parametrize("name", [".", "/", ".."])
def test_row_of_a_csv_file_without_a_name_is_not_fatal(tmp_path: Path, name: str) -> None:
    corpus = find(write_list(tmp_path / "list.csv", f"file_name,text\n{name},x\n1.wav,y\n"))
    assert len(list(corpus.entries())) == 2


def test_source_of_a_row_is_no_path_of_the_machine(tmp_path: Path) -> None:
    text = f"file_name,text\n{tmp_path / '1.wav'},x\n"
    (clip,) = clips(find(write_list(tmp_path / "list.csv", text)))
    assert clip.source == "1.wav"


def test_length_beyond_the_file_reads_to_its_end(tmp_path: Path) -> None:
    record = {"audio": "1.wav", "text": "x", "start": 0.1, "duration": 1e308}
    (clip,) = clips(find(write_list(tmp_path / "list.jsonl", json.dumps(record))))
    assert len(clip.load(RATE, 30.0)) == pytest.approx(0.3 * RATE, abs=2)


def test_device_or_pipe_is_no_audio_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    clip = Clip(id="p", text="x", source="pipe.wav", audio=tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="is no file"):
        clip.sha256()


def test_names_that_are_no_utf8_are_given_as_escapes(tmp_path: Path) -> None:
    write_sound(tmp_path / "corpus" / "a.wav", 0.4, 0)
    raw = os.fsencode(tmp_path / "corpus") + b"/caf\xe9"
    os.rename(tmp_path / "corpus" / "a.wav", raw + b".wav")
    with open(raw + b".txt", "w") as file:
        file.write("x")
    (clip,) = clips(find(tmp_path / "corpus"))
    assert (clip.id, clip.source) == ("caf\\udce9", "caf\\udce9.wav")
    assert len(clip.load(RATE, 30.0)) > 0


def test_byte_order_mark_of_a_text_is_not_said(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", 0.4, 0)
    (tmp_path / "a.txt").write_text("Hello.", encoding="utf-8-sig")
    (clip,) = clips(find(tmp_path))
    assert clip.text == "Hello."


def test_archive_of_empty_lines_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "list.jsonl.gz", "wb", 1) as file:
        file.write(b"\n" * 1_000_002)
    with pytest.raises(DataError, match="empty lines"):
        list(find(tmp_path / "list.jsonl.gz").entries())


def test_csv_of_semicolons_is_read_and_columns_are_told(tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.csv", 'audio;text\n1.wav;"one; two, three"\n2.wav;four\n')
    assert [clip.text for clip in clips(find(path))] == ["one; two, three", "four"]
    (bad,) = find(write_list(path, "clip;words\n1.wav;x\n")).entries()
    assert isinstance(bad, Bad)
    assert bad.cause.endswith("columns: `clip`, `words`")
