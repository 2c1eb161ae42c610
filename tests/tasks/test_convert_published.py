"""Conversion of a published folder: what is wrong with it is told, and nothing is left behind."""

import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from examples.fullsize import make_standin
from tests.command import environment, python

from mamtra_cli import checkpoint
from mamtra_cli.checkpoint import sha256
from mamtra_cli.engine.students.pair import open_pair
from mamtra_cli.errors import CheckpointError, OutputError, UsageError
from mamtra_cli.events import ignore
from mamtra_cli.families.cosyvoice2.published import QWEN_FOLDER
from mamtra_cli.families.cosyvoice2.repository import PUBLISHED
from mamtra_cli.families.registry import open_model
from mamtra_cli.recipes import ConvertRecipe
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tensors import TensorFile

QUICK: dict[str, Any] = {"ratio": "1:3", "calibrate": "none", "check_tokens": 0, "device": "cpu"}
NORM = "llm.model.model.norm.weight"
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from mamtra_cli.cli.app import main
sys.argv[1:] = sys.argv[2:]
main()
"""


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small stand-in: the published layout, 24 narrow layers."""
    return make_standin.write(tmp_path_factory.mktemp("models") / "standin", size="tiny")


@pytest.fixture(scope="module")
def student(standin: Path) -> Path:
    """Its hybrid."""
    output = standin.parent / "student"
    convert(of(standin, output))
    return output


@pytest.fixture
def copy(standin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(standin, tmp_path / "standin"))


def of(teacher: Path, output: Path, **knobs: Any) -> ConvertRecipe:
    return ConvertRecipe(
        placement="block-begin", teacher=str(teacher), output=output, **{**QUICK, **knobs}
    )


def test_standin_is_the_same_for_the_same_seed(standin: Path, tmp_path: Path) -> None:
    again = make_standin.write(tmp_path / "again", size="tiny", spelling="old")
    for path in standin.rglob("*"):
        if path.is_file() and path.suffix != ".pt":
            assert sha256(path) == sha256(again / path.relative_to(standin)), path.name
    first, second = open_model(standin), open_model(again)
    for part in ("lm", "flow", "hift"):
        one, two = first.tensors(part), second.tensors(part)
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(one[name], two[name], msg=name)
    assert "conv_pre.weight_g" in torch.load(again / "hift.pt", weights_only=True)


def test_student_has_every_part_file_and_hash(standin: Path, student: Path) -> None:
    model, teacher = open_model(student), open_model(standin)
    assert set(model.parts) == set(teacher.parts)
    told = json.loads((student / "mamtra.json").read_text())
    for name in ("campplus.onnx", "speech_tokenizer_v2.onnx"):
        assert told["sha256"][name] == sha256(standin / name)
    for name in ("llm.pt", "flow.pt", "hift.pt"):
        assert told["teacher"]["sha256"][name] == sha256(standin / name)
    kept = teacher.tensors("lm")
    for name, value in model.tensors("lm").items():
        if name in kept:
            assert torch.equal(value, kept[name]), name
    text = "Hello [breath] there"
    assert model.front_end().ids(text) == teacher.front_end().ids(text)


@pytest.mark.parametrize(
    ("plan", "attention"),
    [("preset:mamtra-1:5", (0, 8, 11, 16)), ("preset:mamtra-1:11", (0, 16))],
    ids=["1:5", "1:11"],
)
def test_published_plans_fit_the_published_depth(
    standin: Path, tmp_path: Path, plan: str, attention: tuple[int, ...]
) -> None:
    kinds = convert(of(standin, tmp_path / "s", plan=plan, dry_run=True)).kinds
    assert tuple(i for i, kind in enumerate(kinds) if kind == "T") == attention


def test_reduced_type_halves_the_language_model(standin: Path, tmp_path: Path) -> None:
    convert(of(standin, tmp_path / "s", dtype="bfloat16"))
    file = TensorFile(tmp_path / "s" / "lm.safetensors")
    kinds = {name: info.dtype for name, info in file.infos.items()}
    assert kinds["speech_embedding.weight"] == torch.bfloat16
    assert kinds["llm.model.model.layers.1.mixer.q_proj.weight"] == torch.bfloat16
    assert kinds[NORM] == torch.float32
    loaded = open_model(tmp_path / "s").load("lm", torch.bfloat16)
    assert {value.dtype for value in loaded.parameters()} == {torch.bfloat16}


