"""Features against the published extractors, and what holds for every one of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.features import (
    fbank80,
    kaldi_filters,
    logmel128,
    mel24k,
    resample_sinc,
    slaney_filters,
)

EXTRACTORS = [
    pytest.param(mel24k, id="mel24k"),
    pytest.param(logmel128, id="logmel128"),
    pytest.param(fbank80, id="fbank80"),
]
Extractor = Callable[[Tensor], Tensor]


def read(goldens: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    folder = goldens / "cosyvoice2"
    info = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return info, load_file(folder / f"{name}.safetensors")


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_mel24k_matches_the_published_mel(goldens: Path) -> None:
    info, tensors = read(goldens, "mel24k")
    sizes = {
        "sample_rate": info["sampling_rate"],
        "n_fft": info["n_fft"],
        "hop": info["hop_size"],
        "n_mels": info["num_mels"],
        "fmin": info["fmin"],
    }
    atol = info["tolerance"]["mel_atol"]
    for fmax, suffix in ((info["fmax"], ""), (None, "_fmax_none")):
        mel = mel24k(tensors["in/wave"], **sizes, fmax=fmax)
        torch.testing.assert_close(mel, tensors[f"out/mel{suffix}"], atol=atol, rtol=0)
        basis = slaney_filters(
            info["sampling_rate"], info["n_fft"], info["num_mels"], info["fmin"], fmax
        )
        torch.testing.assert_close(
            basis,
            tensors[f"out/mel_basis{suffix}"],
            atol=info["tolerance"]["mel_basis_atol"],
            rtol=0,
        )


def test_mel24k_of_silence_matches_the_floor(goldens: Path) -> None:
    info, tensors = read(goldens, "mel24k")
    expected = tensors["out/mel_of_silence"]
    mel = mel24k(torch.zeros(1, info["hop_size"] * expected.shape[-1]))
    torch.testing.assert_close(mel, expected, atol=info["tolerance"]["mel_atol"], rtol=0)


def test_logmel128_matches_the_published_log_mel(goldens: Path) -> None:
    info, tensors = read(goldens, "logmel128")
    atol = info["tolerance"]["atol"]
    logmel = logmel128(
        tensors["in/wave"],
        sample_rate=info["sample_rate"],
        n_fft=info["n_fft"],
        hop=info["hop"],
        n_mels=info["n_mels"],
    )
    torch.testing.assert_close(logmel, tensors["out/logmel"], atol=atol, rtol=0)
    filters = slaney_filters(info["sample_rate"], info["n_fft"], info["n_mels"], 0.0, None)
    torch.testing.assert_close(filters, tensors["out/mel_filters"], atol=atol, rtol=0)


def test_fbank80_matches_kaldi(goldens: Path) -> None:
    info, tensors = read(goldens, "fbank80")
    rate, atol = info["sample_frequency"], info["tolerance"]["atol"]
    sizes = {
        "sample_rate": rate,
        "frame": rate * info["frame_length_ms"] // 1000,
        "hop": rate * info["frame_shift_ms"] // 1000,
        "n_fft": info["padded_fft"],
        "n_mels": info["num_mel_bins"],
        "fmin": info["low_freq"],
        "fmax": info["high_freq"],
        "preemphasis": info["preemphasis"],
    }
    fbank = fbank80(tensors["in/wave"][0], **sizes)
    torch.testing.assert_close(fbank, tensors["out/fbank"], atol=atol, rtol=0)
    centred = fbank80(tensors["in/wave"][0], **sizes, subtract_mean=True)
    torch.testing.assert_close(centred, tensors["out/fbank_mean_normalized"], atol=atol, rtol=0)
    banks = kaldi_filters(
        rate, info["padded_fft"], info["num_mel_bins"], info["low_freq"], info["high_freq"]
    )
    torch.testing.assert_close(banks, tensors["out/mel_banks"], atol=1e-6, rtol=0)


def test_resample_sinc_matches_the_published_resampler(goldens: Path) -> None:
    info, tensors = read(goldens, "resample")
    assert info["cases"]
    for name, case in info["cases"].items():
        out = resample_sinc(tensors[f"in/{name}"], case["orig"], case["new"])
        assert out.shape[-1] == case["out_len"], name
        torch.testing.assert_close(
            out, tensors[f"out/{name}"], atol=info["tolerance"]["atol"], rtol=0, msg=name
        )


def test_resample_sinc_at_the_same_rate_changes_nothing() -> None:
    wave = noise(2, 50)
    assert torch.equal(resample_sinc(wave, 16_000, 16_000), wave)


def test_resample_sinc_refuses_a_rate_of_zero() -> None:
    with pytest.raises(ValueError, match="positive"):
        resample_sinc(noise(50), 0, 16_000)


@pytest.mark.parametrize("extract", EXTRACTORS)
def test_batch_equals_single_waveforms(extract: Extractor) -> None:
    waves = noise(2, 2, 4000)
    batch = extract(waves)
    assert batch.shape[:2] == (2, 2)
    torch.testing.assert_close(batch[1, 0], extract(waves[1, 0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("extract", EXTRACTORS)
def test_feature_is_float32_under_autocast(extract: Extractor) -> None:
    wave = noise(4000)
    with torch.autocast("cpu", torch.bfloat16):
        feature = extract(wave)
    assert feature.dtype == torch.float32
    torch.testing.assert_close(feature, extract(wave), atol=0, rtol=0)


@pytest.mark.parametrize("extract", EXTRACTORS)
def test_gradient_is_finite_even_for_silence(extract: Extractor) -> None:
    with torch.inference_mode():
        extract(noise(4000))
    for wave in (noise(4000), torch.zeros(4000)):
        wave.requires_grad_()
        extract(wave).sum().backward()
        assert wave.grad is not None
        assert wave.grad.isfinite().all()


@pytest.mark.parametrize("extract", EXTRACTORS)
def test_too_short_waveform_is_refused_with_its_shape(extract: Extractor) -> None:
    with pytest.raises(ValueError, match=r"\(1, 100\)"):
        extract(torch.zeros(1, 100))


@pytest.mark.gpu
@pytest.mark.parametrize("extract", EXTRACTORS)
def test_feature_on_gpu_matches_cpu(extract: Extractor) -> None:
    wave = noise(2, 16_000)
    torch.testing.assert_close(extract(wave.cuda()).cpu(), extract(wave), atol=1e-3, rtol=0)
