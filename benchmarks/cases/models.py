"""Model and voice folders: configs, weights, archives and voices that are wrong."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from faults import files, model_files
from faults.forks import QUICK
from faults.model_files import Case, changed, with_file
from safetensors.torch import save_file

from cases.case import ARGUED, TRIES, Place, case, first, small, told

ROOT = Path(__file__).parents[2]


def refused(place: Place, *made: Case, megabytes: int = 300) -> str:
    """What is wrong with the ends of cases that the campaign runs too."""
    for number, one in enumerate(made):
        home = place.home / str(number)
        home.mkdir()
        one.make(home)
        ran = replace(place, home=home).run(*one.args)
        wrong = first(told(ran, code=(1, 2)), small(ran, megabytes))
        if not wrong and (home / "pwned").exists():
            wrong = "ran code"
        if wrong:
            return f"{one.name}: {wrong}"
        shutil.rmtree(home)
    return ""


def of(found: list[Case], *beginnings: str) -> list[Case]:
    """Cases by how their names begin."""
    return [one for one in found if one.name.startswith(beginnings)]


@case("R50", "R52", "R54")
def sizes_that_no_model_has(place: Place) -> str:
    made = list(model_files.configs(place.model))
    many = changed(place.model, "lm", {"n_layers": 10**9, "kinds": ""})
    layers = with_file(
        place.published,
        "CosyVoice-BlankEN/config.json",
        json.dumps({"num_hidden_layers": 10**9, "hidden_size": 896}).encode(),
    )
    for name, args in (("estimate", ("profile", "m", "--estimate")),
                       ("dry", ("convert", "m", *QUICK, "--dry-run"))):  # fmt: skip
        made += [Case(name=f"layers {name}", make=many, args=args)]
        made += [Case(name=f"published layers {name}", make=layers, args=args)]
    chosen = of(made, "config lm.d_", "config lm.n_", "config lm.head", "config lm.vocab", "layers")
    chosen += of(made, "config mel", "config hift", "config lm.mixer", "published")
    return refused(place, *chosen)


@case("R55", "R57")
def deep_and_long_json(place: Place) -> str:
    axes = of(list(model_files.tensors(place.model)), "weights deep", "weights axes")
    made = list(model_files.jsons(place.model, place.published))
    names = ("deep", "deep maps", "long key", "long value")
    return refused(place, *[one for one in made if one.name.endswith(names)], *axes)


@case("R58", "R60")
def yaml_that_unfolds(place: Place) -> str:
    return refused(place, *model_files.yamls(place.published))


@case("R61", "R63")
def archives_that_swell_or_call(place: Place) -> str:
    made = list(model_files.archives(place.published))
    pickles = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x02K\x03K\x04K\x05K\x06tR.",
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n(K\x01K\x02K\x03tR.",
    )
    run = ("convert", "m", *model_files.CONVERT)
    for number, raw in enumerate(pickles):
        make = with_file(place.published, "llm.pt", raw)
        made.append(Case(name=f"pt rebuilds {number}", make=make, args=run))
    return refused(place, *made)


@case("R65")
def weights_that_are_not_finite(place: Place) -> str:
    for value in (float("nan"), float("inf")):
        teacher = place.copy(place.published, f"p{value}")
        weights = torch.load(teacher / "llm.pt", weights_only=True)
        name = next(key for key in weights if "q_proj.weight" in key)
        weights[name].view(-1)[3] = value
        torch.save(weights, teacher / "llm.pt")
        ran = place.run("convert", teacher, *QUICK, "-o", "out")
        wrong = told(ran, "finite") or ("written" if (place.home / "out").exists() else "")
        if wrong:
            return f"{value}: {wrong}"
    return ""


@case("R66")
def a_card_in_another_encoding(place: Place) -> str:
    place.copy(place.model)
    place.file("m/README.md", "licence: café\n".encode("latin-1"))
    return told(place.run("push", "m", "a/b", "--dry-run"), "README.md")


@case("R67")
def pipes_where_files_should_be(place: Place) -> str:
    import os

    pipe = of(list(model_files.tensors(place.model)), "weights pipe")
    (place.home / "voices").mkdir()
    os.mkfifo(place.home / "voices" / "a.safetensors")
    ran = place.run("voice", "list", "-m", place.model, "--voices", "voices")
    return first(refused(place, *pipe), "hung" if ran.hung else ran.fault)


@case("R70")
def one_bad_voice_among_good_ones(place: Place) -> str:
    voices = place.home / "voices"
    voices.mkdir()
    facts = {"format_version": "1"}
    save_file({"embedding": torch.ones(192)}, voices / "good.safetensors", facts)
    for name, data in (("number", '{"format_version": 1}'), ("list", "[1]")):
        header = f'{{"__metadata__": {data}}}'.encode()
        raw = len(header).to_bytes(8, "little") + header
        (voices / f"{name}.safetensors").write_bytes(raw)
    ran = place.run("voice", "list", "-m", place.model, "--voices", voices, "--json")
    return told(ran, "good", "number", "list", "damaged", code=0)


@case("R72")
def voices_that_do_not_fit(place: Place) -> str:
    return refused(place, *files.voices(place.model))


@case("R80", "R81")
def floors_without_known_holes(place: Place) -> str:
    told_floors = (ROOT / "pyproject.toml").read_text()
    wanted = {"torch": (2, 10), "filelock": (3, 20, 3), "starlette": (0, 49, 1)}
    for name, floor in wanted.items():
        for found in re.findall(rf'"{name}(?:\[\w+\])?>=([\d.]+)', told_floors):
            if tuple(map(int, found.split("."))) < floor:
                return f"{name}>={found}"
    return ""


@case("cli-8")
def a_file_in_the_place_of_a_folder(place: Place) -> str:
    file = place.model / "lm.safetensors"
    ran = place.run("synth", "Hi.", "-m", file, "-o", "o.wav")
    return told(ran, "is a file", "folder", code=(1, 2))


@case("cli-10")
def a_mark_before_a_config(place: Place) -> str:
    model = place.copy(place.model)
    data = (model / "config.json").read_bytes()
    (model / "config.json").write_bytes(b"\xef\xbb\xbf" + data)
    return told(place.run("synth", "Hi there.", "-m", "m", *TRIES, "-o", "o.wav"), code=0)


@case("R41")
def an_estimate_that_measures(place: Place) -> str:
    ran = place.run("profile", place.model, "--imitate-official", "--estimate", "--json")
    return told(ran, code=2)


@case("R40")
def imitating_without_a_model(place: Place) -> str:
    ran = place.run("profile", "--imitate-official", "--seconds", "1", "--json", limit=120)
    return told(ran, code=0)


@case("cli-6")
def more_threads_than_cores(place: Place) -> str:
    line = ("synth", "Hi there.", "-m", place.model, *TRIES, "-o", "o.wav")
    ran = place.run(*line, "--threads", "1000")
    return told(ran, code=0)


ARGUED["R41"] = (
    "`--estimate` is refused; `--savings` beside it gives the formulas and the measurement"
)
ARGUED["cli-6"] = "one thread a processor, in silence but for `doctor`: a recipe moves"
