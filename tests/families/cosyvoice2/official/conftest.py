"""The codec's fixtures, for the loops of the official program over it."""

from tests.codecs.flow_hift.conftest import flow_config, golden, small_flow, small_hift

__all__ = ["flow_config", "golden", "small_flow", "small_hift"]
