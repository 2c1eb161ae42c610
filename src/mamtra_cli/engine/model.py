"""`Engine`: find a model and load its parts when they are first needed.

Training and conversion need the language model alone: nothing else is read from disk. Knows folders
and devices; what a model does with a text and a voice is its family's `Speaker`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from mamtra_cli.backbone import costs
from mamtra_cli.device import (
    apply_threads,
    bound_kernels,
    choose,
    choose_backend,
    fit_solver,
    fit_threads,
    free_bytes,
)
from mamtra_cli.engine.loading.loaded import LoadedModel
from mamtra_cli.engine.loading.reader import TextReader
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.errors import PlanError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.families import registry
from mamtra_cli.families.base import Facts
from mamtra_cli.families.folder import Model
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.families.lessons import Lessons
from mamtra_cli.families.speaker import Speaker
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.voices.library import library_folder
from mamtra_cli.voices.speaker_table import all_names, read_table
from mamtra_cli.voices.voice import Voice, find_voice, list_voices


class Engine(TextReader):
    """One model, ready to speak or to be trained.

    Args:
        loaded: its parts, each there when it is first asked for.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.config, self.family, self.model = loaded.config, loaded.family, loaded.model
        self.folder, self.name = loaded.folder, loaded.name
        self.compute, self.device = loaded.compute, loaded.device

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
        backend: str = "auto",
        quant: str = "none",
        lean: bool = False,
        files: Sequence[str] = (),
        report: Report = ignore,
    ) -> Self:
        """Find a model and read its configuration; parts are loaded when they are first used.

        Args:
            name: `mini`, a folder, an alias or org/name[@revision].
            device, dtype, threads: what to compute with; `auto` and 0 choose.
            backend, quant: what steps the language model, see `device.choose_backend`.
            lean: leave the text embedding off the device, for an engine that only speaks.
            files: of parts of a published folder, see `registry.open_model`.
            report: hears of downloads.
        """
        located = registry.locate(name, report=report)
        report(Stage(name="loading", detail=located.name))
        model = registry.open_model(located.folder, files=files)
        return cls.of(
            model,
            located.name,
            device=device,
            dtype=dtype,
            threads=threads,
            backend=backend,
            quant=quant,
            lean=lean,
        )

    @classmethod
    def of(
        cls,
        model: Model,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
        backend: str = "auto",
        quant: str = "none",
        lean: bool = False,
    ) -> Self:
        """An engine around an opened model; see `load`."""
        compute = choose_backend(choose(device, dtype, threads), backend, quant)
        stack = model.facts.stack
        counted = 0 if stack is None else costs.parameters(stack).total
        compute = fit_solver(fit_threads(compute, counted, threads), counted, dtype)
        apply_threads(compute)
        bound_kernels()
        return cls(
            LoadedModel(
                config=model.config,
                family=model.family,
                folder=model.folder,
                compute=compute,
                name=name,
                model=model,
                lean=lean,
            )
        )

    def with_lessons(self, lessons: Lessons, name: str) -> "Engine":
        """The same model with another language model in place of its own."""
        stack = lessons.stack.config
        conversion = self.family.conversion(self.config)
        assert conversion is not None
        config = conversion.with_mixers(self.config, stack.layer_kinds, stack.mixer.to_dict())
        parts = {**self.loaded.parts, conversion.part: lessons.lm.to(self.device).eval()}
        return Engine(replace(self.loaded, config=config, name=name, parts=parts, lean=False))

    def ready(self, *parts: str) -> None:
        """Load parts now, not when they are first used."""
        for part in parts:
            self.part(part)

    def broken_weight(self) -> str | None:
        """The first weight of a loaded part that holds a value that is not finite."""
        for part, module in self.loaded.parts.items():
            for name, weight in module.named_parameters():
                if not bool(weight.isfinite().all()):
                    return f"{part}.{name}"
        return None

    @property
    def speech_parts(self) -> tuple[str, ...]:
        """Parts that a text needs to become sound."""
        return tuple(self.family.speech_parts(self.config).values())

    @property
    def lm_part(self) -> str:
        """The part that holds the language model; "" where the model has none."""
        return self.loaded.lm_part

    @cached_property
    def lessons(self) -> Lessons:
        """The language model as something to be taught, in evaluation mode.

        Raises:
            PlanError: the model has none.
        """
        found = self.lm_part and self.family.lessons(self.config, self.part(self.lm_part))
        if not found:
            raise PlanError(
                f"`{self.name}` is a {self.family.name} model, which does not speak token by token",
                "name a model that has a language model",
            )
        return found

    @cached_property
    def facts(self) -> Facts:
        """Numbers of the model."""
        return self.family.facts(self.config)

    @property
    def threads(self) -> int:
        """Of the CPU, that one computation takes."""
        return self.compute.threads

    def silence(self, seconds: float) -> Tensor:
        """Samples (S,) of nothing, as the model makes its sound."""
        return torch.zeros(round(seconds * self.sample_rate))

    @cached_property
    def sampling(self) -> Sampling:
        """How this model's tokens are chosen unless the user says otherwise."""
        return self.family.sampling(self.config)

    @cached_property
    def lesson_sampling(self) -> Sampling:
        """How tokens are chosen that another model is to learn from."""
        return self.family.lesson_sampling(self.config)

    @property
    def itemsize(self) -> int:
        """Bytes of a number that its steps read."""
        return self.compute.torch_dtype.itemsize

    def held_bytes(self, frames: int, prompt: float) -> tuple[int, int]:
        """Bytes by formulas: of one utterance at its end, and of what is needed once for all."""
        sizing = Sizing(
            name=self.name,
            family=self.family,
            config=self.config,
            precision=costs.Precision.of(self.itemsize),
            prompt=prompt,
        )
        footprint = sizing.footprint(frames)
        return footprint.stream, footprint.scratch.get(footprint.stage, 0)

    def free_bytes(self) -> int | None:
        """Memory that more could be put into now; `None` where the system does not say."""
        return free_bytes(self.compute)

    def voices(self) -> list[str]:
        """Names of the model's voices."""
        return all_names(self.folder)

    def fingerprint(self, part: str) -> str:
        """SHA-256 of the files behind a part or the front end; "" where they are not there."""
        return self.loaded.fingerprint(part)

    def voice(self, name: str = "", library: Path | None = None) -> Voice:
        """A voice of the model, one of the user's, a voice file, or the model's first voice.

        Args:
            name: which; "" for the first.
            library: the user's voices; `None` for the usual folder.

        Raises:
            ModelNotFoundError: there is none of that name.
            CheckpointError: it is damaged, or was made for another model.
        """
        unnamed = None if name or self.voices() else self.speaker.default_voice()
        published = read_table(self.folder)
        if published and (name in published or not (name or list_voices(self.folder))):
            voice = published[name] if name else next(iter(published.values()))
        else:
            voice = unnamed or find_voice(
                self.folder, name, library_folder(library), tuple(published)
            )
        self.speaker.fits(voice)
        return voice

    @cached_property
    def speaker(self) -> Speaker:
        """The model as one that speaks."""
        return self.family.speaker(self.loaded)

    def encode(self, piece: str) -> list[int]:
        """Ids of one piece of text."""
        return self.front_end.ids(piece)

    @property
    def front_end(self) -> FrontEnd:
        """Text to pieces and ids."""
        return self.loaded.front_end

    def read_by(self, front_end: FrontEnd) -> None:
        """Put another front end in the place of the one there is."""
        self.loaded.front_end = front_end

    def part(self, name: str) -> nn.Module:
        """A part, loaded and placed when it is first asked for."""
        return self.loaded.part(name)
