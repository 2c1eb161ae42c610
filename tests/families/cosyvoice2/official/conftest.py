"""The codec's fixtures, for the loops of the official program over it."""

from tests.codecs.flow_hift.conftest import (
    flow_config,
    golden,
    official,
    prompt,
    small_flow,
    small_hift,
    tokens,
)

__all__ = ["flow_config", "golden", "official", "prompt", "small_flow", "small_hift", "tokens"]
