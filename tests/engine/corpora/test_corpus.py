"""Every kind of corpus gives the same clips, and says what it cannot give."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from tests.sounds import RATE, buzz, sound_bytes, write_sound

from mamtra_cli.engine.corpora import hub
from mamtra_cli.engine.corpora.clip import Bad, Clip, TooLongError
from mamtra_cli.engine.corpora.corpus import Corpus, find
from mamtra_cli.errors import AudioError, DataError, UsageError
from mamtra_cli.model_rate import to_rate
from mamtra_cli.part import Part
from mamtra_cli.voices.clip import read_clip

TEXTS = ["The first one.", "The second one.", "The third one."]
SECONDS = [0.5, 0.6, 0.7]


def jsonl(folder: Path) -> Path:
    lines = []
    for i, text in enumerate(TEXTS):
        write_sound(folder / "clips" / f"c{i}.wav", SECONDS[i], i)
        lines.append(json.dumps({"id": f"c{i}", "audio": f"clips/c{i}.wav", "text": text}))
    (folder / "corpus.jsonl").write_text("\n".join([*lines, ""]))
    return folder / "corpus.jsonl"


def metadata_jsonl(folder: Path) -> Path:
    lines = []
    for i, text in enumerate(TEXTS):
        write_sound(folder / f"c{i}.flac", SECONDS[i], i)
        lines.append(json.dumps({"file_name": f"c{i}.flac", "transcription": text}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def csv(folder: Path) -> Path:
    lines = ["file_name,text"]
    for i, text in enumerate(TEXTS):
        write_sound(folder / f"c{i}.wav", SECONDS[i], i)
        lines.append(f'c{i}.wav,"{text}"')
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def libritts(folder: Path) -> Path:
    for i, text in enumerate(TEXTS):
        stem = folder / "dev" / f"{i}" / "7" / f"{i}_7_c{i}"
        write_sound(stem.with_suffix(".wav"), SECONDS[i], i)
        stem.with_name(stem.name + ".normalized.txt").write_text(text + "\n")
        stem.with_name(stem.name + ".original.txt").write_text(text.upper())
    (folder / "LICENSE.txt").write_text("free")
    return folder


def ljspeech(folder: Path) -> Path:
    lines = []
    for i, text in enumerate(TEXTS):
        write_sound(folder / "wavs" / f"c{i}.wav", SECONDS[i], i)
        lines.append(f"c{i}|{text.upper()}|{text}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def beside(folder: Path) -> Path:
    for i, text in enumerate(TEXTS):
        write_sound(folder / "x" / f"c{i}.wav", SECONDS[i], i)
        (folder / "x" / f"c{i}.{'lab' if i else 'txt'}").write_text(text)
    return folder


def parquet(folder: Path) -> Path:
    for start in (0, 2):
        rows = range(start, min(start + 2, 3))
        audio = [{"bytes": sound_bytes(SECONDS[i], i), "path": f"c{i}.flac"} for i in rows]
        table = pa.table({"audio": audio, "text": [TEXTS[i] for i in rows]})
        (folder / "data").mkdir(exist_ok=True)
        pq.write_table(table, folder / "data" / f"train-{start}.parquet")
    return folder


def saved_to_disk(folder: Path) -> Path:
    audio = [{"bytes": sound_bytes(SECONDS[i], i), "path": None} for i in range(3)]
    table = pa.table({"id": ["c0", "c1", "c2"], "audio": audio, "text_normalized": TEXTS})
    path = str(folder / "data-00000-of-00001.arrow")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return folder


def lhotse(folder: Path) -> Path:
    whole = np.concatenate([buzz(SECONDS[i], i) for i in range(3)])
    (folder / "wavs").mkdir()
    soundfile.write(folder / "wavs" / "long.wav", whole, RATE)
    source = {"type": "file", "channels": [0], "source": "wavs/long.wav"}
    recording = {"id": "r", "sources": [source], "sampling_rate": RATE}
    (folder / "manifests").mkdir()
    with gzip.open(folder / "manifests" / "x_recordings_dev.jsonl.gz", "wt") as file:
        file.write(json.dumps(recording) + "\n")
    with gzip.open(folder / "manifests" / "x_supervisions_dev.jsonl.gz", "wt") as file:
        start = 0.0
        for i, text in enumerate(TEXTS):
            said = {"id": f"c{i}", "recording_id": "r", "start": start, "duration": SECONDS[i]}
            file.write(json.dumps({**said, "channel": 0, "text": text}) + "\n")
            start += SECONDS[i]
    return folder / "manifests"


def cuts(folder: Path) -> Path:
    lhotse(folder)
    start, lines = 0.0, []
    for i, text in enumerate(TEXTS):
        source = {"type": "file", "channels": [0], "source": str(folder / "wavs" / "long.wav")}
        said = {"id": f"c{i}", "start": 0.0, "duration": SECONDS[i], "channel": 0, "text": text}
        cut = {"id": f"cut{i}", "type": "MonoCut", "start": start, "duration": SECONDS[i]}
        recording = {"id": "r", "sources": [source]}
        lines.append(json.dumps({**cut, "supervisions": [said], "recording": recording}))
        start += SECONDS[i]
    (folder / "cuts.jsonl").write_text("\n".join(lines))
    return folder / "cuts.jsonl"


def tars(folder: Path) -> Path:
    for name, rows in (("a.tar", [0, 1]), ("b.tar.gz", [2])):
        with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as tar:
            for i in rows:
                said = json.dumps({"text": TEXTS[i], "dnsmos": 3.2}).encode()
                text = (".json", said) if i else (".txt", TEXTS[i].encode())
                for suffix, data in (text, (".flac", sound_bytes(SECONDS[i], i))):
                    member = tarfile.TarInfo(f"d/c{i}{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


Make = Callable[[Path], Path]
KINDS: dict[str, tuple[Make, str]] = {
    "jsonl": (jsonl, "jsonl"),
    "audio folder, jsonl": (metadata_jsonl, "jsonl"),
    "audio folder, csv": (csv, "csv"),
    "libritts": (libritts, "libritts"),
    "ljspeech": (ljspeech, "ljspeech"),
    "texts beside": (beside, "folder"),
    "parquet": (parquet, "hf"),
    "saved to disk": (saved_to_disk, "hf"),
    "lhotse": (lhotse, "lhotse"),
    "lhotse cuts": (cuts, "lhotse"),
    "webdataset": (tars, "webdataset"),
}


def clips(corpus: Corpus, part: Part | None = None) -> list[Clip]:
    found = list(corpus.entries(part))
    assert not [entry for entry in found if isinstance(entry, Bad)]
    return [entry for entry in found if isinstance(entry, Clip)]


def bad(corpus: Corpus) -> list[tuple[str, str]]:
    return [(entry.code, entry.cause) for entry in corpus.entries() if isinstance(entry, Bad)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_is_recognised_and_gives_its_clips(tmp_path: Path, kind: str) -> None:
    make, format = KINDS[kind]
    corpus = find(make(tmp_path))
    assert corpus.format == format
    found = clips(corpus)
    assert [clip.text for clip in found] == TEXTS
    assert len({clip.id for clip in found}) == 3
    for index, clip in enumerate(found):
        wave = clip.load(RATE, 30.0)
        wanted = buzz(SECONDS[index], index)
        assert len(wave) == len(wanted)
        np.testing.assert_allclose(wave, wanted, atol=1e-4)
        assert not Path(clip.source).is_absolute()


@pytest.mark.parametrize("kind", KINDS)
def test_parts_share_a_corpus_out_without_rest(tmp_path: Path, kind: str) -> None:
    corpus = find(KINDS[kind][0](tmp_path))
    parts = [clips(corpus, Part(index=k, count=2)) for k in (1, 2)]
    ids = [clip.id for part in parts for clip in part]
    assert sorted(ids) == sorted(clip.id for clip in clips(corpus))
    assert len(ids) == 3


def test_a_clip_keeps_its_part_when_others_come(tmp_path: Path) -> None:
    path = jsonl(tmp_path)
    part = Part(index=1, count=2)
    before = {clip.id for clip in clips(find(path), part)}
    write_sound(tmp_path / "clips" / "a0.wav")
    line = json.dumps({"id": "a0", "audio": "clips/a0.wav", "text": "New."})
    path.write_text(line + "\n" + path.read_text())
    after = {clip.id for clip in clips(find(path), part)}
    assert after - {"a0"} == before


def test_hash_follows_sound_text_and_place(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav")
    clip = Clip(id="a", text="One.", source="a.wav", audio=path)
    one = clip.sha256()
    assert one == Clip(id="b", text="One.", source="b.wav", audio=path).sha256()
    assert one != Clip(id="a", text="Two.", source="a.wav", audio=path).sha256()
    assert one != Clip(id="a", text="One.", source="a", audio=path, start=0.1).sha256()
    write_sound(path, 1.1)
    assert one != clip.sha256()


def test_clips_of_another_rate_and_of_two_channels_are_brought_to_one(tmp_path: Path) -> None:
    both = buzz(1.0, 1, 44_100)[:, None] * np.array([1.0, 0.5], np.float32)
    soundfile.write(tmp_path / "a.wav", both, 44_100)
    clip = Clip(id="a", text="", source="a.wav", audio=tmp_path / "a.wav")
    mixed = clip.load(16_000, 30.0)
    assert len(mixed) == 16_000
    left = Clip(id="a", text="", source="a.wav", audio=tmp_path / "a.wav", channel=0)
    np.testing.assert_allclose(left.load(16_000, 30.0), mixed / 0.75, atol=1e-3)


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 44_100, 22_051])
def test_clip_of_a_corpus_gives_a_model_the_samples_that_a_voice_clip_gives(
    tmp_path: Path, rate: int
) -> None:
    """Else a model would learn from other tokens than it is asked with."""
    path = write_sound(tmp_path / "a.wav", 1.5, rate=rate)
    got = Clip(id="a", text="", source="a.wav", audio=path).load(16_000, 30.0)
    voice = read_clip(path)
    expected = to_rate(torch.from_numpy(voice.samples), voice.rate, 16_000)
    np.testing.assert_array_equal(got, expected.numpy())


def test_a_long_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", 2.0)
    clip = Clip(id="a", text="", source="a.wav", audio=path)
    with pytest.raises(TooLongError, match=r"2\.0 s"):
        clip.load(16_000, 1.0)


@pytest.mark.parametrize("damage", [b"", b"no sound at all", b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_file_that_is_no_audio_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(damage)
    clip = Clip(id="a", text="", source="x/a.wav", audio=tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"x/a\.wav"):
        clip.load(16_000, 30.0)


def test_lines_that_are_no_entries_are_told(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"audio": "a.wav"}\n{"text": "x"}\n{oops\n[1]\n\n')
    assert [code for code, _ in bad(find(path))] == ["entry"] * 4


def test_sound_without_text_and_text_without_sound_are_told(tmp_path: Path) -> None:
    beside(tmp_path)
    write_sound(tmp_path / "x" / "lonely.wav")
    (tmp_path / "x" / "mute.txt").write_text("Nobody says this.")
    assert [code for code, _ in bad(find(tmp_path))] == ["no_text", "missing"]


def test_ljspeech_names_without_file_are_told(tmp_path: Path) -> None:
    ljspeech(tmp_path)
    (tmp_path / "wavs" / "c1.wav").unlink()
    assert [code for code, _ in bad(find(tmp_path))] == ["missing"]


def test_the_other_text_of_a_corpus_can_be_asked_for(tmp_path: Path) -> None:
    found = find(libritts(tmp_path)).entries(text_key="original")
    assert [entry.text for entry in found if isinstance(entry, Clip)] == [t.upper() for t in TEXTS]


def test_a_cut_tar_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    tars(tmp_path)
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) * 2 // 5])
    entries = list(find(tmp_path / "a.tar").entries())
    assert [entry.code for entry in entries if isinstance(entry, Bad)] == ["unreadable"]


def test_a_damaged_parquet_file_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    parquet(tmp_path)
    (tmp_path / "data" / "train-0.parquet").write_bytes(b"PAR1 no")
    entries = list(find(tmp_path).entries())
    assert [entry.code for entry in entries if isinstance(entry, Bad)] == ["unreadable"]
    assert [entry.text for entry in entries if isinstance(entry, Clip)] == TEXTS[2:]


def test_a_column_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    corpus = find(parquet(tmp_path))
    with pytest.raises(DataError, match="`words`") as caught:
        list(corpus.entries(text_key="words"))
    assert "audio, text" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["command", "url"])
def test_lhotse_sources_that_are_no_files_are_not_run(tmp_path: Path, kind: str) -> None:
    folder = lhotse(tmp_path)
    proof = tmp_path / "ran"
    source = {"type": kind, "channels": [0], "source": f"touch {proof}"}
    with gzip.open(folder / "x_recordings_dev.jsonl.gz", "wt") as file:
        file.write(json.dumps({"id": "r", "sources": [source]}) + "\n")
    assert {code for code, _ in bad(find(folder))} == {"missing"}
    assert not proof.exists()


def test_a_pattern_chooses_files(tmp_path: Path) -> None:
    corpus = find(parquet(tmp_path), pattern="data/*-2.parquet")
    assert [clip.text for clip in clips(corpus)] == TEXTS[2:]


def test_unknown_inputs_say_what_can_be_done(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no corpus"):
        find(tmp_path / "none")
    with pytest.raises(DataError, match="holds no audio"):
        find(tmp_path)
    with pytest.raises(UsageError) as caught:
        find(tmp_path, format="libritt")
    assert caught.value.hint == "did you mean `libritts`?"


def test_of_a_repository_the_first_known_kind_is_fetched() -> None:
    files = ["README.md", "a.tar", "data/x.parquet", "data/y.parquet"]
    assert hub.choose(files, "") == ["data/x.parquet", "data/y.parquet"]
    assert hub.choose(files, "*.tar") == ["a.tar"]
    assert hub.choose(["README.md"], "") == []
