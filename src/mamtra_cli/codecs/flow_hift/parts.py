"""The modules of the codec by the names that model folders give them."""

from typing import Protocol

from torch import nn

from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    HiFTConfig,
    SourceFilterConfig,
    SpeakerEncoderConfig,
)
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.speaker_encoder import SpeakerEncoder


class Sizes(Protocol):
    """What the config of a model on this codec holds; `None` for what the model has not."""

    @property
    def flow(self) -> FlowConfig: ...

    @property
    def hift(self) -> HiFTConfig: ...

    @property
    def source_filter(self) -> SourceFilterConfig | None: ...

    @property
    def speaker_encoder(self) -> SpeakerEncoderConfig | None: ...


def build(sizes: Sizes, part: str) -> nn.Module | None:
    """Make one part with new weights; `None` where it is no part of the codec."""
    if part == "flow":
        return Flow(sizes.flow)
    if part == "hift":
        return HiFT(sizes.hift)
    if part == "source_filter" and sizes.source_filter is not None:
        return SourceFilter(sizes.source_filter)
    if part == "speaker_encoder" and sizes.speaker_encoder is not None:
        return SpeakerEncoder(sizes.speaker_encoder)
    return None
