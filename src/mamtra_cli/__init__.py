"""Turn a Transformer text-to-speech model into a Mamba/Transformer hybrid, and speak with it.

The public names below are loaded when first used: importing this package imports no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Engine": "mamtra_cli.engine.model",
    "SpeechOptions": "mamtra_cli.engine.speaking.speech",
    "speak": "mamtra_cli.engine.speaking.speech",
    "Sampling": "mamtra_cli.ops.sampling",
    "LayerPlan": "mamtra_cli.backbone.plan",
    "MixerConfig": "mamtra_cli.layers.mixer_config",
    "MamtraError": "mamtra_cli.errors",
    "ConvertRecipe": "mamtra_cli.recipes",
    "DistillRecipe": "mamtra_cli.recipes",
    "EvalRecipe": "mamtra_cli.recipes",
    "PrepareRecipe": "mamtra_cli.recipes",
    "ProfileRecipe": "mamtra_cli.recipes",
    "PushRecipe": "mamtra_cli.recipes",
    "SynthRecipe": "mamtra_cli.recipes",
    "convert": "mamtra_cli.tasks.convert",
    "distill": "mamtra_cli.tasks.distill",
    "evaluate": "mamtra_cli.tasks.evaluate",
    "prepare": "mamtra_cli.tasks.prepare",
    "profile": "mamtra_cli.tasks.profile",
    "push": "mamtra_cli.tasks.push",
    "synth": "mamtra_cli.tasks.synth",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module `mamtra_cli` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
