"""A model of this family with a codec of mels goes through the commands: it speaks, is converted,
taught, judged and measured. What `examples/zonos` trains is such a model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from tests.codecs.residual_mel.test_codec import TINY

from mamtra_cli import config as configs
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.codecs.residual_mel.model import ResidualMel
from mamtra_cli.engine.judging import evaluation
from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.engine.model import Engine
from mamtra_cli.families import registry
from mamtra_cli.families.lessons import Example
from mamtra_cli.families.zonos.config import Condition, LMConfig, SpeakerConfig, ZonosConfig
from mamtra_cli.families.zonos.family import FAMILY
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.positions import positions
from mamtra_cli.families.zonos.symbols import TABLE_ROWS
from mamtra_cli.recipes import ConvertRecipe, DistillRecipe, EvalRecipe, ProfileRecipe
from mamtra_cli.recipes.synth import SynthRecipe
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import distill
from mamtra_cli.tasks.evaluate import evaluate
from mamtra_cli.tasks.profile import profile
from mamtra_cli.tasks.synth import synth
from mamtra_cli.voices.voice import Manner

SMALL = ZonosConfig(
    lm=LMConfig(
        d_model=32,
        n_layers=4,
        n_heads=2,
        n_kv_heads=1,
        head_dim=16,
        d_ff=48,
        codebooks=TINY.codebooks,
        codes=TINY.codes,
        conditions=(
            Condition(name="espeak", kind="phones", learned=False),
            Condition(name="speaker", kind="vector", width=8),
            Condition(name="pitch_std", kind="fourier", high=400.0),
            Condition(name="speaking_rate", kind="fourier", high=40.0),
        ),
        durations=(0.4,) * TABLE_ROWS,  # a random model ends after some 17 frames,
    ),
    mel_codec=TINY,
    speaker=SpeakerConfig(width=2, blocks=(1, 1, 1, 1), bottleneck=4, dim=16, lda=8),
    repetition_penalty=1.0,
    max_seconds=4.0,
)
PHONES = "phones=həlˈoʊ ðˈɛɹ"
LOUD = 1.5  # of the mel of a random codec, so that its sound is no silence


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights and two voices."""
    torch.manual_seed(0)
    lm, codec = ZonosLM(SMALL.lm), ResidualMel(TINY)
    with torch.no_grad():
        codec.speak.out.bias.fill_(LOUD)
    with FolderWriter(tmp_path_factory.mktemp("small") / "teacher") as writer:
        speaker = FAMILY.build_part(SMALL, "speaker")
        for name, part in {"lm": lm, "codec": codec, "speaker": speaker}.items():
            tensors = part.state_dict().items()
            writer.write_tensors(f"{name}.safetensors", tensors, storage="float32")
        writer.write_config("zonos", configs.to_dict(SMALL))
        for name in ("ann", "bob"):
            writer.write_tensors(
                f"voices/{name}.safetensors",
                [("embedding", torch.randn(8))],
                metadata={"name": name},
            )
    return writer.target


@pytest.fixture(scope="module")
def pairs(teacher: Path) -> Path:
    """Random phones, frames and voices."""
    draw = torch.Generator().manual_seed(1)
    path = teacher.with_name("pairs.jsonl")
    lessons = [
        Example(
            id=str(number),
            text_ids=(2, *torch.randint(28, 180, (6 + number % 5,), generator=draw).tolist(), 3),
            tokens=tuple(
                torch.randint(TINY.codes, (3 * (8 + number % 7),), generator=draw).tolist()
            ),
            voice=tuple(torch.randn(8, generator=draw).tolist()),
            codebooks=TINY.codebooks,
        )
        for number in range(24)
    ]
    write_examples(path, lessons)
    return path


@pytest.fixture(scope="module")
def student(teacher: Path, pairs: Path) -> Path:
    output = teacher.with_name("student")
    recipe = ConvertRecipe(
        placement="block-begin", teacher=str(teacher), output=output, ratio="1:1", device="cpu"
    )
    convert(replace(recipe, data=pairs, calibration_tokens=100, check_tokens=40))
    return output


