"""`LightEngine`: a model that speaks by ONNX graphs and arrays, without torch, and when one can.

The graphs lie in the model's folder beside the weights that they name (`mamtra export`, or shipped
with `mini`). A folder, a machine or a wish that this road cannot serve is told in a word, and
`Engine` serves it. Knows families only by their types; imports no torch.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.backbone.decoding.stored_weights import WEIGHTS, mark
from mamtra_cli.checkpoint import CONFIG, GRAPH, SUFFIX, find_file, read_json, read_model_folder
from mamtra_cli.config import from_dict, reason
from mamtra_cli.engine.loading.reader import TextReader
from mamtra_cli.errors import CheckpointError, MamtraError, UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.families import registry
from mamtra_cli.families.base import Facts
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.families.light import LightFamily
from mamtra_cli.families.measures import Request
from mamtra_cli.families.speaker import Speaker
from mamtra_cli.host_memory import free_host_bytes
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.recipes.synth import SynthRecipe
from mamtra_cli.voices.library import library_folder
from mamtra_cli.voices.voice import Voice, find_voice, list_voices

DRIVER = Path("/proc/driver/nvidia/version")
LARGE = 100_000_000  # bytes of a language model from which one thread is not enough


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is asked of the machine, as a recipe has it, and what only torch can do.

    Attributes:
        device, dtype, backend, quant, threads: see `device.choose` and `device.choose_backend`.
        beyond: names of options that this road does not have.
    """

    device: str = "auto"
    dtype: str = "auto"
    backend: str = "auto"
    quant: str = "none"
    threads: int = 0
    beyond: tuple[str, ...] = ()

    @property
    def obstacle(self) -> str:
        """Why torch is needed, whatever the model; "" where it is not."""
        if self.beyond:
            return f"`{self.beyond[0]}` needs it"
        if self.backend == "torch":
            return "asked for"
        if self.quant != "none":
            return f"`--quant {self.quant}` builds a graph from modules"
        if self.dtype not in ("auto", "float32", "fp32"):
            return f"graphs compute in float32, not {self.dtype}"
        if self.device not in ("auto", "cpu"):
            return f"`--device {self.device}`"
        if self.device == "auto" and DRIVER.exists():
            return "there may be a GPU"
        if find_spec("onnxruntime") is None:
            return "onnxruntime is not installed"
        return ""


def wishes_of(recipe: SynthRecipe, *more: str) -> Wishes:
    """What a recipe asks of the machine; `more` names what else only torch can do for it."""
    beyond = {
        "--clip": recipe.clip,
        "--part": recipe.part,
        "--verify": recipe.verify,
        "--carry": recipe.carry,
    }
    return Wishes(
        device=recipe.device,
        dtype=recipe.dtype,
        backend=recipe.backend,
        quant=recipe.quant,
        threads=recipe.threads,
        beyond=(*(name for name, value in beyond.items() if value), *more),
    )


def light_engine(
    name: str, wishes: Wishes, report: Report = ignore
) -> tuple["LightEngine | None", str]:
    """A model without torch where that can be, and the reason for what was chosen.

    Args:
        name: `mini`, a folder, an alias or org/name[@revision].
        wishes: what is asked for.
        report: hears of downloads.
    """
    if wishes.obstacle:
        return None, wishes.obstacle
    located = registry.locate(name, report=report)
    return opened(located.folder, located.name, wishes.threads, report)


def opened(
    folder: Path, name: str, threads: int = 0, report: Report = ignore
) -> tuple["LightEngine | None", str]:
    """The model of a folder without torch where that can be, and the reason."""
    path = folder / CONFIG
    if not path.is_file() or "format_version" not in read_json(path):
        return None, "the folder is in its authors' format"
    source = read_model_folder(folder)
    family = registry.light_family(source.family)
    if family is None:
        return None, f"family `{source.family}` has no graphs"
    try:
        config = from_dict(family.config_class, source.config, f"{folder.name}/{CONFIG}")
    except UsageError as error:
        raise CheckpointError(error.message, error.hint) from error
    graphs = family.graphs(config)
    if not graphs:
        return None, "a part of this model has no graph"
    missing = [graph for graph in graphs if not source.file(f"{graph}{GRAPH}").is_file()]
    if missing:
        return None, f"the folder has no `{missing[0]}{GRAPH}`: mamtra export MODEL --to onnx"
    engine = LightEngine(folder, name, family, config, threads)
    for graph, part in graphs.items():
        try:
            fits = engine.fits(graph, part)
        except MamtraError:
            raise
        except Exception as error:  # onnxruntime has one class an error code, all private
            return None, f"`{graph}{GRAPH}` does not open: {reason(error)}"
        if not fits:
            return None, f"`{graph}{GRAPH}` belongs to other weights: export the model again"
    report(Stage(name="loading", detail=name))
    return engine, "graphs are in the folder"