def cut(name: str, keep: float) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(keep * len(data))])

    return edit


def tensors(name: str, edit: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        table = torch.load(folder / name, weights_only=True)
        edit(table)
        torch.save(table, folder / name)

    return run


class Foreign:
    """Unpickles to a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("pwned",))


def foreign(folder: Path) -> None:
    (folder / "flow.pt").write_bytes(pickle.dumps({"weight": Foreign()}))


def vocabulary(folder: Path) -> None:
    path = folder / QWEN_FOLDER / "vocab.json"
    table = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**table, "xx": len(table)}), "utf-8")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut-lm": (cut("llm.pt", 0.5), r"`llm\.pt` is damaged"),
    "cut-vocoder": (cut("hift.pt", 0.9), r"`hift\.pt` is damaged"),
    "empty": (cut("flow.pt", 0), r"`flow\.pt` is damaged"),
    "code": (foreign, r"`flow\.pt` holds more than tensors"),
    "shape": (
        tensors("llm.pt", lambda table: table.update({NORM: torch.ones(3)})),
        r"`llm\.pt` do not fit .*1 of another shape: llm\.model\.model\.norm\.weight \(3,\) not",
    ),
    "missing-tensor": (
        tensors("llm.pt", lambda table: table.pop(NORM)),
        r"1 missing: llm\.model\.model\.norm\.weight",
    ),
    "half-a-norm": (
        tensors("hift.pt", lambda table: table.pop("conv_pre.parametrizations.weight.original0")),
        "conv_pre.*lacks its partner",
    ),
    "vocabulary": (vocabulary, r"tokenizer_config\.json.* counts 480"),
}


@pytest.mark.parametrize(("damage", "words"), BAD.values(), ids=BAD)
def test_bad_published_file_is_named_and_leaves_nothing(
    copy: Path, damage: Callable[[Path], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.parent)
    damage(copy)
    with pytest.raises(CheckpointError, match=words):
        convert(of(copy, copy.parent / "s"))
    assert [path.name for path in copy.parent.iterdir()] == ["standin"]


@pytest.mark.parametrize("name", ["flow.pt", f"{QWEN_FOLDER}/merges.txt", "cosyvoice2.yaml"])
def test_missing_file_comes_with_the_command_that_fetches_it(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointError) as said:
        convert(of(copy, copy.parent / "s"))
    assert name in said.value.message
    assert said.value.hint is not None
    assert f"hf download {PUBLISHED.name} {name} " in said.value.hint
    assert str(copy) in said.value.hint


def test_version_is_told_by_fields_and_classes_not_by_the_file_name(copy: Path) -> None:
    older = (copy / "cosyvoice2.yaml").rename(copy / "cosyvoice.yaml")
    assert convert(of(copy, copy.parent / "s", dry_run=True)).kinds
    text = older.read_text("utf-8")
    newer = re.sub(
        r"^llm:.*$", "llm: !new:cosyvoice.llm.llm.CosyVoice3LM", text, flags=re.MULTILINE
    )
    (copy / "cosyvoice2.yaml").write_text(newer)
    with pytest.raises(CheckpointError, match="holds CosyVoice 3; only CosyVoice 2"):
        convert(of(copy, copy.parent / "s", dry_run=True))


def test_steps_of_the_flow_that_are_not_known_are_refused(copy: Path) -> None:
    path = copy / "cosyvoice2.yaml"
    path.write_text(path.read_text("utf-8").replace("t_scheduler: cosine", "t_scheduler: linear"))
    with pytest.raises(CheckpointError, match="only cosine"):
        convert(of(copy, copy.parent / "s", dry_run=True))


def test_section_made_by_other_code_is_refused_at_once(copy: Path) -> None:
    path = copy / "cosyvoice2.yaml"
    text = path.read_text("utf-8")
    for known, other in (
        ("flow.CausalMaskedDiffWithXvec", "flow.CausalMaskedDiffWithDiT"),
        ("generator.HiFTGenerator", "generator.CausalHiFTGenerator"),
    ):
        assert known in text
        path.write_text(text.replace(known, other))
        (copy / "llm.pt").write_bytes(b"never read")
        with pytest.raises(CheckpointError, match=f"made by '{other.split('.')[1]}'"):
            convert(of(copy, copy.parent / "s"))


@pytest.mark.parametrize(("name", "dtype"), [("llm.pt", "bfloat16"), ("flow.pt", "keep")])
def test_weight_that_is_not_finite_is_refused(copy: Path, name: str, dtype: str) -> None:
    tensors = torch.load(copy / name, weights_only=True)
    weak = next(key for key in tensors if key.endswith(("q_proj.weight", "encoder_proj.weight")))
    tensors[weak][0, 0] = float("nan")
    torch.save(tensors, copy / name)
    with pytest.raises(CheckpointError, match=f"`{weak}` holds values that are not finite"):
        convert(of(copy, copy.parent / "s", dtype=dtype))
    assert [path.name for path in copy.parent.iterdir()] == ["standin"]


def test_part_is_read_from_the_file_that_is_named(copy: Path, tmp_path: Path) -> None:
    other = torch.load(copy / "llm.pt", weights_only=True)
    other[NORM] = other[NORM] + 1
    torch.save(other, copy / "llm.rl.pt")
    for wrong in ("lm=llm.xy.pt", "llm=llm.rl.pt", "lm"):
        with pytest.raises(UsageError, match=f"--part {wrong}"):
            convert(of(copy, tmp_path / "s", part=(wrong,)))
    convert(of(copy, tmp_path / "s", part=("lm=llm.rl.pt",)))
    student = open_model(tmp_path / "s")
    assert torch.equal(student.tensors("lm")[NORM], other[NORM])
    told = json.loads((tmp_path / "s" / "mamtra.json").read_text())
    assert told["teacher"]["sha256"]["llm.rl.pt"] == sha256(copy / "llm.rl.pt")
    teacher = open_pair(str(tmp_path / "s"), "", "cpu", ignore).teacher
    assert torch.equal(teacher.lessons.lm.state_dict()[NORM], other[NORM])
    with pytest.raises(UsageError, match="published folder"):
        open_model(tmp_path / "s", files=("lm=llm.pt",))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("cosyvoice.yaml", "CosyVoice 1"),
        ("cosyvoice3.yaml", "CosyVoice 3"),
        ("speech_tokenizer_v3.onnx", "CosyVoice 3"),
    ],
)
def test_other_version_is_named(copy: Path, name: str, version: str) -> None:
    path = (copy / "cosyvoice2.yaml").rename(copy / name)
    if version == "CosyVoice 1":
        path.write_text(
            "llm: !new:cosyvoice.llm.llm.TransformerLM\n    text_encoder_input_size: 512\n"
        )
    for dry_run in (True, False):
        with pytest.raises(CheckpointError, match=f"holds {version}; only CosyVoice 2"):
            convert(of(copy, copy.parent / "s", dry_run=dry_run))


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_exchanged_tokenizer_of_a_student_is_refused(
    student: Path, tmp_path: Path, name: str
) -> None:
    changed = Path(shutil.copytree(student, tmp_path / "changed"))
    with (changed / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(CheckpointError, match=f"`{name}` of `changed` is not the file"):
        open_model(changed).front_end()


def test_exchanged_speaker_encoder_of_a_student_is_refused(student: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(student, tmp_path / "changed"))
    (changed / "campplus.onnx").write_bytes(b"another")
    with pytest.raises(CheckpointError, match=r"`campplus\.onnx` .* is not the file"):
        open_model(changed).load("speaker_encoder")


def test_disk_without_room_is_refused_before_writing(
    standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OutputError, match=r"needs [\d.]+ MB, and 5\.00 MB are free"):
        convert(of(standin, tmp_path / "s"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize("limit", [3_000_000, 1_000], ids=["weights", "first-file"])
def test_disk_that_fills_up_leaves_nothing(standin: Path, tmp_path: Path, limit: int) -> None:
    """The kernel refuses to write beyond a size, as it does on a full disk."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    options = ["--ratio", "1:3", "--calibrate", "none", "--check-tokens", "0", "--json"]
    done = subprocess.run(
        [*python(), "-c", LIMITED, str(limit), "convert", standin, "-o", "s", *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["code"] == "output"
    assert "cannot write" in said["error"]
    assert list(tmp_path.iterdir()) == []
