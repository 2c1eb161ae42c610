"""A published transformer is converted, taught and counted; what stays is equal bit for bit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.families.zonos.tiny import published_folder

from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.errors import PlanError
from mamtra_cli.families import registry
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes import ConvertRecipe, DistillRecipe, ProfileRecipe
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import distill
from mamtra_cli.tasks.profile import profile
from mamtra_cli.tensors import TensorFile


@pytest.fixture(scope="module")
def teacher(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder, and beside it pairs of phones and frames of nine codes."""
    root = tmp_path_factory.mktemp("zonos")
    draw = torch.Generator().manual_seed(1)
    pairs = [
        Example(
            id=str(number),
            text_ids=(2, *torch.randint(28, 180, (6 + number % 5,), generator=draw).tolist(), 3),
            tokens=tuple(torch.randint(1024, (9 * (8 + number % 7),), generator=draw).tolist()),
            codebooks=9,
        )
        for number in range(24)
    ]
    write_examples(root / "pairs.jsonl", pairs)
    return published_folder(goldens, "transformer", root / "teacher")


def of(teacher: Path, **knobs: object) -> ConvertRecipe:
    recipe = ConvertRecipe(
        placement="block-begin", calibration_tokens=200, check_tokens=40, device="cpu", ratio="1:1"
    )
    data = teacher.with_name("pairs.jsonl")
    return replace(recipe, teacher=str(teacher), data=data, **knobs)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def student(teacher: Path) -> Path:
    output = teacher.with_name("student")
    convert(of(teacher, output=output))
    return output


def test_layers_are_exchanged_and_compared_in_every_codebook(student: Path) -> None:
    told = json.loads((student / "mamtra.json").read_text("utf-8"))
    assert told["check"]["tokens"] > 0
    assert all(fit["after"] < fit["before"] for fit in told["calibration"])
    model = registry.open_model(student)
    plan = LayerPlan.parse("1:1", model.config.lm.n_layers)
    assert (model.family.name, model.config.lm.kinds) == ("zonos", plan.kinds)
    assert set(model.parts) == {"lm", "codec", "speaker"}
    assert model.config.codec.sample_rate == 8000
    assert all(len(model.load(part).state_dict()) for part in model.parts)


def test_projections_of_a_converted_layer_are_the_teachers(teacher: Path, tmp_path: Path) -> None:
    convert(of(teacher, output=tmp_path / "s", calibrate="none", check_tokens=0))
    published = load_file(teacher / "model.safetensors")
    ours = load_file(tmp_path / "s" / "lm.safetensors")
    lm = registry.open_model(tmp_path / "s").config.lm
    widths = [lm.n_heads * lm.head_dim, lm.n_kv_heads * lm.head_dim, lm.n_kv_heads * lm.head_dim]
    for layer, kind in enumerate(lm.kinds):
        stem = f"backbone.layers.{layer}"
        mixer = f"{stem}.{'self_attn' if kind == 'T' else 'mixer'}"
        fused = published[f"{stem}.mixer.in_proj.weight"].float()
        for name, rows in zip("qkv", torch.split(fused, widths), strict=True):
            assert torch.equal(ours[f"{mixer}.{name}_proj.weight"].float(), rows)
        out = published[f"{stem}.mixer.out_proj.weight"]
        assert torch.equal(ours[f"{mixer}.o_proj.weight"].float(), out.float())
        halves = (ours[f"{stem}.mlp.{name}_proj.weight"] for name in ("up", "gate"))
        assert torch.equal(torch.cat(tuple(halves)), published[f"{stem}.mlp.fc1.weight"])


def test_attention_of_the_published_hybrid_is_exchanged_and_its_own_layers_stay(
    goldens: Path, teacher: Path, tmp_path: Path
) -> None:
    hybrid = published_folder(goldens, "hybrid", tmp_path / "hybrid")
    recipe = replace(
        of(teacher, output=tmp_path / "student"), teacher=str(hybrid), ratio="0:1", check_tokens=40
    )
    done = convert(recipe)
    model = registry.open_model(tmp_path / "student")
    published = registry.open_model(hybrid)
    kinds = published.config.lm.kinds
    assert model.config.lm.kinds == kinds.replace("T", "M")
    assert done.check is not None
    attention = kinds.count("T")
    told = f"{attention} of its {attention} attention layers"
    assert told in (tmp_path / "student" / "README.md").read_text("utf-8")
    before, after = published.tensors("lm"), model.tensors("lm")
    stems = tuple(f"backbone.layers.{at}." for at, kind in enumerate(kinds) if kind == "N")
    own = [name for name in before if name.startswith(stems)]
    assert own
    assert all(torch.equal(before[name].float(), after[name].float()) for name in own)
    with pytest.raises(PlanError, match=f"only {attention} of the {len(kinds)} layers are"):
        convert(replace(recipe, ratio="1:1", placement="auto:swap", output=tmp_path / "auto"))
    with pytest.raises(PlanError, match="is a hybrid already: M"):
        convert(replace(recipe, teacher=str(tmp_path / "student"), output=tmp_path / "again"))


def test_a_student_comes_nearer_by_lessons(teacher: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    convert(of(teacher, output=raw, init="random", calibrate="none", check_tokens=0))
    done = distill(
        DistillRecipe(
            student=str(raw), teacher=str(teacher), data=teacher.with_name("pairs.jsonl"),
            output=tmp_path / "tuned", steps=20, align_steps=20, batch_tokens=60, check_tokens=40,
            own_steps=0, ce_weight=0.0, lr=3e-3, device="cpu", report=False, plot=False,
        )
    )  # fmt: skip
    assert done.before is not None
    assert done.after is not None
    assert done.after.kl < done.before.kl
    names = set(TensorFile(tmp_path / "tuned" / "lm.safetensors"))
    assert "prefix_conditioner.conditioners.2.uncond_vector" in names


def test_profile_counts_every_parameter(teacher: Path, student: Path) -> None:
    for folder in (teacher, student):
        rows = profile(ProfileRecipe(model=str(folder), estimate=True, device="cpu")).rows
        weights = {row.stage: row.values for row in rows}["weights"]
        lm = registry.open_model(folder).load("lm")
        assert weights["parameters"] == sum(value.numel() for value in lm.state_dict().values())