class LightEngine(TextReader):
    """See `talker.Talker`; also `families.light.LightParts` for its family.

    Args:
        folder: the model's.
        name: what to call it.
        family: what kind of model it is.
        config: its sizes.
        threads: of each session; 0 chooses.
    """

    device = "cpu"
    itemsize = 4  # graphs compute in float32

    def __init__(
        self, folder: Path, name: str, family: LightFamily, config: Any, threads: int = 0
    ) -> None:
        self.folder = folder
        self.name = name
        self.family = family
        self.config = config
        told = os.environ.get("OMP_NUM_THREADS", "")
        self.threads = threads or int(told if told.isdecimal() else 0) or self._fitting()
        self._sessions: dict[str, Any] = {}

    def _fitting(self) -> int:
        parts = self.family.graphs(self.config).values()
        large = any(self.weights(part).stat().st_size > LARGE for part in parts)
        return (os.cpu_count() or 1) if large else 1

    def weights(self, part: str) -> Path:
        """The safetensors file of a part."""
        return find_file(self.folder, f"{part}{SUFFIX}")

    def fits(self, graph: str, part: str) -> bool:
        """Whether a graph names the weights that are in the folder."""
        told = self.session(graph).get_modelmeta().custom_metadata_map
        return bool(told.get(WEIGHTS) == mark(self.weights(part)))

    def session(self, graph: str) -> Any:
        """A session over a graph of the folder."""
        if graph not in self._sessions:
            path = find_file(self.folder, f"{graph}{GRAPH}")
            self._sessions[graph] = open_session(path, self.threads)
        return self._sessions[graph]

    @cached_property
    def facts(self) -> Facts:
        """Numbers of the model."""
        return self.family.facts(self.config)

    @cached_property
    def sampling(self) -> Sampling:
        """How this model's tokens are chosen unless the user says otherwise."""
        return self.family.sampling(self.config)

    @cached_property
    def speaker(self) -> Speaker:
        """The model as one that speaks."""
        return self.family.light_speaker(self)

    @cached_property
    def modules(self) -> Any:
        """The same model as a speaker over torch; only words with their times are asked of it."""
        from mamtra_cli.engine.model import Engine

        model = registry.open_model(self.folder)
        threads = self.threads
        return Engine.of(model, self.name, device="cpu", threads=threads, lean=True).speaker

    @cached_property
    def front_end(self) -> FrontEnd:
        """Text to pieces and ids."""
        return self.family.front_end(self.folder, self.config)

    def read_by(self, front_end: FrontEnd) -> None:
        """Put another front end in the place of the one there is."""
        self.front_end = front_end

    def fingerprint(self, part: str) -> str:
        """SHA-256 of the files behind a part or the front end; "" where they are not there."""
        return self.family.fingerprint(self.folder, self.config, part)

    def voices(self) -> list[str]:
        """Names of the model's voices."""
        return list_voices(self.folder)

    def voice(self, name: str = "", library: Path | None = None) -> Voice:
        """A voice of the model, one of the user's, a voice file, or the model's first voice.

        Raises:
            ModelNotFoundError: there is none of that name.
            CheckpointError: it is damaged, or was made for another model.
        """
        voice = find_voice(self.folder, name, library_folder(library), arrays=True)
        self.speaker.fits(voice)
        return voice

    def silence(self, seconds: float) -> NDArray[np.float32]:
        """Samples (S,) of nothing."""
        return np.zeros(round(seconds * self.sample_rate), np.float32)

    def held_bytes(self, frames: int, prompt: float) -> tuple[int, int]:
        """Bytes by formulas: of one utterance at its end, and of what is needed once for all."""
        rate, measures = self.facts.frame_rate, self.family.measures(self.config)
        tokens: Any = self.speaker.tokens  # over graphs, which know what they hold
        if measures is None or tokens is None:
            return 0, 0  # nothing is known
        request = Request.of_seconds(frames / rate, prompt, rate=rate)
        needs = measures.needs(self.config, request)
        stream, reading = (tokens.row_bytes(n) for n in (needs.positions, request.prefill))
        reading += tokens.pass_bytes(request.prefill)
        return needs.rows * stream, max(needs.rows * reading, *needs.scratch.values())

    def free_bytes(self) -> int | None:
        """Memory that more could be put into now; `None` where the system does not say."""
        return free_host_bytes()

    def broken_weight(self) -> str | None:
        """None: what is not finite in a file is seen in what comes of it only."""
        return None
