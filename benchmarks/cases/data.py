"""Corpora, shards, recipes and texts that are wrong or without end."""

import gzip
import io
import json
import tarfile
from pathlib import Path

from faults import files
from faults.forks import QUICK
from faults.model_files import DEEP
from tests.sounds import write_sound

from cases.case import Place, case, first, small, told
from cases.models import of, refused


@case("R74")
def six_hours_of_silence(place: Place) -> str:
    return refused(place, *of(list(files.sounds()), "clip 6 hours"))


@case("R76")
def lines_that_are_bad(place: Place) -> str:
    write_sound(place.home / "good.wav", 2.0)
    good = '{"audio": "good.wav", "text": "Hello there."}'
    late = '{"audio": "good.wav", "text": "Hi.", "start": ' + "9" * 400 + "}"
    place.file("c.jsonl", f"{good}\n{DEEP}\n{late}\n")
    ran = place.run("prepare", "c.jsonl", "-m", place.model, "--no-plot", "-o", "p")
    wrong = told(ran, code=(0, 3))
    bad = place.home / "p" / "bad.jsonl"
    count = len(bad.read_text().splitlines()) if bad.is_file() else 0
    with tarfile.open(place.home / "w.tar", "w") as tar:
        for name, raw in (("a.json", DEEP.encode()), ("a.txt", b"Hi there.")):
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))
    ran = place.run("prepare", "w.tar", "-m", place.model, "--no-plot", "-o", "q")
    return first(wrong, "" if count == 2 else f"{count} bad lines", told(ran, code=(0, 1, 3)))


@case("R77")
def lines_and_members_that_swell(place: Place) -> str:
    line = place.home / "line.jsonl.gz"
    with gzip.open(line, "wb", 1) as file:
        for _ in range(2048):
            file.write(b"x" * (1 << 20))
    empty = place.home / "empty.jsonl.gz"
    with gzip.open(empty, "wb", 1) as file:
        for _ in range(300):
            file.write(b"\n" * 1_000_000)
    sparse = place.home / "sparse.tar"
    _sparse(sparse, 3, 1 << 30)
    for path in (line, empty, sparse):
        ran = place.run("prepare", path, "-m", place.model, "--no-plot", "-o", "p", limit=20)
        if wrong := first(told(ran, code=(1, 3)), small(ran)):
            return f"{path.name}: {wrong}"
        path.unlink()
    return ""


