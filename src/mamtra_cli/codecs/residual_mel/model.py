"""Mels to a few residual ids a frame and back, and the vocoder behind them.

The decoder's layers keep their contexts (`flow_hift.context_conv`), so frames in pieces give the
mel of the whole. Codes are plain vectors, each stage the nearest to what the ones before left over
(residual vector quantisation: arXiv 2107.03312). Knows no files and no training.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.context_conv import Block, ContextConv, first_contexts
from mamtra_cli.codecs.flow_hift.source_filter import MEL_MEAN, MEL_SCALE, SourceFilter
from mamtra_cli.codecs.residual_mel.config import ResidualMelConfig
from mamtra_cli.features import mel24k

Contexts = tuple[Tensor, ...]


class Network(nn.Module):
    """Blocks over time between two maps of channels; reads in pieces what it reads whole."""

    def __init__(self, inputs: int, outputs: int, blocks: int, config: ResidualMelConfig) -> None:
        super().__init__()
        width = config.width
        self.pre = ContextConv(inputs, width, config.kernel, config.ahead)
        self.blocks = nn.ModuleList(
            Block(width, config.kernel, config.ahead, config.widening) for _ in range(blocks)
        )
        self.out = nn.Linear(width, outputs)

    def forward(self, contexts: Contexts, x: Tensor, *, final: bool) -> tuple[Contexts, Tensor]:
        """Read (B, C, T) more frames: the new contexts, and (B, C', n)."""
        context, _, x = self.pre(contexts[0], x, final=final)
        after = [context]
        for block, context in zip(self.blocks, contexts[1:], strict=True):
            context, x = block(context, x, final=final)
            after.append(context)
        return tuple(after), self.out(x.transpose(1, 2)).transpose(1, 2)

    def whole(self, x: Tensor) -> Tensor:
        """Read all of (B, C, T): (B, C', T)."""
        answers: Tensor = self(first_contexts(self, x.shape[0]), x, final=True)[1]
        return answers


class Quantizer(nn.Module):
    """Stages of codes, each for what the ones before left over."""

    def __init__(self, config: ResidualMelConfig) -> None:
        super().__init__()
        shape = (config.codebooks, config.codes, config.latent)
        self.codes = nn.Parameter(torch.randn(shape))

    def nearest(self, book: int, residual: Tensor) -> Tensor:
        """Ids (...) of the codes of a stage that are nearest to residual (..., latent)."""
        codes = self.codes[book]
        return (residual @ codes.T - codes.square().sum(1) / 2).argmax(-1)

    def encode(self, latent: Tensor) -> Tensor:
        """Ids (B, K, F) of latent (B, latent, F)."""
        left, stages = latent.transpose(1, 2), []
        for book, codes in enumerate(self.codes):
            ids = self.nearest(book, left)
            left = left - codes[ids]
            stages.append(ids)
        return torch.stack(stages, dim=1)

    def decode(self, ids: Tensor) -> Tensor:
        """Sum of the codes of ids (B, K, F): (B, latent, F)."""
        stages = [F.embedding(ids[:, book], codes) for book, codes in enumerate(self.codes)]
        return torch.stack(stages).sum(0).transpose(1, 2)


class ResidualMel(nn.Module):
    """The whole codec."""

    def __init__(self, config: ResidualMelConfig) -> None:
        super().__init__()
        self.config = config
        bins, stride, width = config.mel.n_mels, config.stride, config.width
        self.listen = Network(bins, width, config.blocks, config)
        self.fold = Network(stride * width, config.latent, config.blocks, config)
        self.quantizer = Quantizer(config)
        self.unfold = Network(config.latent, stride * width, config.blocks, config)
        self.speak = Network(width, bins, config.blocks, config)
        self.vocoder = SourceFilter(config.vocoder)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.quantizer.codes.device

    def mel(self, wave: Tensor) -> Tensor:
        """The mel (B, M, T) of wave (B, S), filled with silence to whole frames."""
        mel = self.config.mel
        filled = F.pad(wave, (0, self.config.padded(wave.shape[-1]) - wave.shape[-1]))
        return mel24k(
            filled,
            sample_rate=mel.sample_rate,
            n_fft=mel.n_fft,
            hop=mel.hop,
            n_mels=mel.n_mels,
            fmin=mel.fmin,
            fmax=mel.fmax,
        )

    def latent(self, mel: Tensor) -> Tensor:
        """What is coded: mel (B, M, T), T a multiple of the stride, to (B, latent, T / stride)."""
        heard = self.listen.whole((mel - MEL_MEAN) / MEL_SCALE)
        stride = self.config.stride
        folded = heard.reshape(*heard.shape[:2], -1, stride).permute(0, 1, 3, 2).flatten(1, 2)
        return self.fold.whole(folded)

    def first_contexts(self) -> tuple[Contexts, Contexts]:
        """Those of `mel_of` before anything was read."""
        return first_contexts(self.unfold, 1), first_contexts(self.speak, 1)

    def mel_of(
        self, contexts: tuple[Contexts, Contexts], latent: Tensor, *, final: bool
    ) -> tuple[tuple[Contexts, Contexts], Tensor]:
        """Read more of what was coded, (B, latent, F): the new contexts, and mels (B, M, n)."""
        slow, unfolded = self.unfold(contexts[0], latent, final=final)
        fine = self.unfolded(unfolded)
        quick, mel = self.speak(contexts[1], fine, final=final)
        return (slow, quick), mel * MEL_SCALE + MEL_MEAN

    def unfolded(self, x: Tensor) -> Tensor:
        """Take frames (B, stride * C, F) apart: (B, C, stride * F)."""
        wide = x.reshape(x.shape[0], self.config.width, self.config.stride, x.shape[2])
        return wide.permute(0, 1, 3, 2).flatten(2)

    def encode(self, wave: Tensor) -> Tensor:
        """Make ids (B, K, F) of wave (B, S)."""
        place = self.quantizer.codes
        return self.quantizer.encode(self.latent(self.mel(wave).to(place.dtype)))

    def decode(self, ids: Tensor) -> Tensor:
        """Make samples (B, hop * F) of ids (B, K, F) in one pass."""
        batch = ids.shape[0]
        contexts = (first_contexts(self.unfold, batch), first_contexts(self.speak, batch))
        mel = self.mel_of(contexts, self.quantizer.decode(ids), final=True)[1]
        sound: Tensor = self.vocoder(mel.float())
        return sound
