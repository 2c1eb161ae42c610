"""The graphs of a loaded model, each naming the weights in a folder. Needs the package `onnx`."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import onnx

from mamtra_cli.backbone.decoding.onnx_graph import QUANTISATIONS
from mamtra_cli.backbone.decoding.onnx_layers import build, obstacle
from mamtra_cli.backbone.decoding.stored_weights import StoredWeights
from mamtra_cli.checkpoint import SUFFIX
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.graphs import flow_encoder, flow_estimator, vocoder_graph
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.errors import PlanError
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.speaker import Loaded


def made_graphs(
    parts: Loaded, folder: Path, quant: str = "none"
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Each graph of `light.LightCosyVoice2.graphs` by its name.

    Args:
        parts: of the model.
        folder: holds the weights that the parts were loaded from, in our format.
        quant: bits of the language model's matrices, a name of `QUANTISATIONS`; few are stored in
            the graph, not named.

    Raises:
        PlanError: a part has no graph.
    """
    lm, flow = cast(SpeechLM, parts.part("lm")), cast(Flow, parts.part("flow"))
    name = parts.config.vocoder_part
    vocoder = cast(HiFT | SourceFilter, parts.part(name))
    if reason := obstacle(lm.stack):
        raise PlanError(f"`{parts.name}` has no graph: {reason}", "only its modules speak")

    def stored(part: str) -> StoredWeights:
        return StoredWeights(folder / f"{part}{SUFFIX}", parts.part(part))

    yield "lm", build(lm.stack, lm.llm_decoder, QUANTISATIONS[quant], stored("lm"))
    weights = stored("flow")
    yield "flow_encoder", flow_encoder(flow, weights)
    yield "flow_estimator", flow_estimator(flow, weights)
    yield name, vocoder_graph(vocoder, stored(name))
