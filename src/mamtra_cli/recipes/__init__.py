"""Every knob of every task, with its default, and what each task returns.

The one home of these numbers: the command line shows them, recipe files override them, and the
`mamtra.json` of an output repeats the ones that were used. One module a task; imports no torch.
`None` and "" mean that the model, the mixer or another knob decides, as the line beside the field
says.
"""

from mamtra_cli.recipes.convert import ConvertRecipe, ConvertResult
from mamtra_cli.recipes.distill import DistillRecipe, DistillResult
from mamtra_cli.recipes.doctor import DoctorRecipe, DoctorResult
from mamtra_cli.recipes.evaluate import EvalRecipe, EvalResult
from mamtra_cli.recipes.prepare import PrepareRecipe, PrepareResult
from mamtra_cli.recipes.profile import ProfileRecipe, ProfileResult, ProfileRow, SavingRow
from mamtra_cli.recipes.push import PushRecipe, PushResult
from mamtra_cli.recipes.selection import LayerSelection, PlanMeasure, SelectionStep
from mamtra_cli.recipes.shared import FileEntry, StartCheck
from mamtra_cli.recipes.synth import SynthRecipe, SynthResult
from mamtra_cli.recipes.voice import (
    ClipFacts,
    ClipLimits,
    VoiceAddRecipe,
    VoiceAddResult,
    VoiceEntry,
    VoiceFacts,
    VoiceListRecipe,
    VoiceListResult,
    VoiceRemoveRecipe,
    VoiceRemoveResult,
    VoiceShowRecipe,
    VoiceShowResult,
)

__all__ = [
    "ClipFacts",
    "ClipLimits",
    "ConvertRecipe",
    "ConvertResult",
    "DistillRecipe",
    "DistillResult",
    "DoctorRecipe",
    "DoctorResult",
    "EvalRecipe",
    "EvalResult",
    "FileEntry",
    "LayerSelection",
    "PlanMeasure",
    "PrepareRecipe",
    "PrepareResult",
    "ProfileRecipe",
    "ProfileResult",
    "ProfileRow",
    "PushRecipe",
    "PushResult",
    "SavingRow",
    "SelectionStep",
    "StartCheck",
    "SynthRecipe",
    "SynthResult",
    "VoiceAddRecipe",
    "VoiceAddResult",
    "VoiceEntry",
    "VoiceFacts",
    "VoiceListRecipe",
    "VoiceListResult",
    "VoiceRemoveRecipe",
    "VoiceRemoveResult",
    "VoiceShowRecipe",
    "VoiceShowResult",
]
