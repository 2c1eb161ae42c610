"""Folders and files that are written: leave, kills, races, leftovers, space."""

import json
import os
import resource
import shutil
import time

from faults.forks import QUICK, digest, fresh, leftovers, mamtra, touches
from faults.kills import make_old

from cases.case import TRIES, Place, case, first, settings, told, untouched


@case("R01", "loss-6")
def a_folder_that_fills_meanwhile(place: Place) -> str:
    end = place.begin("convert", place.model, *QUICK, "-o", "x", name="r01")
    deadline = time.monotonic() + 60
    while not list(place.home.glob(".x.*")) and time.monotonic() < deadline:
        time.sleep(0.001)
    notes = place.file("x/notes.txt", "mine")
    ran = end()
    there = any((place.home / name / "config.json").is_file() for name in os.listdir(place.home))
    kept = "" if there else "the finished model is nowhere"
    return first(told(ran, "not empty"), untouched(place, notes), kept)


@case("R02")
def leave_in_a_recipe(place: Place) -> str:
    make_old(place.home / "a")
    wrong = told(place.run("convert", place.model, *QUICK, "-o", "a", "--force"), code=0)
    mine = place.file("b/precious.txt", "mine")
    again = told(place.run("convert", "-c", "a/mamtra.json", "-o", "b"), "not empty")
    place.file("r.toml", f'teacher = "{place.model}"\nforce = true\noutput = "b"\n')
    by_hand = told(place.run("convert", "-c", "r.toml", *QUICK), "not empty")
    return first(wrong, again, by_hand, untouched(place, mine))


@case("R04", "loss-1", "loss-2", "loss-5")
def force_on_what_is_not_ours(place: Place) -> str:
    code = place.file("src/main.py", "mine")
    head = place.file(".git/HEAD", "mine")
    lines = (
        ("convert", place.model, *QUICK, "--force", "-o", "src"),
        ("convert", place.model, *QUICK, "--force", "-o", "."),
        ("convert", place.model, *QUICK, "--force", "-o", place.home),
        ("eval", place.model, "--sentences", "1", "--force", "--report", "src"),
        ("prepare", "--synthetic", "--tokens", "10", "--force", "-o", "src"),
    )
    wrong = [told(place.run(*line)) for line in lines]
    return first(*wrong, untouched(place, code, head))


@case("R05")
def killed_between_two_renames(place: Place) -> str:
    line = ["convert", str(place.model), *QUICK, "-o", "x", "--force"]
    make_old(place.home / "x")
    moments = touches(line, place.home)
    for moment in range(max(1, moments - 8), moments + 1):
        home = fresh(place.work, "r05")
        make_old(home / "x")
        old = digest(home / "x")
        mamtra(line, home, kill_at=moment)
        now = digest(home / "x")
        model = (home / "x" / "lm.safetensors").is_file()
        if not now or (now != old and not model):
            return f"moment {moment}: neither old nor new"
        ran = mamtra(line, home)
        if ran.code or leftovers(home):
            return f"moment {moment}: {leftovers(home)} {ran.said[-200:]}"
    return ""


