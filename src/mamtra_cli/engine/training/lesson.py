"""Two lessons of one part: a model made anew under a teacher, and a flow that takes fewer steps.

Each opens its models, makes a family's `Course`, and writes the folder that comes of it; how it is
trained is courses.py's business. Knows families by their types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from torch import Tensor

from mamtra_cli import __version__
from mamtra_cli.card import CardFacts, model_card, read_license
from mamtra_cli.checkpoint import PROVENANCE, README, SUFFIX, FolderWriter
from mamtra_cli.config import dump_json, to_dict
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.folder import copy_rest, finite
from mamtra_cli.engine.students.trained import trained
from mamtra_cli.errors import PlanError, UsageError
from mamtra_cli.events import Report
from mamtra_cli.families import registry
from mamtra_cli.families.base import Family
from mamtra_cli.families.course import Course, Founding, Shortening
from mamtra_cli.families.folder import Model
from mamtra_cli.families.lessons import Example
from mamtra_cli.privacy import without_paths
from mamtra_cli.recipes.distill import DistillRecipe, DistillResult
from mamtra_cli.recipes.shared import stored

BUILT_IN = "mini"


class Lesson(Protocol):
    """What is learned of whom.

    Attributes:
        teacher: says what is learned from.
        name: of what learns.
        compared: name of the model that the result is to match.
    """

    @property
    def teacher(self) -> Engine: ...

    @property
    def name(self) -> str: ...

    @property
    def compared(self) -> str: ...

    def planned(self, recipe: DistillRecipe, told: DistillResult) -> DistillResult:
        """What is known of it before anything is spoken."""
        ...

    def sources(self, course: Any) -> dict[str, str]:
        """SHA-256 of what it learns from beside the data and the teacher's language model."""
        ...

    def course(self, recipe: DistillRecipe, examples: Sequence[Example]) -> Course:
        """The part under its teacher."""
        ...

    def write(
        self,
        recipe: DistillRecipe,
        course: Any,
        told: DistillResult,
        weights: Mapping[str, Tensor],
        writer: FolderWriter,
    ) -> None:
        """Write the student's folder, without the records of its run.

        Args:
            recipe, course, told: what was done.
            weights: what was trained of the course's module, which has them.
            writer: of the folder.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """A model of a family without a language model, made anew or trained on."""

    teacher: Engine
    family: Family
    student: Engine | None
    name: str
    size: str

    @classmethod
    def opened(cls, recipe: DistillRecipe, report: Report) -> Self:
        """The models that a recipe names.

        Raises:
            UsageError: the family has no such size.
        """
        name, _, size = recipe.family.partition(":")
        if size and size not in registry.family(name).sizes:
            known = ", ".join(f"{name}:{one}" for one in registry.family(name).sizes)
            raise UsageError(f"`{name}` has no size `{size}`", known or "leave the size out")
        student = Engine.load(recipe.student, device="cpu") if recipe.student else None
        return cls(
            teacher=Engine.load(recipe.teacher or BUILT_IN, device="cpu", report=report),
            family=registry.family(name) if student is None else student.family,
            student=student,
            name=recipe.student or recipe.family,
            size=size,
        )

    @property
    def compared(self) -> str:
        """Its teacher."""
        return self.teacher.name

    def planned(self, recipe: DistillRecipe, told: DistillResult) -> DistillResult:
        """What learns."""
        learned, frozen = counted(self.course(recipe, ()))
        return replace(told, trainable=learned, frozen=frozen)

    def sources(self, course: Founding) -> dict[str, str]:
        """Nothing more."""
        del course
        return {}

    def course(self, recipe: DistillRecipe, examples: Sequence[Example]) -> Founding:
        """What its family makes of the examples."""
        del recipe
        teacher, student = self.teacher, self.student
        course = self.family.course(
            teacher.loaded,
            teacher.speaker,
            teacher.folder,
            [teacher.voice(name) for name in teacher.voices()],
            examples,
            None if student is None else (student.config, student.part),
            self.size,
        )
        if course is None:
            raise PlanError(
                f"a {self.family.name} model is not taught this way",
                "convert a model, and name the student",
            )
        return course

    def write(
        self,
        recipe: DistillRecipe,
        course: Founding,
        told: DistillResult,
        weights: Mapping[str, Tensor],
        writer: FolderWriter,
    ) -> None:
        """All that it needs of its teacher, and what it learned."""
        del weights
        writer.write_config(self.family.name, to_dict(course.config))
        writer.write_tensors(f"{course.part}{SUFFIX}", course.module.state_dict().items())
        for name, path in course.files.items():
            writer.copy(path, name)
        for name, vector in course.voices():
            writer.write_tensors(f"voices/{name}{SUFFIX}", [("embedding", vector)])
        writer.write_text(PROVENANCE, provenance(recipe, told))
        assert recipe.output is not None
        writer.write_text(README, course.card(recipe.output.name, told.checks))


@dataclass(frozen=True, kw_only=True)
class ShortFlow:
    """A model whose solver takes fewer steps."""

    model: Engine
    teacher: Engine

    @classmethod
    def opened(cls, recipe: DistillRecipe, report: Report) -> Self:
        """The model that a recipe names, which speaks for itself where it can."""
        model = Engine.load(
            recipe.student or BUILT_IN, device=recipe.device, dtype="float32", report=report
        )
        if model.lm_part and not recipe.teacher:
            return cls(model=model, teacher=model)
        teacher = recipe.teacher or BUILT_IN
        return cls(
            model=model,
            teacher=Engine.load(teacher, device=recipe.device, dtype="float32", report=report),
        )

    @property
    def name(self) -> str:
        """The model."""
        return self.model.name

    @property
    def compared(self) -> str:
        """The model with its own solver."""
        return self.model.name

    def planned(self, recipe: DistillRecipe, told: DistillResult) -> DistillResult:
        """What becomes of the solver, and what learns."""
        course = self.course(recipe, ())
        learned, frozen = counted(course)
        plan = {
            **course.told(),
            "stage": f"{recipe.steps} steps of {recipe.batch_tokens} tokens, rate {recipe.lr:g}",
        }
        return replace(told, trainable=learned, frozen=frozen, plan=plan)

    def sources(self, course: Shortening) -> dict[str, str]:
        """The part that learns."""
        return {"student": " ".join(self.opened_model.source.hashes(course.part).values())}

    def course(self, recipe: DistillRecipe, examples: Sequence[Example]) -> Shortening:
        """What its family makes of its solver."""
        del examples
        model = self.model
        voices = [model.voice(name) for name in model.voices()]
        unnamed = None if voices else model.speaker.default_voice()
        course = model.family.shortened(
            model.loaded,
            model.speaker,
            voices if unnamed is None else [unnamed],
            recipe.flow_steps,
        )
        if course is None:
            raise PlanError(
                f"the codec of `{model.name}` solves nothing that could take fewer steps",
                "name a model with a flow, such as `mini`",
            )
        return course

    def write(
        self,
        recipe: DistillRecipe,
        course: Shortening,
        told: DistillResult,
        weights: Mapping[str, Tensor],
        writer: FolderWriter,
    ) -> None:
        """The same model with another solver; what was learned is stored as it was before."""
        model, name = self.opened_model, self.model.name
        assert recipe.output is not None
        card = model.folder / README
        license = read_license(card.read_text(encoding="utf-8")) if card.is_file() else "unknown"
        writer.write_config(model.family.name, to_dict(course.config))
        copy_rest(model, writer, course.part)
        tensors = trained(model.source, course.part, weights, packed=True)
        writer.write_tensors(f"{course.part}{SUFFIX}", finite(tensors))
        inherited = ("teacher", "license", "plan", "mixer", "sha256")
        known = model.source.provenance
        more = {key: known[key] for key in inherited if key in known} | {"made_from": known}
        writer.write_text(PROVENANCE, provenance(recipe, told, more))
        rows = {key.replace("_", " "): f"{value:.3f}" for key, value in told.checks.items()}
        facts = CardFacts(
            name=recipe.output.name,
            license=license,
            tags=("text-to-speech", "flow-matching", "mean-flow"),
            base_model=(name,) if "/" in name else (),
            summary=f"{name} with a flow of {recipe.flow_steps} steps without guidance; all else "
            "is as it was.",
            tables={"Log-mel beside its teacher's, by steps, in nepers": rows} if rows else {},
            recipe=without_paths(stored(recipe)),
        )
        writer.write_text(README, model_card(facts))

    @property
    def opened_model(self) -> Model:
        """The model's folder."""
        assert self.model.model is not None
        return self.model.model


def counted(course: Course) -> tuple[int, int]:
    """Parameters of the part that learn, and those that do not."""
    sizes = {True: 0, False: 0}
    for parameter in course.module.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    return sizes[True], sizes[False]


def provenance(
    recipe: DistillRecipe, told: DistillResult, more: Mapping[str, Any] | None = None
) -> str:
    """How a folder was made, as JSON."""
    return dump_json(
        to_dict(
            {
                "mamtra": __version__,
                "task": "distill",
                "recipe": stored(replace(recipe, teacher=told.teacher)),
                **(more or {}),
                "checks": told.checks,
            }
        )
    )
