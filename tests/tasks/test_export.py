"""`export` writes graphs that say what the modules say, into a folder that speaks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.engine.tiny import tiny_voice
from tests.families.cosyvoice2.tiny import tiny_config, write_random_checkpoint
from tests.families.mvc.tiny import write_tiny_mvc
from tests.tiny_model import write_tiny_model

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.engine.loading.light import opened
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import PlanError, UsageError
from mamtra_cli.recipes.export import ExportRecipe
from mamtra_cli.tasks.export import export
from mamtra_cli.voices.voice import Manner, save_voice

pytest.importorskip("onnx")
PROGRAM = Path(__file__).parents[2] / "examples" / "onnx_program.py"
GRAPHS = ("lm", "flow_encoder", "flow_estimator", "hift")


def ran_program(folder: Path) -> str:
    ran = subprocess.run([sys.executable, PROGRAM, folder], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_exported_folder_speaks_by_its_graphs(tmp_path: Path) -> None:
    result = export(ExportRecipe(model="mini", output=tmp_path / "m"))
    assert set(result.graphs) == {
        "lm.onnx",
        "flow_encoder.onnx",
        "flow_estimator.onnx",
        "source_filter.onnx",
    }
    assert result.scores < 1e-4
    assert result.samples < 5e-3
    # Weights are named, not stored again.
    assert sum(result.graphs.values()) < 400_000
    assert opened(tmp_path / "m", "m")[0] is not None


def test_a_model_without_tokens_is_exported_with_the_files_that_it_shares(tmp_path: Path) -> None:
    result = export(ExportRecipe(model="mini-mvc", output=tmp_path / "m"))
    assert set(result.graphs) == {
        "conditioner_phones.onnx",
        "conditioner_frames.onnx",
        "flow_estimator.onnx",
        "source_filter.onnx",
    }
    assert result.scores < 1e-4
    assert result.samples < 5e-3
    assert opened(tmp_path / "m", "m")[0] is not None
    with pytest.raises(PlanError, match="no step"):
        export(ExportRecipe(model="mini-mvc", quant="int8", output=tmp_path / "few"))


@pytest.mark.parametrize("told", [(), ("lookahead=0.1", "pitch=-1.5")], ids=["whole", "stream"])
def test_a_model_without_tokens_on_the_published_vocoder_speaks_by_its_graphs(
    tmp_path: Path, told: tuple[str, ...]
) -> None:
    tiny = write_tiny_mvc(tmp_path, source_filter=False)
    result = export(ExportRecipe(model=str(tiny), output=tmp_path / "m"))
    assert "hift.onnx" in result.graphs
    assert result.scores < 1e-4
    assert result.samples < 5e-3
    engine, reason = opened(tmp_path / "m", "m")
    assert engine is not None, reason
    options = SpeechOptions(seed=5, stream=bool(told), manner=Manner(told=told))
    waves = []
    for road in (engine, Engine.load(str(tiny), device="cpu")):
        said = speak(road, "The birch canoe slid.", road.voice("ann"), options)
        waves.append(np.concatenate([np.asarray(chunk.audio) for chunk in said]))
    np.testing.assert_allclose(waves[0], waves[1], atol=5e-3)
    assert abs(waves[0]).max() > 0.01


@pytest.mark.parametrize(("quant", "same", "kl"), [("int8", 0.97, 1e-3), ("int4", 0.85, 2e-2)])
def test_a_step_of_few_bits_says_nearly_the_same(
    tmp_path: Path, quant: str, same: float, kl: float
) -> None:
    result = export(ExportRecipe(model="mini", quant=quant, output=tmp_path / "m"))
    assert result.top1 >= same
    assert 0 < result.kl <= kl
    assert result.samples < 5e-3  # flow and vocoder keep their bits
    assert opened(tmp_path / "m", "m")[0] is not None


@pytest.mark.parametrize("name", ["mini", "mini-mvc"])
def test_shipped_graphs_are_those_of_the_shipped_weights(name: str) -> None:
    from mamtra_cli.hub import BUILT_IN

    engine, reason = opened(BUILT_IN[name], name)
    assert engine is not None, reason


def test_unknown_formats_and_missing_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output"):
        export(ExportRecipe(model="mini"))
    with pytest.raises(UsageError, match="tflite"):
        export(ExportRecipe(model="mini", to="tflite", output=tmp_path / "m"))
    with pytest.raises(UsageError, match="int3"):
        export(ExportRecipe(model="mini", quant="int3", output=tmp_path / "m"))


def test_a_model_with_the_published_vocoder_speaks_by_its_graphs(tmp_path: Path) -> None:
    tiny = write_tiny_model(tmp_path / "tiny")
    result = export(ExportRecipe(model=str(tiny), output=tmp_path / "m"))
    assert "hift.onnx" in result.graphs
    assert result.samples < 5e-3
    assert opened(tmp_path / "m", "m")[0] is not None
    assert "48000 samples" in ran_program(tmp_path / "m")


def test_a_published_folder_is_exported_in_our_format(tmp_path: Path) -> None:
    published = write_random_checkpoint(tmp_path / "published", tiny_config())
    result = export(ExportRecipe(model=str(published), output=tmp_path / "m"))
    assert set(result.graphs) == {f"{name}.onnx" for name in GRAPHS}
    save_voice(tiny_voice(30), tmp_path / "m" / "voices" / "ann.safetensors")
    light, modules = opened(tmp_path / "m", "m")[0], Engine.load(str(tmp_path / "m"), device="cpu")
    assert light is not None
    assert light.facts == modules.facts
    # It goes on from a clip, and from a piece after the clip, without torch as with it.
    longer, waves = [], []
    for engine in (light, modules):
        voice = engine.voice("ann")
        settings = engine.speaker.settings(voice)
        after = engine.speaker.after([5, 6], [(7,), (8,)], voice, settings)
        assert after is not None
        longer.append(after[0].heard(after[1]))
        frames, shown = [(token,) for token in range(20)], engine.speaker.sound_prompt(voice)
        waves.append(np.asarray(engine.speaker.codec.whole(frames, shown, SoundOptions())))
    assert longer[0] == longer[1]
    np.testing.assert_allclose(waves[0], waves[1], atol=5e-3)


def test_a_model_without_graphs_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mamtra_cli.families.cosyvoice2 import graphs

    monkeypatch.setattr(graphs, "obstacle", lambda stack: "layer 1: too new")
    with pytest.raises(PlanError, match="`mini` has no graph: layer 1: too new"):
        export(ExportRecipe(model="mini", output=tmp_path / "m"))
    assert not (tmp_path / "m").exists()


def test_the_sample_program_runs_an_exported_folder_without_mamtra() -> None:
    from mamtra_cli.hub import BUILT_IN

    assert "import mamtra" not in PROGRAM.read_text()
    assert ran_program(BUILT_IN["mini"]).startswith("mel (1, 80, 100), mean -")
