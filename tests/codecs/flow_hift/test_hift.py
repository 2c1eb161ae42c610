"""The vocoder against the published one stage by stage, and as something to train."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.codecs.flow_hift.config import HiFTConfig
from mamtra_cli.codecs.flow_hift.hift import F0Predictor, HiFT, SnakeFunction, fold_weight_norm
from mamtra_cli.errors import CheckpointError

Golden = tuple[dict[str, Any], dict[str, Tensor]]


def read(goldens: Path, name: str) -> Golden:
    folder = goldens / "cosyvoice2"
    info = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return info, load_file(folder / f"{name}.safetensors")


def weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights/")}


def golden_config(info: dict[str, Any]) -> HiFTConfig:
    return HiFTConfig(
        mel_bins=info["in_channels"],
        base_channels=info["base_channels"],
        f0_channels=info["f0_channels"],
        harmonics=info["nb_harmonics"],
        sample_rate=info["sampling_rate"],
        sine_amplitude=info["nsf_alpha"],
        noise_sigma=info["nsf_sigma"],
        voiced_threshold=info["nsf_voiced_threshold"],
        upsample_rates=tuple(info["upsample_rates"]),
        upsample_kernels=tuple(info["upsample_kernel_sizes"]),
        n_fft=info["n_fft"],
        hop=info["hop_len"],
        resblock_kernels=tuple(info["resblock_kernel_sizes"]),
        resblock_dilations=tuple(info["resblock_dilations"]),
        source_resblock_kernels=tuple(info["source_resblock_kernel_sizes"]),
        leaky_slope=info["lrelu_slope"],
        audio_limit=info["audio_limit"],
    )


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Golden:
    return read(goldens, "hift_decode")


@pytest.fixture(scope="module")
def hift(golden: Golden) -> HiFT:
    info, tensors = golden
    model = HiFT(golden_config(info))
    model.load_state_dict(fold_weight_norm(weights(tensors)))
    return model.eval().requires_grad_(False)


def tiny() -> HiFT:
    torch.manual_seed(5)
    return HiFT(HiFTConfig(base_channels=16, f0_channels=8))


def test_f0_predictor_matches_the_published_one(goldens: Path) -> None:
    info, tensors = read(goldens, "hift_f0")
    predictor = F0Predictor(info["in_channels"], info["f0_channels"])
    predictor.load_state_dict(fold_weight_norm(weights(tensors)))
    torch.testing.assert_close(
        predictor(tensors["in/mel"]).detach(),
        tensors["out/f0"],
        atol=info["tolerance"]["f0_atol_hz"],
        rtol=0,
    )


def test_f0_of_whole_vocoder_matches(golden: Golden, hift: HiFT) -> None:
    info, tensors = golden
    torch.testing.assert_close(
        hift.f0(tensors["in/mel"]),
        tensors["out/f0"],
        atol=info["tolerance"]["f0_atol_hz"],
        rtol=0,
    )


def test_source_matches_with_recorded_and_without_noise(golden: Golden, hift: HiFT) -> None:
    info, tensors = golden
    atol = info["tolerance"]["end_to_end_source_atol"]
    noisy = hift.source(tensors["out/f0"], noise=tensors["in/sine_noise"])
    torch.testing.assert_close(noisy, tensors["out/source"], atol=atol, rtol=0)
    silent = hift.source(tensors["out/f0"], noise=torch.zeros(1, 1, 1))
    torch.testing.assert_close(silent, tensors["out/source_no_noise"], atol=atol, rtol=0)


@pytest.mark.parametrize("kind", ["", "_no_noise", "_zero_source", "_cached_source"])
def test_decode_of_recorded_source_matches(golden: Golden, hift: HiFT, kind: str) -> None:
    info, tensors = golden
    source = tensors["out/source" if not kind else "out/source_no_noise"].clone()
    if kind == "_zero_source":
        source.zero_()
    elif kind == "_cached_source":
        cache = tensors["in/cache_source"]
        source[..., : cache.shape[-1]] = cache
    torch.testing.assert_close(
        hift.decode(tensors["in/mel"], source),
        tensors[f"out/wave{kind}"],
        atol=info["tolerance"]["wave_from_recorded_source_atol"],
        rtol=0,
    )


def test_mel_to_wave_matches_in_relative_rms(golden: Golden, hift: HiFT) -> None:
    info, tensors = golden
    wave = hift(tensors["in/mel"], noise=tensors["in/sine_noise"])
    expected = tensors["out/wave"]
    error = (wave - expected).norm() / expected.norm()
    assert error < info["tolerance"]["end_to_end_wave_rel_rms"]


@pytest.mark.parametrize("legacy", [False, True], ids=["parametrizations", "weight_g"])
@pytest.mark.parametrize("prefix", ["", "generator."], ids=["plain", "generator"])
def test_published_names_load_strictly(goldens: Path, legacy: bool, prefix: str) -> None:
    manifest = json.loads((goldens / "cosyvoice2" / "manifest_hift.json").read_text("utf-8"))
    aliases = manifest["legacy_aliases"] if legacy else {}
    with torch.device("meta"):
        model = HiFT(HiFTConfig())
        tensors = {
            prefix + aliases.get(name, name): torch.zeros(entry["shape"])
            for name, entry in manifest["keys"].items()
        }
    assert len(tensors) == len(manifest["keys"])
    model.load_state_dict(fold_weight_norm(tensors), strict=True, assign=True)
    lengths = sum(p.numel() for name, p in tensors.items() if name.endswith(("original0", "_g")))
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters + lengths == manifest["parameters"]["total"]


def test_folded_weights_pass_through_unchanged() -> None:
    state = tiny().state_dict()
    folded = fold_weight_norm(state)
    assert folded.keys() == state.keys()
    assert all(folded[name] is state[name] for name in state)


@pytest.mark.parametrize("missing", ["_g", "_v"])
def test_half_a_weight_norm_is_refused_by_name(missing: str) -> None:
    tensors = {"conv_pre.weight_g": torch.ones(4, 1, 1), "conv_pre.weight_v": torch.ones(4, 2, 3)}
    del tensors[f"conv_pre.weight{missing}"]
    with pytest.raises(CheckpointError, match=r"conv_pre\.weight_"):
        fold_weight_norm(tensors)


def test_snake_gradient_matches_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    alpha = (torch.rand(3, dtype=torch.float64) + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(SnakeFunction.apply, (x, alpha))


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16-autocast"])
def test_training_step_reaches_every_filter_weight(half: bool) -> None:
    model = tiny()
    mel = torch.randn(2, 80, 6)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        wave = model(mel, generator=torch.Generator().manual_seed(1))
        f0 = model.f0(mel)
    assert wave.dtype == f0.dtype == torch.float32
    (wave.square().mean() + f0.mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_loud_spectrum_keeps_the_gradient_finite() -> None:
    model = tiny()
    with torch.no_grad():
        model.conv_post.bias.fill_(500.0)
    model(torch.randn(1, 80, 4)).sum().backward()
    assert model.conv_post.bias.grad is not None
    assert model.conv_post.bias.grad.isfinite().all()


def test_same_generator_state_gives_the_same_wave() -> None:
    model = tiny()
    mel = torch.randn(1, 80, 4)
    first, second = (model(mel, generator=torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(first, second)


def test_source_of_another_length_is_refused_with_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 480\).*\(1, 80, 4\).*\(1, 1, 1920\)"):
        tiny().decode(torch.zeros(1, 80, 4), torch.zeros(1, 1, 480))


@pytest.mark.gpu
def test_decode_on_gpu_matches_cpu(golden: Golden, hift: HiFT) -> None:
    _, tensors = golden
    model = HiFT(hift.config).cuda().requires_grad_(False)
    model.load_state_dict(hift.state_dict())
    wave = model.decode(tensors["in/mel"].cuda(), tensors["out/source"].cuda())
    error = (wave.cpu() - tensors["out/wave"]).norm() / tensors["out/wave"].norm()
    assert error < 1e-2
