"""The published encoders as ONNX graphs: the calls of our own modules, and files that are wrong."""

import sys
from pathlib import Path

import onnx
import pytest
import torch
from examples.fullsize import onnx_graphs
from onnx import TensorProto, helper, numpy_helper
from tests.families.cosyvoice2.tiny import write_random_checkpoint

from mamtra_cli.codecs.flow_hift.config import SpeechTokenizerConfig
from mamtra_cli.codecs.flow_hift.speech_tokenizer import SpeechTokenizer, code_count
from mamtra_cli.errors import CheckpointError, MissingDependencyError
from mamtra_cli.families.cosyvoice2.onnx_parts import (
    OnnxSpeakerEncoder,
    OnnxSpeechTokenizer,
    load,
)
from mamtra_cli.families.registry import open_model
from mamtra_cli.features import fbank80, logmel128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder with both graphs."""
    folder = write_random_checkpoint(tmp_path_factory.mktemp("published"))
    onnx_graphs.write_speech_tokenizer(folder / "speech_tokenizer_v2.onnx")
    onnx_graphs.write_speaker_encoder(folder / "campplus.onnx")
    return folder


@pytest.fixture
def wave() -> torch.Tensor:
    return torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0)) * 0.1


def test_model_lists_and_loads_the_graphs_as_parts(folder: Path, wave: torch.Tensor) -> None:
    model = open_model(folder)
    assert model.parts[-2:] == ("speech_tokenizer", "speaker_encoder")
    tokenizer, encoder = model.load("speech_tokenizer"), model.load("speaker_encoder")
    assert isinstance(tokenizer, OnnxSpeechTokenizer)
    assert isinstance(encoder, OnnxSpeakerEncoder)
    codes, counts = tokenizer.to("cpu").requires_grad_(False).encode(logmel128(wave))
    assert counts.tolist() == [code_count(200)] * 2
    assert codes.shape == (2, 50)
    assert codes.dtype == torch.int64
    assert 0 <= int(codes.min()) < int(codes.max()) < 6561
    vectors = encoder(fbank80(wave, subtract_mean=True))
    assert vectors.shape == (2, 192)
    assert vectors.dtype == torch.float32
    assert not torch.allclose(vectors[0], vectors[1])


def test_padding_of_a_batch_changes_nothing(folder: Path, wave: torch.Tensor) -> None:
    model = open_model(folder)
    tokenizer, encoder = model.load("speech_tokenizer"), model.load("speaker_encoder")
    assert isinstance(tokenizer, OnnxSpeechTokenizer)
    logmel, lens = logmel128(wave), torch.tensor([200, 120])
    codes, counts = tokenizer.encode(logmel, lens)
    alone, _ = tokenizer.encode(logmel[1:, :, :120])
    assert counts.tolist() == [50, 30]
    assert torch.equal(codes[1, :30], alone[0])
    assert not codes[1, 30:].any()
    fbank = fbank80(wave, subtract_mean=True)
    short = encoder(fbank[1:, :120])
    torch.testing.assert_close(encoder(fbank, lens - torch.tensor([2, 0]))[1:], short)


def test_speech_beyond_thirty_seconds_is_read_in_the_windows_of_our_own_tokenizer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logmel = torch.randn(1, 128, 5000, generator=torch.Generator().manual_seed(1))
    sizes = SpeechTokenizerConfig(width=64, heads=1, layers=1)
    torch.manual_seed(0)
    ours = SpeechTokenizer(sizes).eval()
    tokenizer = OnnxSpeechTokenizer(folder / "speech_tokenizer_v2.onnx")
    seen: list[int] = []

    def window(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape[2])
        codes: torch.Tensor = ours(part).codes[0]
        return codes

    monkeypatch.setattr(tokenizer, "_codes", window)
    codes, counts = tokenizer.encode(logmel)
    wanted, lens = ours.encode(logmel)
    assert seen == [3000, 2400]
    assert torch.equal(codes, wanted)
    assert torch.equal(counts, lens)


def test_graph_of_a_trained_size_gives_the_ids_of_the_torch_twin(tmp_path: Path) -> None:
    """The quantiser of the stand-in graph, in torch: the adapter loses and reorders nothing."""
    path = tmp_path / "speech_tokenizer_v2.onnx"
    onnx_graphs.write_speech_tokenizer(path, seed=3)
    arrays = {
        entry.name: torch.tensor(numpy_helper.to_array(entry))
        for entry in onnx.load(str(path)).graph.initializer
    }
    logmel = torch.randn(1, 128, 90, generator=torch.Generator().manual_seed(2))
    hidden = logmel
    for name in ("w1", "w2"):
        hidden = torch.nn.functional.conv1d(hidden, arrays[name], stride=2, padding=1).tanh()
    low = (hidden.transpose(1, 2) @ arrays["down"]).tanh() * arrays["scale"]
    wanted = ((low.round() + 1) @ arrays["places"]).long()
    codes, _ = OnnxSpeechTokenizer(path).encode(logmel)
    assert torch.equal(codes, wanted)


def test_wrong_shapes_by_code_are_told_with_their_shape(folder: Path) -> None:
    tokenizer = OnnxSpeechTokenizer(folder / "speech_tokenizer_v2.onnx")
    with pytest.raises(ValueError, match=r"\(1, 80, 9\)"):
        tokenizer.encode(torch.zeros(1, 80, 9))
    with pytest.raises(ValueError, match=r"\(1, 9, 128\)"):
        OnnxSpeakerEncoder(folder / "campplus.onnx")(torch.zeros(1, 9, 128))


def test_damaged_missing_and_exchanged_graphs_are_refused(folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "campplus.onnx"
    cut.write_bytes((folder / "campplus.onnx").read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"`campplus.onnx` is damaged"):
        load("speaker_encoder", cut)
    with pytest.raises(CheckpointError, match="missing"):
        load("speaker_encoder", tmp_path / "no.onnx")
    with pytest.raises(CheckpointError, match="inputs of shape"):
        load("speaker_encoder", folder / "speech_tokenizer_v2.onnx")


def test_graph_with_another_output_is_refused_when_it_runs(tmp_path: Path) -> None:
    node = helper.make_node("ReduceMean", ["input"], ["output"], axes=[1], keepdims=0)
    fbank = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["B", "T", 80])
    vector = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["B", 80])
    path = tmp_path / "campplus.onnx"
    onnx_graphs.save(helper.make_graph([node], "other", [fbank], [vector]), path)
    with pytest.raises(CheckpointError, match=r"vectors of shape \(80,\), not \(192,\)"):
        OnnxSpeakerEncoder(path)(torch.zeros(1, 5, 80))


def test_without_onnxruntime_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError) as said:
        load("speaker_encoder", folder / "campplus.onnx")
    assert said.value.hint is not None
    assert "mamtra-cli[onnx]" in said.value.hint
