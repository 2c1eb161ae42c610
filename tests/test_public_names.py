"""The names that `mamtra_cli` promises, and that importing it stays light."""

import subprocess
import sys

import mamtra_cli

PROMISED = {
    "Engine", "SpeechOptions", "speak", "Sampling", "LayerPlan", "MixerConfig", "MamtraError",
    "ConvertRecipe", "DistillRecipe", "EvalRecipe", "PrepareRecipe", "ProfileRecipe", "PushRecipe",
    "SynthRecipe",
    "convert", "distill", "evaluate", "prepare", "profile", "push", "synth", "__version__",
}  # fmt: skip


def test_public_names_are_the_promised_ones() -> None:
    assert set(mamtra_cli.__all__) == PROMISED


def test_every_public_name_loads() -> None:
    for name in mamtra_cli.__all__:
        assert getattr(mamtra_cli, name) is not None


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, mamtra_cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
