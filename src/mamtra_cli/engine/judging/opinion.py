"""What people would say of a sound, guessed by other models: DNSMOS P.835 and Distill-MOS.

DNSMOS judges signal, background and the whole on windows of nine seconds, a second apart; a
shorter sound is repeated. Distill-MOS is small and guesses one opinion: an alarm rather than a
rank, unreliable where it is low. Both learned on recordings of people over bad lines, not on
synthetic speech. Sources: DNSMOS P.835 (arXiv:2110.01763; the polynomials are those of
microsoft/DNS-Challenge), Distill-MOS (arXiv:2502.05356).
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.engine.judging.packaged import Source, find_weights, package_folder
from mamtra_cli.engine.judging.waves import Vector, narrow
from mamtra_cli.errors import MissingDependencyError, ModelNotFoundError, UsageError

WINDOW, HOP = 9.01, 1.0  # seconds
DNSMOS_FILE, DISTILL_FILE = "sig_bak_ovr.onnx", "distill_mos_v7.pt"
DNSMOS = Source(
    judge="DNSMOS",
    distribution="speechmos",
    module="speechmos",
    inside="dnsmos_models",
    install="pip install --no-deps speechmos",
)
DISTILL = Source(
    judge="Distill-MOS",
    distribution="distillmos",
    module="distillmos",
    inside="weights",
    install="pip install --no-deps distillmos xls-r-sqa",
)
POLYNOMIALS = {  # from what the network says to an opinion, highest power first
    "dnsmos_sig": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_bak": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos_ovrl": (-0.06766283, 1.11546468, 0.04602535),
}


class OpinionJudge(Protocol):
    """Anything that guesses opinions from 1 to 5."""

    @property
    def about(self) -> Mapping[str, str]:
        """Its name, version and hash."""
        ...

    @property
    def measures(self) -> Sequence[str]:
        """Names of the opinions it gives."""
        ...

    def score(self, wave: Vector, rate: int) -> Mapping[str, float]:
        """Every opinion of a mono wave (T,) between -1 and 1, by name."""
        ...


class DnsMos:
    """DNSMOS P.835 by onnxruntime, on one thread. folder: of its file; "" for the package's."""

    measures = tuple(POLYNOMIALS)

    def __init__(self, folder: str = "") -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingDependencyError(
                "DNSMOS needs the package onnxruntime", "pip install 'mamtra-cli[eval]'"
            ) from None
        (path,), found = find_weights(DNSMOS, [DNSMOS_FILE], folder)
        try:
            self._session: Any = open_session(path, fused=True)
        except Exception as error:
            raise ModelNotFoundError(f"`{path}` is no ONNX model: {error}") from error
        self._input = self._session.get_inputs()[0].name
        about = {"name": "DNSMOS P.835", **found, "onnxruntime": onnxruntime.__version__}
        self.about: Mapping[str, str] = about

    def score(self, wave: Vector, rate: int) -> Mapping[str, float]:
        """Signal, background and the whole."""
        windows = dnsmos_windows(narrow(wave, rate))
        raw = np.stack([self._session.run(None, {self._input: w[None]})[0][0] for w in windows])
        return {
            name: float(np.polyval(powers, raw[:, place]).mean())
            for place, (name, powers) in enumerate(POLYNOMIALS.items())
        }


def dnsmos_windows(wave: Vector) -> list[Vector]:
    """Windows of a wave (T,) at 16 kHz as DNSMOS hears them; a short one is doubled first."""
    size = int(WINDOW * LISTENING_RATE)
    if not len(wave):
        raise ValueError("an empty wave has no opinion")
    while len(wave) < size:
        wave = np.concatenate((wave, wave))
    count = int(len(wave) // LISTENING_RATE - WINDOW) + 1
    starts = [int(place * HOP * LISTENING_RATE) for place in range(count)]
    return [wave[start : start + size] for start in starts]


class DistillMos:
    """Distill-MOS by its own package. folder: of its weights; "" for the package's."""

    measures = ("distillmos",)

    def __init__(self, folder: str = "") -> None:
        _, found = package_folder(DISTILL)
        (path,), about = find_weights(DISTILL, [DISTILL_FILE], folder)
        with _without_torchaudio():
            try:
                network = import_module("distillmos").ConvTransformerSQAModel(load_weights=False)
            except ImportError as error:
                raise MissingDependencyError(
                    f"Distill-MOS cannot be imported: {error}", DISTILL.install
                ) from error
        try:
            network.load_state_dict(torch.load(path, weights_only=True)["model"])
        except Exception as error:
            raise ModelNotFoundError(f"`{path}` holds no weights of Distill-MOS") from error
        self._network = network.eval()
        self.about: Mapping[str, str] = {"name": "Distill-MOS", **found, **about}

    @torch.inference_mode()
    def score(self, wave: Vector, rate: int) -> Mapping[str, float]:
        """One opinion."""
        samples = torch.from_numpy(narrow(wave, rate))[None]
        with contextlib.redirect_stdout(io.StringIO()):
            return {"distillmos": float(self._network(samples))}


JUDGES: Mapping[str, Callable[[str], OpinionJudge]] = {"dnsmos": DnsMos, "distillmos": DistillMos}


def open_opinions(spec: str) -> list[OpinionJudge]:
    """The judges that `--mos` names: `dnsmos[:FOLDER]` and `distillmos[:FOLDER]` by commas."""
    found: list[OpinionJudge] = []
    for name in [part for part in spec.split(",") if part.strip() not in ("", "none")]:
        kind, _, folder = name.strip().partition(":")
        if kind not in JUDGES:
            raise UsageError(
                f"unknown judge of opinions `{name.strip()}`",
                "dnsmos[:FOLDER] and distillmos[:FOLDER], by commas, or none",
            )
        found.append(JUDGES[kind](folder))
    return found


def identities(judges: Sequence[OpinionJudge]) -> dict[str, str]:
    """What each judge tells about itself, under its name."""
    return {
        f"{judge.about['name']} {key}": value
        for judge in judges
        for key, value in judge.about.items()
        if key != "name"
    }


@contextlib.contextmanager
def _without_torchaudio() -> Iterator[None]:
    """Let a package import torchaudio that uses it in its command alone."""
    try:
        import_module("torchaudio")
    except ImportError:
        sys.modules["torchaudio"] = ModuleType("torchaudio")
        try:
            yield
        finally:
            del sys.modules["torchaudio"]
    else:
        yield
