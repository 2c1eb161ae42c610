"""What the tests of `push` share: a model folder."""

import itertools
from pathlib import Path

import torch

from mamtra_cli.card import CardFacts, model_card
from mamtra_cli.checkpoint import FolderWriter

NUMBERS = itertools.count()


def write_student(target: Path) -> Path:
    """A small model folder with a card, weights, two voices, and two files that stay."""
    with FolderWriter(target) as writer:
        # New numbers each time: the hub keeps objects, and an old one is not sent again.
        weights = torch.arange(4096, dtype=torch.float32).view(64, 64) + next(NUMBERS)
        writer.write_tensors("lm.safetensors", [("weight", weights)])
        for voice in ("ann", "bob"):
            writer.write_tensors(f"voices/{voice}.safetensors", [("embedding", torch.ones(192))])
        writer.write_config("cosyvoice2", {"lm": {"n_layers": 2, "d_model": 64, "vocab_size": 9}})
        writer.write_text("README.md", model_card(CardFacts(name="student", license="apache-2.0")))
    (target / "trainer.safetensors").write_bytes(b"not for the hub")
    (target / ".hidden").write_text("not for the hub")
    return target