@case("R06", "R87")
def leftovers_go_with_the_next_run(place: Place) -> str:
    temporary = place.home / "tmp"
    temporary.mkdir()
    lines = (
        ["convert", str(place.model), *QUICK, "-o", "x"],
        ["synth", "Hi there.", "-m", str(place.model), *TRIES, "-o", "a.wav"],
        ["push", str(place.model), "me/it", "--dry-run"],
    )
    with settings(TMPDIR=str(temporary)):
        for line in lines:
            moments = touches(line, fresh(place.work, "r06"))
            for moment in range(1, moments + 1, max(1, moments // 4)):
                mamtra(line, place.home, kill_at=moment)
            mamtra(line, place.home)
    left = [*leftovers(place.home), *(path.name for path in temporary.iterdir())]
    return f"left: {left}" if left else ""


@case("R08")
def six_sounds_at_once(place: Place) -> str:
    line = ("synth", "-m", place.model, *TRIES, "-o", "a.wav")
    ends = [place.begin(*line, f"text {n}", name=f"r08-{n}") for n in range(6)]
    ran = [end() for end in ends]
    if sorted(one.code for one in ran) != [0, 1, 1, 1, 1, 1]:
        return f"ends {[one.code for one in ran]}"
    return first(*(told(one, "exists") for one in ran if one.code))


@case("race-1")
def two_models_at_once(place: Place) -> str:
    line = ("convert", place.model, *QUICK, "-o", "race")
    ends = [place.begin(*line, name=f"race-{n}") for n in range(2)]
    ran = [end() for end in ends]
    if sorted(one.code for one in ran) != [0, 1]:
        return f"ends {[one.code for one in ran]}"
    return first(*(told(one, "race") for one in ran if one.code))


@case("R10")
def no_space_for_sound(place: Place) -> str:
    for ending in ("mp3", "opus", "flac", "wav"):
        line = ("synth", "Hello there.", "-m", place.model, *TRIES, "-o", f"b.{ending}")
        ran = place.run(*line, limits={resource.RLIMIT_FSIZE: 1000})
        wrong = first(told(ran), str(leftovers(place.home) or ""))
        if wrong or (place.home / f"b.{ending}").exists():
            return f"{ending}: {wrong or 'half a file'}"
    return ""


@case("R12")
def no_space_for_a_model(place: Place) -> str:
    line = ("convert", place.model, *QUICK, "-o", "Z")
    ran = place.run(*line, limits={resource.RLIMIT_FSIZE: 1000})
    hidden = "names the hidden folder" if ".partial" in ran.said else ""
    return first(told(ran, "`Z"), hidden)


@case("R14")
def a_card_of_a_run_that_was_killed(place: Place) -> str:
    rows = [{"id": str(n), "text": "hello there", "tokens": [n, 3, 5, 7] * 5} for n in range(8)]
    data = place.file("pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    place.run("convert", place.model, *QUICK, "-o", "student")
    line = ["distill", "student", "--teacher", str(place.model), "--data", str(data)]
    line += ["--steps", "4", "--batch-tokens", "60", "--save-every", "1", "--no-report"]
    line += ["--no-plot", "--check-tokens", "0", "--device", "cpu", "-o", "d"]
    wrong = told(place.run(*line), code=0)
    whole = (place.home / "d" / "README.md").read_text() if not wrong else ""
    moments = touches([*line, "--force"], place.home)
    for part in (2, 3, 4):
        shutil.rmtree(place.home / "d", ignore_errors=True)
        shutil.rmtree(place.home / "d.run", ignore_errors=True)
        place.run(*line, kill_at=moments * part // 5)
        if (place.home / "d.run" / "run.json").is_file():
            break
    else:
        return wrong or "was never killed within a run"
    again = told(place.run("distill", "--resume", "d.run", "--device", "cpu"), code=0)
    if wrong or again:
        return wrong or again
    return "" if (place.home / "d" / "README.md").read_text() == whole else "the cards differ"


@case("R83")
def an_output_inside_the_teacher(place: Place) -> str:
    place.copy(place.model)
    return told(place.run("convert", "m", *QUICK, "-o", "m/sub"), "m")


@case("space-1")
def space_that_is_told_exactly(place: Place) -> str:
    from mamtra_cli.errors import OutputError
    from mamtra_cli.publish import apart, check_space

    alike = [(more, less) for more, less in ((9_100_000, 5_000_000), (2**40 + 1, 2**40))
             if len(set(apart(more, less))) == 1]  # fmt: skip
    try:
        check_space(place.home / "x", 2 * shutil.disk_usage(place.home).free)
    except OutputError as error:
        told_well = not alike and "are free there" in error.message
        return "" if told_well else f"alike: {alike}, {error}"
    return "there was room"
