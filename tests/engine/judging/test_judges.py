"""Recognisers and speaker encoders besides ours, each against a small one made here."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mamtra_cli.engine.judging.command_asr import CommandRecogniser
from mamtra_cli.engine.judging.pretrained import find_pretrained
from mamtra_cli.engine.judging.recognise import transcribe_all
from mamtra_cli.engine.judging.similarity import (
    CamPlus,
    Unavailable,
    WavLM,
    cosine,
    open_quality,
)
from mamtra_cli.errors import DataError, MamtraError, ModelNotFoundError, UsageError

Wave = NDArray[np.float32]
SECONDS = """\
import sys, wave
for path in sys.stdin.read().splitlines():
    with wave.open(path) as file:
        assert (file.getframerate(), file.getnchannels()) == (16000, 1)
        print("heard", round(file.getnframes() / 16000, 1))
"""


def tone(seconds: float, hertz: float = 220.0, rate: int = 24_000) -> Wave:
    """A tone that grows, in a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.02, len(time))
    return (0.3 * np.sin(2 * np.pi * hertz * time) * time + noise).astype(np.float32)


def command(folder: Path, program: str) -> str:
    path = folder / "ears.py"
    path.write_text(program)
    return shlex.join([sys.executable, str(path)])


def test_command_hears_every_wave_in_order(tmp_path: Path) -> None:
    ears = CommandRecogniser(command(tmp_path, SECONDS))
    waves = [tone(0.5), np.zeros(0, np.float32), tone(0.2)]
    assert transcribe_all(ears, waves, 24_000) == ["heard 0.5", "", "heard 0.2"]
    assert "sha256 of ears.py" in ears.about