def _sparse(path: Path, members: int, size: int) -> None:
    """A tar of members whose PAX headers declare much that is not there."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(members):
            entry = tarfile.TarInfo(f"a{number}.wav")
            entry.size = 0
            entry.pax_headers = {
                "GNU.sparse.major": "0",
                "GNU.sparse.minor": "1",
                "GNU.sparse.name": f"a{number}.wav",
                "GNU.sparse.size": str(size),
                "GNU.sparse.numblocks": "1",
                "GNU.sparse.map": f"{size},0",
            }
            tar.addfile(entry, io.BytesIO(b""))


@case("R78")
def shards_with_wrong_columns(place: Place) -> str:
    """Every wrong shard meets `distill --data`, `prepare --check` and `prepare -o`."""
    import pyarrow
    from pyarrow import parquet

    place.run("convert", place.model, *QUICK, "-o", "student")
    corpus = place.file("c.jsonl", "".join(
        json.dumps({"audio": f"{n}.wav", "text": "Hello there my friend."}) + "\n"
        for n in range(3)
    ))  # fmt: skip
    for number in range(3):
        write_sound(place.home / f"{number}.wav", 2.0, seed=number)
    whole = ("prepare", corpus, "-m", place.model, "--no-plot", "-o", "p")
    if wrong := told(place.run(*whole), code=0):
        return wrong
    shard = next((place.home / "p").glob("*.parquet"))
    saved, table = shard.read_bytes(), parquet.read_table(shard)
    header = table.schema.metadata or {}
    rows = table.num_rows
    columns = {
        "tokens are strings": ("speech_tokens", [["a", "b"]] * rows),
        "a null token": ("speech_tokens", [[1, None]] * rows),
        "nested tokens": ("speech_tokens", [[[1]]] * rows),
        "sha256 zz": ("sha256", ["zz"] * rows),
        "sha256 null": ("sha256", pyarrow.array([None] * rows, pyarrow.string())),
        "seconds nan": ("seconds", [float("nan")] * rows),
        "seconds words": ("seconds", ["long"] * rows),
        "no text_ids": ("text_ids", None),
        "no speech_tokens": ("speech_tokens", None),
        "no id": ("id", None),
        "ids are numbers": ("id", list(range(rows))),
    }
    tables = {}
    for what, (name, values) in columns.items():
        if name not in table.column_names:
            continue
        other = table.drop_columns([name])
        if values is not None:
            other = other.append_column(name, pyarrow.array(values))
        tables[what] = other.replace_schema_metadata(header)
    for key in header:
        tables[f"header {key.decode()}"] = table.replace_schema_metadata(
            {**header, key: b"[" * 200_000}
        )
    tables["no header"] = table.replace_schema_metadata({})
    distill = ["distill", "student", "--teacher", place.model, "--data", "p", "--steps", "1"]
    distill += ["--no-report", "--no-plot", "--check-tokens", "0", "--device", "cpu", "--force"]
    distill += ["-o", "d"]
    for what, other in tables.items():
        parquet.write_table(other, shard)
        harmless = what in ("seconds nan", "seconds words", "sha256 zz", "sha256 null",
                            "ids are numbers")  # fmt: skip
        for line in (distill, ("prepare", "--check", "p"), whole):
            ran = place.run(*line, limit=60)
            codes = (0, 1, 3) if harmless or line is whole else (1, 3)
            if wrong := told(ran, code=codes):
                return f"{what}, {line[0]} {line[1]}: {wrong}"
            if ran.code and shard.name not in ran.said and line is not whole:
                return f"{what}: the shard is not named: {ran.said[-200:]}"
        shard.write_bytes(saved)
    return ""


@case("R84", "R85")
def recipes_that_are_wrong(place: Place) -> str:
    return refused(place, *files.recipes())


@case("R88")
def a_text_without_an_end(place: Place) -> str:
    ran = place.run("synth", "-i", "/dev/zero", "-m", place.model, "-o", "o.wav")
    return first(told(ran, code=(1, 2)), small(ran))


@case("prep-1", "prep-2")
def nothing_to_prepare(place: Place) -> str:
    place.file("bad.jsonl", '{"audio": "gone.wav", "text": "Hi."}\n' * 2)
    place.file("empty.jsonl", "")
    lines = [("prepare", name, "-m", place.model, "--no-plot", "-o", f"p-{name}")
             for name in ("bad.jsonl", "empty.jsonl")]  # fmt: skip
    return first(*(told(place.run(*line), code=(1, 3)) for line in lines))


@case("prep-3")
def columns_by_semicolons(place: Place) -> str:
    write_sound(place.home / "a.wav", 2.0)
    place.file("c.csv", "audio;text\na.wav;Hello there.\n")
    ran = place.run("prepare", "c.csv", "-m", place.model, "--no-plot", "-o", "p", "--json")
    if ran.code == 0 and list((place.home / "p").glob("*.parquet")):
        return ran.fault
    return told(ran, "audio;text", code=(1, 3))


@case("guards-list")
def a_guard_that_refuses_often(place: Place) -> str:
    line = ("synth", "Hi.", "-m", place.model, "--temperature", "9", "--retries", "12")
    for seed in range(6):
        ran = place.run(*line, "--seed", str(seed), "-o", f"{seed}.wav")
        if ran.code:
            much = max(ran.said.count(name) for name in ("too_short", "too_long", "loop"))
            return first(told(ran), f"said {much} times" if much > 2 else "")
    return ""


@case("cli-3")
def a_piece_longer_than_its_bound(place: Place) -> str:
    text = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen."
    ran = place.run("synth", text, "-m", "mini", "--max-seconds", "1", "-o", "o.wav")
    return told(ran, "--max-seconds", "too short", code=(1, 2))


@case("cli-1", "cli-2", "cli-7")
def hints_that_help(place: Place) -> str:
    minus = place.run("synth", "-5 degrees", "-m", place.model, "-o", "o.wav")
    blank = place.run("synth", "Hi.", "-m", place.model, "-o", "no such/dir/x.wav")
    ended = place.shell("mkdir g && cd g && rmdir ../g && mamtra synth Hi. -o ../o.wav")
    return first(
        told(minus, "`--`", code=2),
        told(blank, "mkdir -p 'no such/dir'"),
        told(ended, "current folder", code=(1, 2)),
    )
