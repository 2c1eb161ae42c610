"""The conditioning stack: phones and a style to durations, pitch, energy and the flow's input.

Text encoder (both directions, gated) and rhythm encoder (both directions, a local convolution) run
over phones; the prosody encoder (one direction) over the frames that the durations give each
phone. One checkpoint speaks whole texts, or text in windows with a look-ahead (stream.py). Knows
no flow, no vocoder and no file.
Source: MambaVoiceCloning, arXiv 2604.00292; where it leaves the frame path open (the mel it
names does not exist at synthesis), frames are expanded from phones and the reference mel gives the
style alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.families.mvc.config import ConditionerConfig
from mamtra_cli.families.mvc.layers import (
    AdaptiveNorm,
    BidirectionalLayer,
    CausalLayer,
    LayerCarry,
    Modulation,
)
from mamtra_cli.families.mvc.manner import Steering
from mamtra_cli.families.mvc.recurrences import recurrence
from mamtra_cli.families.mvc.windows import FrameFeatures
from mamtra_cli.layers.state import MambaState

PLACES = 3  # what a frame knows of its phone: how far it is, how far to go, its length


@dataclass(frozen=True, kw_only=True)
class Style:
    """A style made ready: the norm of every layer modulated, once an utterance.

    vector: (B, E); text, rhythm, prosody: one modulation a layer.
    """

    vector: Tensor
    text: tuple[Modulation | None, ...]
    rhythm: tuple[Modulation | None, ...]
    prosody: tuple[Modulation | None, ...]


@dataclass(frozen=True, kw_only=True)
class TokenCarry:
    """What the phone side hands to its next window."""

    text: tuple[LayerCarry, ...]
    rhythm: tuple[LayerCarry, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(layer.nbytes for layer in (*self.text, *self.rhythm))


@dataclass(frozen=True, kw_only=True)
class TokenFeatures:
    """What the phone side says of each phone: features (B, T, D), log2 of frames (B, T)."""

    features: Tensor
    log_duration: Tensor


class StyleNet(nn.Module):
    """A reference mel to one vector: convolutions, one recurrence, a mean over time."""

    def __init__(self, config: ConditionerConfig) -> None:
        super().__init__()
        channels = config.style_channels
        self.convs = nn.ModuleList(
            nn.Conv1d(first, channels, 5, stride=2, padding=2)
            for first in (config.mel_bins, channels)
        )
        self.into = nn.Linear(channels, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.ahead = recurrence(config)
        self.out = nn.Linear(config.width, config.style_width)

    def forward(self, mel: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hear a reference.

        Args:
            mel: (B, F, mel) log-mel, F at least 4.
            mask: (B, F) bool, True where real.

        Returns:
            (B, E).
        """
        x = mel
        for conv in self.convs:
            if mask is not None:
                x = x * mask[..., None]
            x = F.silu(conv(x.transpose(1, 2))).transpose(1, 2)
            mask = None if mask is None else mask[:, ::2]
        x = self.into(x)
        y, _ = self.ahead(self.norm(x), pad_mask=mask)
        x = x + y
        if mask is None:
            mean = x.mean(dim=1)
        else:
            real = mask[..., None].to(x.dtype)
            mean = (x * real).sum(dim=1) / real.sum(dim=1)
        vector: Tensor = self.out(mean)
        return vector


