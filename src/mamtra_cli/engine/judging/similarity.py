"""Whose voice it is, and how good it sounds, by the judgement of other models.

Speaker encoders turn a wave into a vector; the cosine of two vectors is the similarity. The
model's own encoder is always at hand but not independent: the model was conditioned on its
vectors. CAM++ is an ONNX file of a published model folder (independent of a language model,
but the flow was conditioned on it too); WavLM comes through transformers. UTMOS guesses a mean
opinion score. A judge that is not at hand is `Unavailable` with the reason, never a number.
Sources: CAM++ (arXiv:2303.00332), WavLM (arXiv:2110.13900), UTMOS (arXiv:2204.02152).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.checkpoint import sha256
from mamtra_cli.engine.judging.pretrained import find_pretrained, import_transformers
from mamtra_cli.engine.judging.seed_tts import Sentence
from mamtra_cli.engine.judging.waves import Vector, narrow
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import MissingDependencyError, ModelNotFoundError, UsageError
from mamtra_cli.features import fbank80
from mamtra_cli.recording import read_audio
from mamtra_cli.voices.voice import Voice

OWN = "speaker_encoder"
CAMPLUS = "campplus.onnx"


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """Why a judge is not at hand."""

    reason: str


class SpeakerEncoder(Protocol):
    """Anything that tells voices apart."""

    @property
    def about(self) -> Mapping[str, str]:
        """Its name, version or hash, and whether it is `independent` of the model."""
        ...

    @property
    def reads_voices(self) -> bool:
        """Whether the vectors that voice files hold are its own."""
        ...

    def embed(self, wave: Vector, rate: int) -> Vector:
        """A vector (D,) for a mono wave (T,) between -1 and 1."""
        ...


class QualityScorer(Protocol):
    """Anything that guesses what people would say of a wave."""

    @property
    def about(self) -> Mapping[str, str]:
        """Its name and version or hash."""
        ...

    def score(self, wave: Vector, rate: int) -> float:
        """An opinion from 1 to 5 of a mono wave (T,) between -1 and 1."""
        ...


class OwnEncoder:
    """The speaker encoder of a model of ours."""

    reads_voices = True

    def __init__(self, engine: Engine) -> None:
        self._encoder: nn.Module = engine.part(OWN)
        self._device = engine.device
        self.about: Mapping[str, str] = {
            "name": f"own encoder of {engine.name}",
            "independent": "no: the model was trained with it",
        }

    @torch.inference_mode()
    def embed(self, wave: Vector, rate: int) -> Vector:
        """A vector (D,) for a wave."""
        bank = fbank80(torch.from_numpy(narrow(wave, rate)), subtract_mean=True)
        vector: Vector = self._encoder(bank[None].to(self._device))[0].float().cpu().numpy()
        return vector


class CamPlus:
    """CAM++ by onnxruntime, on the CPU. path: the `campplus.onnx` of a published folder."""

    reads_voices = True

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingDependencyError(
                "CAM++ needs the package onnxruntime", "pip install 'mamtra-cli[onnx]'"
            ) from None
        if not path.is_file():
            raise ModelNotFoundError(f"there is no CAM++ file `{path}`")
        try:
            self._session = open_session(path, fused=True)
        except Exception as error:
            raise ModelNotFoundError(f"`{path}` is no ONNX model: {error}") from error
        self.about: Mapping[str, str] = {
            "name": "CAM++",
            "identity": f"sha256:{sha256(path)}",
            "onnxruntime": onnxruntime.__version__,
            "independent": "partly: published flows were conditioned on it",
        }

    def embed(self, wave: Vector, rate: int) -> Vector:
        """A vector (192,) for a wave."""
        bank = fbank80(torch.from_numpy(narrow(wave, rate)), subtract_mean=True)
        feed = {self._session.get_inputs()[0].name: bank[None].numpy()}
        vector: Vector = np.asarray(self._session.run(None, feed)[0], np.float32).reshape(-1)
        return vector


class WavLM:
    """An x-vector model of transformers (WavLM, wav2vec 2.0, ... for speaker verification)."""

    reads_voices = False

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        transformers = import_transformers()
        found = find_pretrained(name)
        try:
            self._extractor = transformers.AutoFeatureExtractor.from_pretrained(found.folder)
            model = transformers.AutoModelForAudioXVector.from_pretrained(found.folder)
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise ModelNotFoundError(f"`{name}` has no x-vector model: {first}") from error
        self._model = model.eval().to(device)
        self._device = device
        self.about: Mapping[str, str] = {
            "name": found.name,
            "identity": found.identity,
            "transformers": transformers.__version__,
            "independent": "yes",
        }

    @torch.inference_mode()
    def embed(self, wave: Vector, rate: int) -> Vector:
        """A vector (D,) for a wave."""
        read = self._extractor(
            narrow(wave, rate), sampling_rate=LISTENING_RATE, return_tensors="pt"
        )
        found = self._model(read.input_values.to(self._device)).embeddings[0]
        vector: Vector = found.float().cpu().numpy()
        return vector


class Utmos:
    """UTMOS22-strong by the package utmos-pytorch, one wave at a time as its authors advise."""

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        from utmos_pytorch import UTMOSScoreTorch
        from utmos_pytorch.utmos_torch import UTMOSModel

        # The package loads whatever fits and leaves the rest random: no figure may come of that.
        try:
            known = torch.load(weights, map_location="cpu", weights_only=True).keys()
        except Exception as error:
            raise ModelNotFoundError(f"`{weights}` cannot be read as weights: {error}") from error
        missing = [name for name, _ in UTMOSModel().named_parameters() if name not in known]
        if missing:
            raise ModelNotFoundError(
                f"`{weights}` are no UTMOS weights: {len(missing)} tensors are missing, "
                f"`{missing[0]}` first"
            )
        self._model = UTMOSScoreTorch(ckpt_path=str(weights), device=str(device))
        self._device = device
        self.about: Mapping[str, str] = {
            "name": "UTMOS22-strong",
            "identity": f"sha256:{sha256(weights)}",
            "utmos-pytorch": version("utmos-pytorch"),
        }

    def score(self, wave: Vector, rate: int) -> float:
        """An opinion from 1 to 5."""
        samples = torch.from_numpy(narrow(wave, rate))[None].to(self._device)
        return float(self._model.score(samples).reshape(-1)[0])


def open_similarity(spec: str, engine: Engine) -> SpeakerEncoder | Unavailable:
    """The speaker encoder that a name means.

    Args:
        spec: `auto` (the own encoder, else the CAM++ of the folder), `own`, `campplus` or
            `campplus:FILE`, `resemblyzer[:FOLDER]`, `wavlm:NAME`, or `none`.
        engine: the model in question.
    """
    kind, _, name = spec.partition(":")
    parts = engine.model.parts if engine.model is not None else ()
    beside = engine.folder / CAMPLUS
    if kind == "none":
        return Unavailable(reason="not asked for")
    if kind == "wavlm" and name:
        return WavLM(name, engine.device)
    if kind == "resemblyzer":
        from mamtra_cli.engine.judging.resemblyzer import Resemblyzer

        return Resemblyzer(name)
    if kind == "campplus":
        return CamPlus(Path(name) if name else beside)
    if kind in ("own", "auto") and OWN in parts:
        return OwnEncoder(engine)
    if kind == "auto":
        return CamPlus(beside) if beside.is_file() else Unavailable(reason="no speaker encoder")
    if kind == "own":
        raise UsageError(
            f"`{engine.name}` has no speaker encoder of its own",
            "name one: `--sim campplus:FILE` or `--sim wavlm:NAME`",
        )
    raise UsageError(
        f"unknown speaker encoder `{spec}`",
        "auto, own, campplus[:FILE], resemblyzer[:FOLDER], wavlm:NAME or none",
    )


def open_quality(spec: str, device: torch.device | str = "cpu") -> QualityScorer | Unavailable:
    """The opinion scorer that a name means: a file of UTMOS weights, `auto` or `none`."""
    if spec == "none":
        return Unavailable(reason="not asked for")
    try:
        version("utmos-pytorch")
    except PackageNotFoundError:
        if spec == "auto":
            return Unavailable(reason="the package utmos-pytorch is not installed")
        raise MissingDependencyError(
            "UTMOS needs the package utmos-pytorch", "pip install 'mamtra-cli[utmos]'"
        ) from None
    if spec == "auto":
        return Unavailable(reason="no weights were named: `--utmos utmos_state_dict.pt`")
    if not Path(spec).is_file():
        raise ModelNotFoundError(f"there are no UTMOS weights `{spec}`")
    return Utmos(Path(spec), device)


def reference_vector(
    encoder: SpeakerEncoder, sentence: Sentence, voice: Voice
) -> Vector | Unavailable:
    """What a voice should sound like to an encoder: its clip, or the vector of its file."""
    if sentence.prompt_audio is not None:
        return encoder.embed(read_audio(sentence.prompt_audio, LISTENING_RATE), LISTENING_RATE)
    if not encoder.reads_voices:
        return Unavailable(reason=f"voice `{voice.name}` has no clip to compare with")
    vector: Vector = voice.embedding.float().cpu().numpy()
    return vector


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors (D,); 0 where one has no length."""
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"expected two (D,), got {one.shape} and {other.shape}")
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else 0.0
