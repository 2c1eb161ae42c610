"""Whisper through transformers: the English recogniser of Seed-TTS-eval (large-v3), or any other.

Greedy, in float32, with the language given and not guessed; sentences longer than the 30 seconds
that the model reads at once go through its own long-form decoding. Weights come from a folder or
the hub. Source: Radford et al. (arXiv:2212.04356).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.engine.judging.pretrained import find_pretrained, import_transformers
from mamtra_cli.engine.judging.waves import narrow
from mamtra_cli.errors import ModelNotFoundError

WINDOW = 30  # seconds read at once
BATCH = 8
LANGUAGES = {"en": "english", "zh": "chinese"}


class Whisper:
    """A Whisper model.

    Args:
        name: folder, or org/name[@revision].
        language: en or zh; English-only models take en.
        device: where it runs.
    """

    def __init__(
        self, name: str, *, language: str = "en", device: torch.device | str = "cpu"
    ) -> None:
        transformers = import_transformers()
        found = find_pretrained(name)
        try:
            self._processor = transformers.WhisperProcessor.from_pretrained(found.folder)
            model = transformers.WhisperForConditionalGeneration.from_pretrained(
                found.folder, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise ModelNotFoundError(f"`{name}` has no Whisper model: {first}") from error
        self._model = model.eval().to(device)
        self._device = device
        self._asked: dict[str, str] = {}
        if getattr(model.generation_config, "is_multilingual", True):
            self._asked = {"language": LANGUAGES[language], "task": "transcribe"}
        self.about: Mapping[str, str] = {
            "name": f"Whisper {found.name}",
            "identity": found.identity,
            "transformers": transformers.__version__,
            "decoding": "greedy, float32",
        }

    def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
        """Give the words of a mono wave (T,) between -1 and 1."""
        return self.transcribe_many([wave], rate)[0]

    def transcribe_many(self, waves: Sequence[NDArray[np.float32]], rate: int) -> list[str]:
        """Give the words of each wave."""
        ready = [narrow(wave, rate) for wave in waves]
        texts = [""] * len(ready)
        short = [place for place, wave in enumerate(ready) if len(wave) <= WINDOW * LISTENING_RATE]
        for start in range(0, len(short), BATCH):
            part = short[start : start + BATCH]
            heard = self._listen([ready[place] for place in part], long=False)
            for place, text in zip(part, heard, strict=True):
                texts[place] = text
        for place in set(range(len(ready))) - set(short):
            texts[place] = self._listen([ready[place]], long=True)[0]
        return texts

    @torch.inference_mode()
    def _listen(self, waves: list[NDArray[np.float32]], *, long: bool) -> list[str]:
        # A batch is padded to the window, so a wave is heard alike in any company.
        how = {"truncation": False, "padding": "longest"} if long else {}
        read = self._processor(
            waves,
            sampling_rate=LISTENING_RATE,
            return_tensors="pt",
            return_attention_mask=True,
            **how,
        )
        ids = self._model.generate(
            read.input_features.to(self._device),
            attention_mask=read.attention_mask.to(self._device),
            do_sample=False,
            num_beams=1,
            return_timestamps=True if long else None,
            **self._asked,
        )
        texts = self._processor.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]
