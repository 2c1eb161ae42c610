"""Graphs of large models, built once and kept in the user's cache by the hash of their weights.

Building one at the published size takes half a minute; reading it back a second or two. Small ones
are built each time. Needs the packages of the extra `onnx`.
"""

from torch import nn

from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.backbone.decoding.onnx_step import OnnxStack
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.errors import MissingDependencyError, UsageError
from mamtra_cli.publish import written_whole
from mamtra_cli.user_folders import cache_folder

FOLDER = "graphs"
VERSION = 1  # of what `onnx_layers.build` writes
SMALL = 50_000_000  # parameters below which a graph is not kept


def onnx_stack(
    stack: HybridStack, head: nn.Linear, quantisation: str, *, key: str, threads: int
) -> OnnxStack:
    """A session over the graph of a stack and its head.

    Args:
        stack, head: the modules.
        quantisation: a name of `onnx_graph.QUANTISATIONS`.
        key: SHA-256 of the weights; "" where there is none, and nothing is kept.
        threads: of the session.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed, or too old.
        UsageError: a layer has no operator.
    """
    _check_packages()
    from mamtra_cli.backbone.decoding.onnx_graph import QUANTISATIONS
    from mamtra_cli.backbone.decoding.onnx_layers import build, obstacle

    reason = obstacle(stack)
    if reason:
        raise UsageError(f"this model is no graph for ONNX Runtime: {reason}", "--backend torch")
    size = sum(parameter.numel() for parameter in stack.parameters())
    if not key or size < SMALL:
        graph = build(stack, head, QUANTISATIONS[quantisation])
        return OnnxStack(open_session(graph.SerializeToString(), threads))
    path = cache_folder(FOLDER) / f"{key[:32]}-{quantisation}-{VERSION}.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        graph = build(stack, head, QUANTISATIONS[quantisation])
        with written_whole(path, replace=True) as partial:
            partial.write_bytes(graph.SerializeToString())
    return OnnxStack(open_session(path, threads))


def _check_packages() -> None:
    for name in ("onnxruntime", "onnx"):
        try:
            __import__(name)
        except ImportError as error:
            raise MissingDependencyError(
                f"`--backend onnx` needs {name}, which is not installed",
                "pip install 'mamtra-cli[onnx]'",
            ) from error
