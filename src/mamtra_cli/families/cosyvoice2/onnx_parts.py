"""The published encoders of a voice, ONNX graphs run on the CPU, with the calls of our modules.

`speech_tokenizer_v2.onnx`: log-mel (1, 128, T) float32 and its length (1,) int32 to ids;
`campplus.onnx`: filter bank (B, T, 80) float32, mean subtracted, to vectors (B, 192). They see the
CPU only: nothing of them is ever on an accelerator. Knows shapes, not waveforms: features come
from `mamtra_cli.features`. Source: FunAudioLLM/CosyVoice, cosyvoice/cli/frontend.py.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.codecs.flow_hift.config import SpeakerEncoderConfig, SpeechTokenizerConfig
from mamtra_cli.codecs.flow_hift.speech_tokenizer import encode_each
from mamtra_cli.errors import CheckpointError, MissingDependencyError

PUBLISHED = "download the file again from FunAudioLLM/CosyVoice2-0.5B"


class OnnxPart(nn.Module):
    """A graph with fixed inputs, checked when it is opened.

    Args:
        path: the file.
        inputs: size of the feature axis (`None` for a vector of lengths), by rank and order.
    """

    def __init__(self, path: Path, inputs: tuple[tuple[int | None, ...], ...]) -> None:
        super().__init__()
        self.path = path
        self.session = _open(path)
        self.names = [entry.name for entry in self.session.get_inputs()]
        shapes = [tuple(entry.shape) for entry in self.session.get_inputs()]
        if len(shapes) != len(inputs) or not all(map(_fits, shapes, inputs)):
            raise CheckpointError(
                f"`{path.name}` takes inputs of shape {shapes}, not those of the published model",
                PUBLISHED,
            )

    def run(self, *values: Tensor) -> Tensor:
        """Run the graph on the CPU: its first output, as a tensor there."""
        feed = {
            name: value.detach().cpu().numpy()
            for name, value in zip(self.names, values, strict=True)
        }
        try:
            return torch.from_numpy(self.session.run(None, feed)[0])
        except Exception as error:  # onnxruntime has one class an error code, all private
            raise CheckpointError(
                f"`{self.path.name}` does not run: {str(error).splitlines()[0]}", PUBLISHED
            ) from error


class OnnxSpeechTokenizer(OnnxPart):
    """Log-mel to codes; `encode` as in `SpeechTokenizer`."""

    def __init__(self, path: Path) -> None:
        self.config = SpeechTokenizerConfig()
        super().__init__(path, ((None, self.config.n_mels, None), (None,)))

    @torch.no_grad()
    def encode(self, logmel: Tensor, lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode speech of any length, one utterance at a time.

        Args:
            logmel: (B, 128, T).
            lens: (B,) frames; all T when `None`.

        Returns:
            codes: (B, N) int64, zero after each utterance's end.
            lens: (B,) int64 code counts.
        """
        if logmel.dim() != 3 or logmel.shape[1] != self.config.n_mels or not logmel.shape[2]:
            raise ValueError(
                f"log-mel of shape {tuple(logmel.shape)}, expected (B, {self.config.n_mels}, T)"
            )
        codes, counts = encode_each(self._codes, logmel.float(), lens)
        wrong = int((codes >= self.config.codebook_size).sum() + (codes < 0).sum())
        if wrong:
            raise CheckpointError(
                f"`{self.path.name}` gives codes beyond {self.config.codebook_size - 1}", PUBLISHED
            )
        return codes, counts

    def _codes(self, logmel: Tensor) -> Tensor:
        """Codes (N,) of one window (1, 128, T)."""
        frames = torch.tensor([logmel.shape[2]], dtype=torch.int32)
        return self.run(logmel.contiguous(), frames).reshape(-1).long().to(logmel.device)


class OnnxSpeakerEncoder(OnnxPart):
    """Filter bank to speaker vector; called as `SpeakerEncoder`."""

    def __init__(self, path: Path) -> None:
        self.config = SpeakerEncoderConfig()
        super().__init__(path, ((None, None, self.config.n_mels),))

    @torch.no_grad()
    def forward(self, fbank: Tensor, lens: Tensor | None = None) -> Tensor:
        """Encode utterances, one at a time.

        Args:
            fbank: (B, T, 80), each bin's mean over the utterance's real frames subtracted.
            lens: (B,) real frames, at least one; all T when `None`.

        Returns:
            (B, 192) float32, not normalised.
        """
        if fbank.dim() != 3 or fbank.shape[2] != self.config.n_mels or not fbank.shape[1]:
            raise ValueError(
                f"filter bank of shape {tuple(fbank.shape)}, expected (B, T, {self.config.n_mels})"
            )
        frames = [fbank.shape[1]] * len(fbank) if lens is None else lens.tolist()
        rows = [
            self.run(row[None, :length].float().contiguous())
            for row, length in zip(fbank, frames, strict=True)
        ]
        vectors = torch.cat(rows).float()
        if vectors.shape != (len(fbank), self.config.dim):
            raise CheckpointError(
                f"`{self.path.name}` gives vectors of shape {tuple(vectors.shape[1:])}, "
                f"not ({self.config.dim},)",
                PUBLISHED,
            )
        return vectors.to(fbank.device)


PARTS: dict[str, type[OnnxPart]] = {
    "speech_tokenizer": OnnxSpeechTokenizer,
    "speaker_encoder": OnnxSpeakerEncoder,
}


def load(part: str, path: Path) -> nn.Module:
    """Open the ONNX file of a part.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        CheckpointError: the file is missing, damaged, or another graph.
    """
    made: Any = PARTS[part]
    module: nn.Module = made(path)
    return module.eval()


def _fits(shape: tuple[Any, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a graph's input, whose free axes have names, takes what we give it."""
    return len(shape) == len(wanted) and all(
        size is None or not isinstance(extent, int) or extent == size
        for extent, size in zip(shape, wanted, strict=True)
    )


def _open(path: Path) -> Any:
    """A session on the CPU, with as many threads as torch has."""
    if not path.is_file():
        raise CheckpointError(f"`{path.name}` is missing from `{path.parent}`", PUBLISHED)
    try:
        return open_session(path, torch.get_num_threads(), fused=True)
    except ImportError as error:
        raise MissingDependencyError(
            f"`{path.name}` needs onnxruntime", "install it with `pip install 'mamtra-cli[onnx]'`"
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"`{path.name}` is damaged: {str(error).splitlines()[0]}", PUBLISHED
        ) from error
