"""Every knob of every task, with its default, and what each task returns.

The one home of these numbers: the command line shows them, recipe files override them, and the
`mamtra.json` of an output repeats the ones that were used. One module a task; imports no torch.
`None` and "" mean that the model, the mixer or another knob decides, as the line beside the field
says. The names here are loaded when first used, so that a command reads its own recipe alone.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "convert": ("ConvertRecipe", "ConvertResult"),
    "distill": ("DistillRecipe", "DistillResult"),
    "doctor": ("DoctorRecipe", "DoctorResult"),
    "evaluate": ("EvalRecipe", "EvalResult"),
    "prepare": ("PrepareRecipe", "PrepareResult"),
    "profile": ("ProfileRecipe", "ProfileResult", "ProfileRow", "SavingRow"),
    "push": ("PushRecipe", "PushResult"),
    "selection": ("LayerSelection", "PlanMeasure", "SelectionStep"),
    "shared": ("FileEntry", "StartCheck"),
    "synth": ("SynthRecipe", "SynthResult"),
    "voice": (
        "ClipLimits",
        "VoiceAddRecipe",
        "VoiceAddResult",
        "VoiceEntry",
        "VoiceListRecipe",
        "VoiceListResult",
        "VoiceRemoveRecipe",
        "VoiceRemoveResult",
        "VoiceShowRecipe",
        "VoiceShowResult",
    ),
    "voice_facts": ("ClipFacts", "VoiceFacts"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a recipe or a result from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module `mamtra_cli.recipes` has no attribute `{name}`")
    return getattr(import_module(f"mamtra_cli.recipes.{_HOMES[name]}"), name)
