"""Conversion of tiny random models: what is kept, new, measured and refused."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.families.cosyvoice2.tiny import write_qwen, write_random_checkpoint, yaml_text
from tests.tasks.converting import of, write_teacher
from tests.tiny_model import write_tiny_model
from torch import nn

from mamtra_cli.checkpoint import FolderWriter, read_model_folder, sha256
from mamtra_cli.config import from_dict
from mamtra_cli.engine.students.fitting import hybrid_of
from mamtra_cli.errors import CheckpointError
from mamtra_cli.events import Event, Note, Stage
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.cosyvoice2.published import QWEN_FOLDER, YAML_FILE
from mamtra_cli.families.lessons import Lessons
from mamtra_cli.families.registry import open_model
from mamtra_cli.recipes import ConvertRecipe
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tensors import TensorFile

Q = "llm.model.model.layers.{}.self_attn.q_proj.weight"
MIXER_Q = "llm.model.model.layers.{}.mixer.q_proj.weight"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def student(teacher: Path) -> Path:
    """Every other layer converted, fitted and checked."""
    output = teacher.parent / "student"
    convert(of(teacher, output))
    return output


def test_plan_decides_which_layers_change(student: Path) -> None:
    names = set(TensorFile(student / "lm.safetensors"))
    for layer in range(4):
        assert (Q.format(layer) in names) == (layer % 2 == 0)
        assert (MIXER_Q.format(layer) in names) == (layer % 2 == 1)
    assert read_model_folder(student).config["lm"]["kinds"] == "TMTM"


def test_unchanged_tensors_are_bitwise_the_teachers(teacher: Path, student: Path) -> None:
    before, after = TensorFile(teacher / "lm.safetensors"), TensorFile(student / "lm.safetensors")
    kept = [name for name in before if name in after]
    assert len(kept) > 20
    for name in kept:
        assert torch.equal(before.get(name, None), after.get(name, None)), name
    assert all(".self_attn." in name for name in before if name not in after)


def test_transfer_starts_from_the_attention_but_for_the_fitted_output(
    teacher: Path, student: Path
) -> None:
    before, after = TensorFile(teacher / "lm.safetensors"), TensorFile(student / "lm.safetensors")
    for part in ("q", "k", "v"):
        for kind in ("weight", "bias"):
            old = f"llm.model.model.layers.1.self_attn.{part}_proj.{kind}"
            new = f"llm.model.model.layers.1.mixer.{part}_proj.{kind}"
            assert torch.equal(before.get(old), after.get(new))
    name = "llm.model.model.layers.1.{}.o_proj.weight"
    assert not torch.equal(before.get(name.format("self_attn")), after.get(name.format("mixer")))


def test_everything_beside_the_language_model_is_copied(teacher: Path, student: Path) -> None:
    others = {"config.json", "lm.safetensors", "README.md", "mamtra.json", ".mamtra"}
    for path in teacher.rglob("*"):
        name = path.relative_to(teacher).as_posix()
        if path.is_file() and name not in others:
            assert sha256(student / name) == sha256(path), name


def test_provenance_repeats_the_recipe_and_hashes_every_file(teacher: Path, student: Path) -> None:
    told = json.loads((student / "mamtra.json").read_text())
    recipe = from_dict(ConvertRecipe, told["recipe"], "mamtra.json")
    assert recipe == of(teacher, student)
    assert told["task"] == "convert"
    assert told["teacher"]["sha256"]["lm.safetensors"] == sha256(teacher / "lm.safetensors")
    assert told["sha256"]["lm.safetensors"] == sha256(student / "lm.safetensors")
    assert told["plan"]["kinds"] == "TMTM"
    assert [fit["layer"] for fit in told["calibration"]] == [1, 3]
    assert all(fit["after"] < fit["before"] for fit in told["calibration"])


def test_card_copies_the_licence_and_states_the_check(student: Path) -> None:
    card = (student / "README.md").read_text()
    assert 'license: "apache-2.0"' in card
    assert "ratio-1-1" in card
    assert str(student.parent) not in card
    assert "KL divergence" in card


def test_same_recipe_writes_the_same_weights(teacher: Path, student: Path, tmp_path: Path) -> None:
    convert(of(teacher, tmp_path / "again"))
    again = sha256(tmp_path / "again" / "lm.safetensors")
    assert again == sha256(student / "lm.safetensors")


def test_result_counts_what_was_made(teacher: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    got = convert(of(teacher, tmp_path / "s"), events.append)
    assert got.kinds == "TMTM"
    assert got.cache_before == 2 * got.cache_after == 2 * 2 * 2 * 8 * 2 * 2
    assert got.parameters_after > got.parameters_before
    file = TensorFile(tmp_path / "s" / "lm.safetensors")
    counted = sum(torch.Size(shape).numel() for shape in file.shapes().values())
    assert got.parameters_after == counted
    assert {entry.name for entry in got.files} >= {"config.json", "lm.safetensors", "mamtra.json"}
    names = [event.name for event in events if isinstance(event, Stage)]
    order = ["reading", "plan", "transfer", "fitting", "writing", "checking"]
    assert [name for name in names if name in order] == order


def test_check_of_a_window_wider_than_the_text_finds_no_difference(
    teacher: Path, tmp_path: Path
) -> None:
    got = convert(of(teacher, tmp_path / "s", mixer="swa", plan="T=0"))
    assert got.kinds == "TSSS"
    assert got.check is not None
    assert got.check.tokens >= 200
    assert got.check.kl < 1e-6
    assert got.check.agreement == 1.0
    assert got.check.ce_student == pytest.approx(got.check.ce_teacher, abs=1e-5)
    assert got.break_even is None
    assert got.state_bytes == 3 * 2 * 2 * 8 * 2 * (256 + 4)


def test_calibration_brings_the_student_nearer(teacher: Path, tmp_path: Path) -> None:
    kl = {}
    for mode in ("none", "ls"):
        got = convert(of(teacher, tmp_path / mode, calibrate=mode, plan="T=0"))
        assert got.check is not None
        kl[mode] = got.check.kl
    assert 0 < kl["ls"] < 0.5 * kl["none"]


def test_more_ridge_fits_less_with_smaller_weights(teacher: Path, tmp_path: Path) -> None:
    sizes, errors = [], []
    for ridge in (1e-4, 0.1):
        folder = tmp_path / str(ridge)
        convert(of(teacher, folder, ridge=ridge, plan="T=0"))
        weights = load_file(folder / "lm.safetensors")
        sizes.append(sum(float(w.norm()) for n, w in weights.items() if "mixer.o_proj" in n))
        made = json.loads((folder / "mamtra.json").read_text())
        errors.append([fit["after"] for fit in made["calibration"]])
    assert sizes[1] < 0.8 * sizes[0]
    assert all(more > less for less, more in zip(*errors, strict=True))


def test_check_can_be_skipped(teacher: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    recipe = of(teacher, tmp_path / "s", check_tokens=0, calibrate="none", data=None)
    assert convert(recipe, events.append).check is None
    assert not any(isinstance(event, Stage) and event.name == "speaking" for event in events)


def test_neither_model_is_in_memory_while_the_student_is_written(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[nn.Module]] = []

    def making(teacher: Lessons, *args: Any, **options: Any) -> Lessons:
        student = hybrid_of(teacher, *args, **options)
        made.extend((weakref.ref(teacher.lm), weakref.ref(student.lm)))
        return student

    plain, alive = FolderWriter.write_tensors, []

    def writing(self: FolderWriter, *args: Any, **options: Any) -> Path:
        gc.collect()
        alive.append([model() is not None for model in made])
        return plain(self, *args, **options)

    monkeypatch.setattr("mamtra_cli.tasks.convert.hybrid_of", making)
    monkeypatch.setattr(FolderWriter, "write_tensors", writing)
    convert(of(teacher, tmp_path / "s"))
    assert alive == [[False, False]]


def test_random_start_does_not_copy_the_attention(teacher: Path, tmp_path: Path) -> None:
    recipe = of(teacher, tmp_path / "s", init="random", check_tokens=0, calibrate="none")
    convert(recipe)
    old = TensorFile(teacher / "lm.safetensors").get(Q.format(1))
    new = TensorFile(tmp_path / "s" / "lm.safetensors").get(MIXER_Q.format(1))
    assert not torch.equal(old, new)


@pytest.mark.parametrize(
    ("gate", "names"),
    [("none", set()), ("full", {"gate_proj"}), ("3", {"gate_down", "gate_up"})],
    ids=["none", "full", "rank"],
)
def test_gate_is_what_was_asked_for(
    teacher: Path, tmp_path: Path, gate: str, names: set[str]
) -> None:
    convert(of(teacher, tmp_path / "s", gate=gate, check_tokens=0, calibrate="none"))
    file = TensorFile(tmp_path / "s" / "lm.safetensors")
    made = {name.split(".")[-2] for name in file if ".layers.1.mixer.gate" in name}
    assert made == names
    if gate == "3":
        assert file.shapes()["llm.model.model.layers.1.mixer.gate_down.weight"] == (3, 32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_dtype_is_the_type_on_disk(teacher: Path, tmp_path: Path, dtype: str) -> None:
    got = convert(of(teacher, tmp_path / "s", dtype=dtype, calibrate="none"))
    infos = TensorFile(tmp_path / "s" / "lm.safetensors").infos
    assert str(infos[Q.format(0)].dtype) == f"torch.{dtype}"
    assert infos["llm.model.model.layers.1.mixer.A_log"].dtype == torch.float32
    assert got.check is not None
    assert torch.isfinite(torch.tensor(got.check.kl))


def test_keep_leaves_packed_teachers_packed(tmp_path: Path) -> None:
    teacher = write_tiny_model(tmp_path / "teacher", storage="int8")
    convert(of(teacher, tmp_path / "s", check_tokens=0, calibrate="none"))
    before, after = (
        TensorFile(teacher / "lm.safetensors"),
        TensorFile(tmp_path / "s/lm.safetensors"),
    )
    assert after.infos[Q.format(0)].packed
    assert torch.equal(before.get(Q.format(0)), after.get(Q.format(0)))
    assert after.infos[MIXER_Q.format(1)].dtype == torch.float16


def test_dry_run_writes_nothing_and_reads_no_weights(teacher: Path, tmp_path: Path) -> None:
    output = tmp_path / "s"
    made = convert(of(teacher, output, check_tokens=0, calibrate="none"))
    wanted = {entry.name: entry.bytes for entry in made.files}
    got = convert(of(teacher, tmp_path / "never", dry_run=True))
    assert not (tmp_path / "never").exists()
    assert got.check is None
    assert (got.kinds, got.parameters_after) == (made.kinds, made.parameters_after)
    for entry in got.files:
        if entry.name == "lm.safetensors":
            assert entry.bytes == pytest.approx(wanted[entry.name], rel=0.2)
        else:
            assert entry.bytes == wanted[entry.name]


def test_without_data_the_teacher_speaks_for_fit_and_check(teacher: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    got = convert(of(teacher, tmp_path / "s", data=None), events.append)
    assert got.check is not None
    assert got.check.tokens >= 200
    names = [event.name for event in events if isinstance(event, Stage)]
    assert names.count("speaking") >= 2


def test_published_folder_becomes_one_of_ours(tmp_path: Path) -> None:
    teacher = write_random_checkpoint(tmp_path / "CosyVoice2-0.5B")
    got = convert(of(teacher, tmp_path / "s", calibrate="none", check_tokens=0))
    made = open_model(tmp_path / "s")
    assert made.parts == ("flow", "hift", "lm")
    assert got.kinds == "TMTM"
    published = open_model(teacher)
    for part in ("flow", "hift"):
        wanted = published.tensors(part)
        got_part = made.tensors(part)
        assert set(wanted) == set(got_part)
        assert all(torch.equal(wanted[name].float(), got_part[name]) for name in wanted)
        made.load(part)
    assert made.front_end().ids("hello") == published.front_end().ids("hello")
    assert 'license: "unknown"' in (tmp_path / "s" / "README.md").read_text()


def test_dry_run_of_the_published_teacher_needs_its_configs_only(tmp_path: Path) -> None:
    teacher, config = tmp_path / "CosyVoice2-0.5B", CosyVoice2Config()
    (teacher / QWEN_FOLDER).mkdir(parents=True)
    write_qwen(teacher / QWEN_FOLDER, config)
    (teacher / YAML_FILE).write_text(yaml_text(config))
    for path in teacher.rglob("*.txt"):
        path.unlink()
    recipe = of(teacher, tmp_path / "s", ratio="1:3", mixer="mamtra-paper", dry_run=True)
    got = convert(recipe)
    assert got.parameters_before == 505_803_812
    assert got.parameters_after == 505_803_812 + 18 * (2_658_218 - 1_836_160)
    assert (got.cache_before, got.cache_after) == (12_288, 3_072)
    assert got.state_bytes == 18 * (57_344 * 4 + 1_152 * 3 * 2)
    assert got.break_even == 462
    sizes = {entry.name: entry.bytes for entry in got.files}
    assert sizes["flow.safetensors"] == 4 * 112_549_360
    with pytest.raises(CheckpointError, match="lacks"):
        convert(replace(recipe, dry_run=False))


def test_layer_zero_converted_is_warned_of(teacher: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    convert(of(teacher, tmp_path / "s", placement="back", dry_run=True), events.append)
    assert any(isinstance(event, Note) and event.warning for event in events)


def test_rounded_ratio_is_accepted_when_asked_for(teacher: Path, tmp_path: Path) -> None:
    got = convert(of(teacher, tmp_path / "s", ratio="1:2", round=True, dry_run=True))
    assert got.kinds.count("T") == 1
    assert "rounded" in got.plan
