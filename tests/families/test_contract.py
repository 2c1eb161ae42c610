"""A family that the program has never heard of goes through every command."""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from tests.families.toy.family import FAMILY
from tests.families.toy.lm import ToyConfig

from mamtra_cli.backbone import kinds
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.config import to_dict
from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.families import registry
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes import (
    ConvertRecipe,
    DistillRecipe,
    EvalRecipe,
    ProfileRecipe,
    SynthRecipe,
)
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import distill
from mamtra_cli.tasks.evaluate import evaluate
from mamtra_cli.tasks.profile import profile
from mamtra_cli.tasks.synth import synth
from mamtra_cli.tensors import TensorFile


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """The toy as a package that is installed brings it."""
    plugin = EntryPoint("toy", "tests.families.toy.family:FAMILY", registry.GROUP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "entry_points", lambda group: [plugin] * (group == registry.GROUP))
        registry.family.cache_clear()
        yield
    registry.family.cache_clear()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, and beside it pairs of text and frames of three ids."""
    root, config = tmp_path_factory.mktemp("toy"), ToyConfig()
    torch.manual_seed(0)
    state = FAMILY.build_part(config, "lm").state_dict()
    state = {name: value + 0.2 * torch.randn(value.shape) for name, value in state.items()}
    with FolderWriter(root / "teacher") as writer:
        writer.write_tensors("lm.safetensors", state.items())
        writer.write_config("toy", to_dict(config))
        writer.write_tensors("voices/one.safetensors", [("embedding", torch.zeros(1))])
    generator = torch.Generator().manual_seed(1)
    pairs = [
        Example(
            id=str(i),
            text_ids=tuple(torch.randint(26, (6 + i % 5,), generator=generator).tolist()),
            tokens=tuple(torch.randint(16, (3 * (12 + i % 7),), generator=generator).tolist()),
            codebooks=3,
        )
        for i in range(40)
    ]
    write_examples(root / "pairs.jsonl", pairs)
    return root / "teacher"


@pytest.fixture(scope="module")
def student(teacher: Path) -> Path:
    """Every other layer converted and fitted."""
    output = teacher.with_name("student")
    convert(of(teacher, output=output))
    return output


def of(teacher: Path, **knobs: object) -> ConvertRecipe:
    recipe = ConvertRecipe(
        placement="block-begin", calibration_tokens=200, check_tokens=40, device="cpu"
    )
    data = teacher.with_name("pairs.jsonl")
    return replace(recipe, teacher=str(teacher), ratio="1:1", data=data, **knobs)  # type: ignore[arg-type]


def test_convert_exchanges_layers_and_compares_in_every_codebook(
    teacher: Path, student: Path
) -> None:
    names = set(TensorFile(student / "lm.safetensors"))
    assert "stack.layers.0.self_attn.q_proj.weight" in names
    assert "stack.layers.1.mixer.q_proj.weight" in names
    told = json.loads((student / "mamtra.json").read_text())
    assert told["check"]["tokens"] % 3 == 0
    assert all(fit["after"] < fit["before"] for fit in told["calibration"])


def test_a_mixer_of_its_own_is_one_file_and_one_line(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "_KINDS", kinds.kinds())
    here = "tests.families.toy.mixer"
    kinds.register("R", kinds.Entry(name="running mean", file=here, mixer="mean"))
    made = convert(of(teacher, output=tmp_path / "s", plan="1:1,kind=R"))
    assert made.kinds == "TRTR"
    tensors = TensorFile(tmp_path / "s" / "lm.safetensors")
    value = TensorFile(teacher / "lm.safetensors").get("stack.layers.1.self_attn.v_proj.weight")
    assert torch.equal(tensors.get("stack.layers.1.mixer.v_proj.weight"), value)


def test_layers_are_chosen_by_measure(teacher: Path, tmp_path: Path) -> None:
    made = convert(of(teacher, output=tmp_path / "s", placement="auto:swap,tokens=60"))
    assert made.selection is not None
    assert made.kinds.count("M") == 2


@pytest.mark.parametrize(
    "knobs",
    [{}, {"packing": True, "teacher_cache": 17, "cache_hidden": True}, {"own_steps": 2}],
    ids=["padded", "packed-stored", "own-speech"],
)
def test_distill_brings_the_student_nearer(
    teacher: Path, tmp_path: Path, knobs: dict[str, object]
) -> None:
    raw = tmp_path / "raw"
    convert(of(teacher, output=raw, init="random", calibrate="none", check_tokens=0))
    recipe = DistillRecipe(
        student=str(raw), teacher=str(teacher), data=teacher.with_name("pairs.jsonl"),
        output=tmp_path / "tuned", steps=20, align_steps=20, batch_tokens=60, check_tokens=40,
        ce_weight=0.0, lr=3e-3, device="cpu", report=False, plot=False,
    )  # fmt: skip
    done = distill(replace(recipe, **knobs))  # type: ignore[arg-type]
    assert done.before is not None
    assert done.after is not None
    assert done.after.kl < done.before.kl


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_synth_speaks_with_it(teacher: Path, tmp_path: Path, stream: bool) -> None:
    recipe = SynthRecipe(text="A toy. It hums.", output=str(tmp_path / "a.wav"), model=str(teacher))
    done = synth(replace(recipe, device="cpu", stream=stream))
    assert (done.sample_rate, done.pieces) == (8_000, 2)
    assert done.seconds == pytest.approx(done.tokens / 12.5 + 0.2, abs=0.01)


def test_eval_scores_it_beside_its_teacher(teacher: Path, student: Path) -> None:
    recipe = EvalRecipe(
        model=str(student), teacher=str(teacher), sentences=1, asr="command:echo a toy",
        similarity="none", utmos="none", mos="none", rounds=10, device="cpu",
    )  # fmt: skip
    found = evaluate(recipe)
    assert found.difference is not None
    assert found.difference.values["kl"] >= 0
    assert 0 < found.difference.values["agreement"] <= 1


def test_profile_measures_it(teacher: Path) -> None:
    recipe = ProfileRecipe(model=str(teacher), seq=32, runs=1, warmup=0, device="cpu")
    stages = {row.stage: row.values for row in profile(recipe).rows if row.measured}
    assert {"weights", "prefill", "step", "codec", "speech"} <= stages.keys()
    assert stages["codec"]["seconds"] == 100 / 12.5


def test_profile_estimates_it(teacher: Path) -> None:
    rows = profile(ProfileRecipe(model=str(teacher), estimate=True, device="cpu")).rows
    weights = {row.stage: row.values for row in rows}["weights"]
    state = FAMILY.build_part(ToyConfig(), "lm").state_dict()
    assert weights["parameters"] == sum(value.numel() for value in state.values())
