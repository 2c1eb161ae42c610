"""Speak, convert and look at a plan from Python. Run: python examples/python_api.py"""

from pathlib import Path
from tempfile import mkdtemp

import torch

from mamtra_cli import ConvertRecipe, Engine, LayerPlan, convert, speak

engine = Engine.load("mini")
chunks = [chunk.audio for chunk in speak(engine, "Hello from Python.", engine.voice("anna"))]
wave = torch.cat(chunks)
print(f"{len(wave) / engine.sample_rate:.2f} s of sound, {engine.sample_rate} Hz")

print(LayerPlan.parse("1:3@spread", 24))

folder = Path(mkdtemp()) / "student"
recipe = ConvertRecipe(teacher="mini", output=folder, ratio="1:1", calibration_tokens=2048)
result = convert(recipe)
print(result.plan)
if result.check:
    print(f"KL to the teacher before any training: {result.check.kl:.3f} nats a token")
