"""Speak tokens by the graphs of an exported folder, with numpy and onnxruntime alone.

What `mamtra export mini -o DIR` writes can be run by any program: this one turns speech tokens (of
a recording, or of the step `lm.onnx`) into a mel, by the solver's loop around two graphs, and the
mel into sound where the vocoder is HiFT. It imports nothing of mamtra. Run:
python examples/onnx_program.py DIR
"""

import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    """Make a mel of a few tokens, and sound, and say what came of it."""
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())["config"]
    sizes = config["flow"]
    encoder, estimator = session(folder, "flow_encoder"), session(folder, "flow_estimator")
    ahead, everything = sizes["encoder"]["lookahead"], np.array([1 << 30])
    tokens = [token % sizes["vocab_size"] for token in range(100, 150)]
    known = np.ones((1, len(tokens) + ahead, 1), np.float32)
    known[:, len(tokens) :] = 0  # the look-ahead sees nothing after the end
    speaker = np.random.default_rng(0).normal(size=(1, sizes["speaker_dim"])).astype(np.float32)
    mu, spks = encoder.run(
        ["mu", "spks"],
        {
            "ids": np.array([[*tokens, *[0] * ahead]]),
            "known": known,
            "chunk": everything,
            "speaker": speaker / np.linalg.norm(speaker),
        },
    )
    noise = np.random.default_rng(1).normal(size=mu.shape).astype(np.float32)
    x = noise * np.float32(sizes["temperature"])
    grid = 1 - np.cos(np.linspace(0, 1, sizes["steps"] + 1) * math.pi / 2)
    for now, after in pairwise(grid):
        point = {"x": x, "mu": mu, "spks": spks, "cond": np.zeros_like(mu), "chunk": everything}
        velocity = estimator.run(["velocity"], {**point, "t": np.array([now], np.float32)})[0]
        x = x + np.float32(after - now) * velocity
    print(f"mel {x.shape}, mean {x.mean():.2f}, deviation {x.std():.2f}")
    if (folder / "hift.onnx").is_file():
        wave = spoken(session(folder, "hift"), config["hift"], x)
        print(f"{wave.shape[1]} samples, largest {abs(wave).max():.2f}")


def session(folder: Path, name: str) -> onnxruntime.InferenceSession:
    """A graph of the folder, ready to run."""
    return onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])


def spoken(hift: onnxruntime.InferenceSession, sizes: dict, mel: np.ndarray) -> np.ndarray:
    """Samples (1, S) of a whole mel (1, F, T), with the noise that the source wants."""
    samples = sizes["hop"] * math.prod(sizes["upsample_rates"]) * mel.shape[2]
    noise = np.random.default_rng(2).normal(size=(1, samples, sizes["harmonics"] + 1))
    nothing = np.zeros((1, 0), np.float32)  # no earlier piece
    given = {"mel": mel, "noise": noise.astype(np.float32), "settled": nothing, "past": nothing}
    return hift.run(["wave"], given)[0]


if __name__ == "__main__":
    main()
