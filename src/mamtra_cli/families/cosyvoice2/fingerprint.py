"""Which files make a voice prompt what it is, and their hashes.

A prompt is only good for the tokenizer, the speaker encoder and the text front end it was made
with, so each of them has a SHA-256; the front end's runs over all of its files. Parts are looked
up by their names in our format and in the published one.
"""

import hashlib
from pathlib import Path

from mamtra_cli.checkpoint import sha256_once
from mamtra_cli.families.cosyvoice2.repository import (
    FILES,
    MERGES_FILE,
    QWEN_FOLDER,
    VOCAB_FILE,
)
from mamtra_cli.families.phones import LETTERS, LEXICON, SYMBOLS

PARTS = {
    "speech_tokenizer": ("speech_tokenizer.safetensors", "speech_tokenizer_v2.onnx"),
    "speaker_encoder": ("speaker_encoder.safetensors", "campplus.onnx"),
    "lm": ("lm.safetensors", FILES["lm"]),
}
FRONT_ENDS = {"phones": (SYMBOLS, LEXICON, LETTERS), "bpe": (VOCAB_FILE, MERGES_FILE)}


def fingerprint(folder: Path, part: str, text: str = "") -> str:
    """SHA-256 of what `part` is made from, as hex; "" where the folder does not hold it.

    Args:
        folder: a model folder, ours or published.
        part: `speech_tokenizer`, `speaker_encoder`, `lm` or `front_end`.
        text: kind of the front end, for `front_end`.
    """
    if part == "front_end":
        return _joined(folder, FRONT_ENDS.get(text, ()))
    paths = [folder / name for name in PARTS[part]]
    found = next((path for path in paths if path.is_file()), None)
    return "" if found is None else sha256_once(found)


def _joined(folder: Path, names: tuple[str, ...]) -> str:
    whole = hashlib.sha256()
    for name in names:
        path = next((p for p in (folder / name, folder / QWEN_FOLDER / name) if p.is_file()), None)
        if path is None:
            return ""
        whole.update(f"{name} {sha256_once(path)}\n".encode())
    return whole.hexdigest() if names else ""