class Conditioner(nn.Module):
    """See the module docstring.

    Args:
        config: sizes.
    """

    def __init__(self, config: ConditionerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(config.symbols, width)
        self.text = nn.ModuleList(
            BidirectionalLayer(config, gated=config.gated, local=False)
            for _ in range(config.text_layers)
        )
        self.text_norm = AdaptiveNorm(width, config.style_width, config.adaptive)
        self.rhythm_in = nn.Linear(width + config.style_width, width)
        self.rhythm = nn.ModuleList(
            BidirectionalLayer(config, gated=False, local=True) for _ in range(config.rhythm_layers)
        )
        self.rhythm_norm = nn.LayerNorm(width)
        self.duration = nn.Linear(width, 1)
        self.place = nn.Linear(PLACES, width)
        self.prosody = nn.ModuleList(CausalLayer(config) for _ in range(config.prosody_layers))
        self.prosody_norm = nn.LayerNorm(width)
        self.controls = nn.Linear(width, 3)
        self.controls_in = nn.Linear(3, width)
        self.mu = nn.Linear(width, config.mel_bins)
        self.style = StyleNet(config)

    def styled(self, vector: Tensor) -> Style:
        """Make a style vector (B, E) ready for every layer."""

        def made(layers: nn.ModuleList) -> tuple[Modulation | None, ...]:
            return tuple(layer.norm.of(vector) for layer in layers)  # type: ignore[union-attr,operator]

        text = (*made(self.text), self.text_norm.of(vector))
        return Style(vector=vector, text=text, rhythm=made(self.rhythm), prosody=made(self.prosody))

    def tokens(
        self,
        ids: Tensor,
        style: Style,
        carry: TokenCarry | None = None,
        *,
        commit: int | None = None,
        mask: Tensor | None = None,
    ) -> tuple[TokenFeatures, TokenCarry]:
        """Read a window of phones.

        Args:
            ids: (B, T) long.
            style: of each row.
            carry: what the window before left.
            commit: phones that are final; the rest is look-ahead.
            mask: (B, T) bool, True where real.

        Returns:
            what is said of all T phones, and what the next window starts from.
        """
        x = self.embedding(ids)
        text: list[LayerCarry] = []
        for index, layer in enumerate(self.text):
            before = None if carry is None else carry.text[index]
            x, after = layer(x, style.text[index], before, commit=commit, mask=mask)
            text.append(after)
        x = self.text_norm(x, style.text[-1])
        spread = style.vector[:, None].expand(-1, x.shape[1], -1)
        h = self.rhythm_in(torch.cat((x, spread), dim=-1))
        rhythm: list[LayerCarry] = []
        for index, layer in enumerate(self.rhythm):
            before = None if carry is None else carry.rhythm[index]
            h, after = layer(h, style.rhythm[index], before, commit=commit, mask=mask)
            rhythm.append(after)
        h = self.rhythm_norm(h)
        found = TokenFeatures(features=x + h, log_duration=self.duration(h)[..., 0])
        return found, TokenCarry(text=tuple(text), rhythm=tuple(rhythm))

    def expand(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Give each phone its frames.

        Args:
            features: (B, T, D).
            frames: (B, T) long, 0 for pads.

        Returns:
            (B, F, D) and their mask (B, F).
        """
        rows, masks = [], []
        longest = int(frames.sum(dim=1).max())
        for row, counts in zip(features, frames, strict=True):
            owner = torch.repeat_interleave(torch.arange(len(counts), device=row.device), counts)
            ends = counts.cumsum(0)
            index = torch.arange(len(owner), device=row.device)
            length = counts[owner].to(row.dtype)
            done = (index - (ends - counts)[owner]).to(row.dtype)
            place = torch.stack(
                (done / length, (length - done) / length, torch.log2(length) / 4), dim=-1
            )
            rows.append(F.pad(row[owner] + self.place(place), (0, 0, 0, longest - len(owner))))
            masks.append(torch.arange(longest, device=row.device) < len(owner))
        return torch.stack(rows), torch.stack(masks)

    def frames(
        self,
        x: Tensor,
        style: Style,
        states: tuple[MambaState, ...] | None = None,
        *,
        mask: Tensor | None = None,
        controls: Tensor | None = None,
        steering: Steering | None = None,
    ) -> tuple[FrameFeatures, tuple[MambaState, ...]]:
        """Say what each frame is.

        Args:
            x: (B, F, D) of `expand`.
            style: of each row.
            states: of the frames before.
            mask: (B, F) bool, True where real.
            controls: (B, F, 3) true pitch, voicing (0 or 1) and energy that mu is to follow, in
                place of those found here.
            steering: changes to pitch and energy.

        Returns:
            features, and the states after the frames.
        """
        after: list[MambaState] = []
        for index, layer in enumerate(self.prosody):
            before = None if states is None else states[index]
            x, state = layer(x, style.prosody[index], before, mask=mask)
            after.append(state)
        h = self.prosody_norm(x)
        pitch, voiced, energy = self.controls(h).unbind(dim=-1)
        if steering is not None:
            pitch = pitch + steering.pitch / 12 / self.config.pitch_deviation
            energy = energy + steering.energy
        if controls is None:
            controls = torch.stack((pitch, (voiced > 0).to(pitch.dtype), energy), dim=-1)
        # An unvoiced frame has no pitch to follow.
        known = torch.stack(
            (controls[..., 0] * controls[..., 1], controls[..., 1], controls[..., 2]), dim=-1
        )
        mu = self.mu(h + self.controls_in(known))
        found = FrameFeatures(pitch=pitch, voiced=voiced, energy=energy, mu=mu)
        return found, tuple(after)