@pytest.mark.parametrize("guidance", ["guidance=1", "guidance=2"])
def test_it_speaks_in_its_voices_as_it_is_told(
    teacher: Path, tmp_path: Path, guidance: str
) -> None:
    recipe = SynthRecipe(
        text="Hello there.", model=str(teacher), voice="ann", device="cpu", retries=20,
        settings=(PHONES, guidance, "speaking_rate=12"), output=str(tmp_path / "a.wav"),
    )  # fmt: skip
    result = synth(recipe)
    wave, rate = soundfile.read(tmp_path / "a.wav")
    assert (rate, len(wave) > 0) == (24_000, True)
    assert result.seconds == pytest.approx(len(wave) / rate, abs=0.01)


def test_phones_stand_on_the_time_axis_of_the_speech() -> None:
    lm = SMALL.lm
    assert positions(replace(lm, durations=()), (2, 30, 3), 15.0, 4) is None
    laid = positions(lm, (2, 30, 3), 15.0, 4)
    assert laid == pytest.approx([0.2, 0.6, 1.0, -1, -1, -1, 0, 1, 2, 3])
    slow = positions(lm, (2, 30, 3), 7.5, 4)
    assert slow is not None
    assert slow[:3] == pytest.approx([0.4, 1.2, 2.0])


def test_steps_of_placed_phones_equal_one_pass(teacher: Path) -> None:
    engine = Engine.load(str(teacher), device="cpu")
    speaker, lm = engine.speaker, engine.lessons.lm
    voice = engine.voice("ann")
    told = speaker.settings(voice, Manner(told=(PHONES, "guidance=1")))
    script = speaker.begin(speaker.encode("x", told), voice, told, most=12)
    tokens = speaker.plain_tokens()
    scores, rows = tokens.read([script.reads], None, [0], [None])
    fused = speaker.tokens
    first, held = fused.read([script.reads], None, [0], [None])
    torch.testing.assert_close(first, scores)
    columns = torch.randint(SMALL.lm.codes, (5, SMALL.lm.codebooks))
    for column in columns:
        scores, rows = tokens.step(column[None], rows)
        first, held = fused.step(column[None], held)
        torch.testing.assert_close(first, scores, atol=1e-4, rtol=1e-4)
    reads = replace(script.reads, columns=(*script.reads.columns, *map(tuple, columns.tolist())))
    whole, _ = tokens.read([reads], None, [0], [None])
    torch.testing.assert_close(whole, scores, atol=1e-4, rtol=1e-4)
    assert isinstance(lm, ZonosLM)


@pytest.mark.parametrize("packed", [False, True])
def test_it_is_converted_and_taught(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, packed: bool
) -> None:
    model = registry.open_model(student)
    assert (model.config.lm.kinds, model.config.mel_codec) == ("TMTM", TINY)
    done = distill(
        DistillRecipe(
            student=str(student), data=pairs, output=tmp_path / "tuned", steps=2, align_steps=2,
            own_steps=0, check_tokens=40, batch_tokens=100, packing=packed, device="cpu",
            report=False, plot=False,
        )
    )  # fmt: skip
    assert done.after is not None
    assert registry.open_model(tmp_path / "tuned").config == model.config


def test_it_is_judged_beside_its_teacher(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jiwer")

    class Deaf:
        about: ClassVar[dict[str, str]] = {"name": "deaf"}

        def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
            assert (wave.ndim, rate) == (1, 24_000)
            return "nothing"

    def ears(spec: str, texts: Sequence[str], engine: Engine, language: str) -> Deaf:
        return Deaf()

    monkeypatch.setattr(evaluation, "open_recogniser", ears)
    found = evaluate(
        EvalRecipe(
            model=str(student), sentences=2, retries=20, rounds=20, voice="ann", device="cpu"
        )
    )
    assert found.scores.values["wer"] > 0
    assert found.difference is not None
    assert found.difference.values["kl"] > 0


def test_it_is_measured(teacher: Path, student: Path) -> None:
    for folder in (teacher, student):
        rows = profile(
            ProfileRecipe(model=str(folder), device="cpu", seq=40, runs=1, warmup=0)
        ).rows
        assert rows
        memory = profile(
            ProfileRecipe(
                model=str(folder), device="cpu", savings=True, imitate_official=True, seconds=2.0
            )
        )
        assert memory.savings[0].name == "official pipeline"
        assert memory.savings[-1].hybrid is (folder == student)
        measured = {row.stage: row.values["peak_bytes"] for row in memory.rows}
        assert measured["memory"] < measured["official_memory"]
