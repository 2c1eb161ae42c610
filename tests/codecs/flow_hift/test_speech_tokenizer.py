"""The speech tokenizer against its published port; FSQ digits; padding and long speech."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.codecs.flow_hift.config import SpeechTokenizerConfig
from mamtra_cli.codecs.flow_hift.speech_tokenizer import (
    WINDOW_FRAMES,
    SpeechTokenizer,
    code_count,
    codes_to_digits,
    digits_to_codes,
)
from mamtra_cli.errors import UsageError

Golden = tuple[dict[str, Any], dict[str, Tensor]]
LEVELS = [
    pytest.param((3,) * 8, id="published"),
    pytest.param((7, 7, 5, 5), id="mini"),
    pytest.param((3,), id="one-digit"),
]


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Golden:
    folder = goldens / "cosyvoice2"
    info = json.loads((folder / "speech_tokenizer_v2.json").read_text("utf-8"))
    return info, load_file(folder / "speech_tokenizer_v2.safetensors")


@pytest.fixture(scope="module")
def tokenizer(golden: Golden) -> SpeechTokenizer:
    info, tensors = golden
    model = SpeechTokenizer(
        SpeechTokenizerConfig(
            n_mels=info["n_mels"],
            width=info["width"],
            heads=info["heads"],
            layers=info["layers"],
            fsmn_kernel=info["fsmn_kernel"],
            levels=(info["fsq_levels"],) * info["fsq_dims"],
        )
    )
    model.load_state_dict(
        {k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights/")}
    )
    return model.eval().requires_grad_(False)


def tiny(levels: tuple[int, ...] = (7, 5), digits: str = "fsq") -> SpeechTokenizer:
    torch.manual_seed(2)
    return SpeechTokenizer(
        SpeechTokenizerConfig(n_mels=8, width=16, heads=2, layers=1, levels=levels, digits=digits)
    )


def test_batch_with_padding_matches_the_port(golden: Golden, tokenizer: SpeechTokenizer) -> None:
    info, tensors = golden
    result = tokenizer(tensors["in/mel"], tensors["in/mel_len"])
    assert result.lens.tolist() == tensors["out/code_len"].tolist()
    for row, length in enumerate(result.lens.tolist()):
        torch.testing.assert_close(
            result.hidden[row, :length],
            tensors["out/hidden"][row, :length],
            atol=info["tolerance"]["hidden_atol"],
            rtol=0,
        )
        expected = tensors["out/code"][row, :length]
        assert result.codes[row, :length].tolist() == expected.tolist()


def test_encode_of_one_utterance_matches_the_port(
    golden: Golden, tokenizer: SpeechTokenizer
) -> None:
    _, tensors = golden
    codes, lens = tokenizer.encode(tensors["in/logmel"])
    assert codes.tolist() == tensors["out/code_logmel"].tolist()
    assert lens.tolist() == [codes.shape[1]]


def test_padding_does_not_change_codes() -> None:
    model = tiny()
    logmel = torch.randn(2, 8, 90)
    codes, lens = model.encode(logmel, torch.tensor([90, 41]))
    alone, _ = model.encode(logmel[1:, :, :41])
    assert lens.tolist() == [code_count(90), code_count(41)]
    assert codes[1, : lens[1]].tolist() == alone[0].tolist()
    assert not codes[1, lens[1] :].any()


@pytest.mark.parametrize("levels", LEVELS)
def test_codes_and_digits_are_inverse(levels: tuple[int, ...]) -> None:
    codes = torch.arange(SpeechTokenizerConfig(levels=levels).codebook_size)
    digits = codes_to_digits(codes, levels)
    assert torch.equal(digits_to_codes(digits, levels), codes)
    assert digits.amin(0).tolist() == [0] * len(levels)
    assert digits.amax(0).tolist() == [level - 1 for level in levels]


def test_first_digit_is_the_least_significant() -> None:
    assert digits_to_codes(torch.tensor([1, 0, 2]), (7, 5, 3)).item() == 1 + 2 * 35


def test_training_digits_are_the_values_of_the_codes() -> None:
    result = tiny()(torch.randn(2, 8, 60))
    digits = (result.digits.detach() + 1) * torch.tensor([3.0, 2.0])
    torch.testing.assert_close(digits, digits.round(), atol=1e-5, rtol=0)
    assert torch.equal(digits_to_codes(digits.round(), (7, 5)), result.codes)
    assert (result.digits - result.bounded).abs().max() <= 0.25 + 1e-6


def test_digits_that_are_classes_are_the_likeliest_ones() -> None:
    model = tiny(digits="classes")
    result = model(torch.randn(2, 8, 60))
    logits = model.quantizer.logits(result.hidden)
    likeliest = torch.stack([part.argmax(-1) for part in logits], -1)
    assert [part.shape[-1] for part in logits] == [7, 5]
    assert torch.equal(digits_to_codes(likeliest, (7, 5)), result.codes)
    assert torch.equal(result.digits, result.bounded)
    torch.testing.assert_close((result.digits + 1) * torch.tensor([3.0, 2.0]), likeliest.float())


def test_other_digits_are_refused() -> None:
    with pytest.raises(UsageError, match="`digits` cannot be `words`"):
        tiny(digits="words")


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16-autocast"])
def test_gradient_passes_the_rounding_to_every_weight(half: bool) -> None:
    model = tiny()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        result = model(torch.randn(2, 8, 60), torch.tensor([60, 31]))
    assert result.digits.dtype == torch.float32
    result.digits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("frames", [3001, 3400, 3401, 5600, 6001])
def test_long_speech_has_as_many_codes_as_its_length(frames: int) -> None:
    model = tiny()
    logmel = torch.randn(1, 8, frames)
    codes, lens = model.encode(logmel)
    assert lens.tolist() == [code_count(frames)]
    assert codes.shape == (1, code_count(frames))
    first = model(logmel[:, :, :WINDOW_FRAMES]).codes
    assert torch.equal(codes[:, :600], first[:, :600])


def test_long_batch_equals_single_utterances() -> None:
    model = tiny()
    logmel = torch.randn(2, 8, 3100)
    codes, lens = model.encode(logmel, torch.tensor([3100, 90]))
    assert lens.tolist() == [code_count(3100), code_count(90)]
    assert codes[1, : lens[1]].tolist() == model.encode(logmel[1:, :, :90])[0][0].tolist()


@pytest.mark.parametrize("levels", [(4, 3), (1,), ()], ids=["even", "one", "none"])
def test_impossible_levels_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="odd"):
        tiny(levels)


def test_wrong_bins_are_refused_with_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 80, 10\), expected \(B, 8, T\)"):
        tiny()(torch.zeros(1, 80, 10))