@pytest.mark.parametrize(
    ("program", "message"),
    [
        pytest.param("raise SystemExit(5)", "exit code 5", id="fails"),
        pytest.param("print('a'); print('b')", "2 lines for 1 waves", id="lines"),
        pytest.param("pass", "0 lines for 1 waves", id="silence"),
        pytest.param("import os; os.write(1, b'caf\\xe9\\n')", "not UTF-8", id="latin"),
    ],
)
def test_command_that_misbehaves_is_told(tmp_path: Path, program: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CommandRecogniser(command(tmp_path, program)).transcribe(tone(0.1), 24_000)


@pytest.mark.parametrize(
    "text", ["no-such-program-here x", "'", ""], ids=["none", "quote", "empty"]
)
def test_command_that_cannot_start_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        CommandRecogniser(text)


def test_cosine_of_known_vectors() -> None:
    one = np.array([1.0, 0.0], np.float32)
    assert cosine(1e-6 * one, 1e-6 * one) == pytest.approx(1.0)
    assert cosine(one, np.zeros(2, np.float32)) == 0.0
    assert cosine(one, np.array([2.0, 0.0], np.float32)) == pytest.approx(1.0)
    assert cosine(one, np.array([0.0, 3.0], np.float32)) == pytest.approx(0.0)
    with pytest.raises(ValueError, match=r"\(D,\)"):
        cosine(one, np.zeros(3, np.float32))


def test_quality_without_weights_says_why() -> None:
    found = open_quality("auto")
    assert isinstance(found, Unavailable)
    assert found.reason
    with pytest.raises(MamtraError):
        open_quality("no-such-file.pt")


def test_pretrained_folder_is_named_by_its_hash(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no weights"):
        find_pretrained(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    found = find_pretrained(str(tmp_path))
    assert found.identity.startswith("sha256:ba7816bf")
    with pytest.raises(ModelNotFoundError, match="no folder"):
        find_pretrained("./nowhere")


def test_campplus_reads_mean_free_filter_banks(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).normal(size=(80, 192)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["bank", "bank"], ["square"]),
            helper.make_node("ReduceMean", ["square"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["vector"]),
        ],
        "campplus",
        [helper.make_tensor_value_info("bank", kind, [1, None, 80])],
        [helper.make_tensor_value_info("vector", kind, [1, 192])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "campplus.onnx"
    onnx.save(model, str(path))
    encoder = CamPlus(path)
    low, again, high = (encoder.embed(tone(0.5, hertz), 24_000) for hertz in (150, 150, 1500))
    assert low.shape == (192,)
    assert cosine(low, again) == pytest.approx(1.0)
    assert cosine(low, high) < 0.999
    assert encoder.about["identity"].startswith("sha256:")
    path.write_bytes(b"no model")
    with pytest.raises(ModelNotFoundError):
        CamPlus(path)


def write_whisper(folder: Path) -> None:
    """Write a Whisper of a few thousand random numbers with a tokenizer of single bytes."""
    transformers: Any = pytest.importorskip("transformers")
    alphabet = sorted(__import__("tokenizers").pre_tokenizers.ByteLevel.alphabet())
    special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
        "<|zh|>",
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
        *(f"<|{place / 50:.2f}|>" for place in range(1501)),
    ]
    ids = {name: len(alphabet) + place for place, name in enumerate(special)}
    vocabulary = {letter: place for place, letter in enumerate(alphabet)} | ids
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    tokenizer = transformers.WhisperTokenizer(
        vocab=vocabulary, merges=[], additional_special_tokens=special[1:10]
    )
    processor = transformers.WhisperProcessor(
        transformers.WhisperFeatureExtractor(feature_size=80), tokenizer
    )
    processor.save_pretrained(folder)
    end = ids["<|endoftext|>"]
    config = transformers.WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=32,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config)
    with torch.no_grad():  # so that it says letters
        model.model.decoder.embed_tokens.weight[len(alphabet) :] = 0
    model.save_pretrained(folder)
    generation = {
        "is_multilingual": True,
        "lang_to_id": {name: ids[name] for name in ("<|en|>", "<|zh|>")},
        "task_to_id": {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "max_length": 12,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "pad_token_id": end,
        "bos_token_id": end,
        "eos_token_id": end,
    }
    (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_whisper_hears_alike_alone_and_in_company(tmp_path: Path) -> None:
    from mamtra_cli.engine.judging.whisper import Whisper

    write_whisper(tmp_path / "tiny")
    ears = Whisper(str(tmp_path / "tiny"), language="zh")
    asked: list[dict[str, Any]] = []
    generate = ears._model.generate
    ears._model.generate = lambda *args, **kw: (asked.append(kw), generate(*args, **kw))[1]
    waves = [tone(0.4), tone(1.0, 700)]
    together = ears.transcribe_many(waves, 24_000)
    assert together == [ears.transcribe(wave, 24_000) for wave in waves]
    assert any(together)
    assert asked[0]["language"] == "chinese"
    assert asked[0]["task"] == "transcribe"
    assert isinstance(ears.transcribe(tone(31.0), 24_000), str)
    assert asked[-1]["return_timestamps"] is True
    assert ears.about["identity"].startswith("sha256:")
    assert "tiny" in ears.about["name"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wavlm_tells_tones_apart(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8, 8],
        conv_stride=[40, 8],
        conv_kernel=[40, 8],
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=[16, 16],
        tdnn_kernel=[3, 1],
        tdnn_dilation=[1, 1],
        xvector_output_dim=12,
    )
    torch.manual_seed(0)
    transformers.WavLMForXVector(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    encoder = WavLM(str(tmp_path))
    low, again, high = (encoder.embed(tone(0.5, hertz), 24_000) for hertz in (150, 150, 1500))
    assert low.shape == (12,)
    assert cosine(low, again) == pytest.approx(1.0)
    assert cosine(low, high) < cosine(low, again)
    assert not encoder.reads_voices


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from mamtra_cli.engine.judging.whisper import Whisper

    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="no Whisper model"):
        Whisper(str(tmp_path))
