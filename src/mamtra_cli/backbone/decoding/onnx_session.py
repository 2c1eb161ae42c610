"""Sessions of ONNX Runtime as everything here opens them: on the CPU, and polite to others."""

from pathlib import Path
from typing import Any


def open_session(graph: Path | bytes, threads: int = 1, *, fused: bool = False) -> Any:
    """A session over a graph.

    Args:
        graph: a file, beside which the weights that it names lie, or the bytes of one.
        threads: of the session; 0 for one a core.
        fused: put operators together, which graphs of others may gain by.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not fused:
        # Constants are folded, which widens stored weights; to fuse more gains our own graphs
        # nothing, and costs a third of the time to open.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # In the order in which the graph lists its operators: states that branch off are made at once,
    # where by default they wait for the end, and what they are made of is held until then.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # An arena grows by doubling and gives nothing back: 16 MB of mini's peak, and no time gained.
    options.enable_cpu_mem_arena = False
    # Threads that spin while they wait take the core from whoever else is there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
