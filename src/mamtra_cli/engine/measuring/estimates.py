"""What formulas say of a language model at a length and a batch. Numbers by name."""

from mamtra_cli.backbone import costs
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.kinds import letter_of
from mamtra_cli.families.base import Facts

Numbers = dict[str, float]


def estimates(
    facts: Facts, length: int, batch: int, precision: costs.Precision, bandwidth: float = 0.0
) -> dict[str, Numbers]:
    """Size, cache, one step and break-even lengths.

    Args:
        facts: of the model.
        length: positions in the context.
        batch: sequences at once.
        precision: bytes per element.
        bandwidth: bytes a second that a step may read; 0 leaves its least time out.
    """
    stack, head = facts.stack, facts.head
    if stack is None:
        return {}
    total = costs.parameters(stack, head).total
    moved = costs.decode_bytes(stack, length, batch=batch, head=head, precision=precision)
    decode = {
        "tokens": float(length),
        "flops_per_token": float(costs.decode_flops(stack, length, head)),
        "bytes_per_step": float(moved),
    }
    if bandwidth:
        decode["least_ms"] = 1e3 * moved / bandwidth
    return {
        "weights": {"parameters": float(total), "bytes": float(total * precision.weights)},
        "cache": {
            "tokens": float(length),
            "bytes": float(batch * costs.cache_bytes(stack, length, precision)),
            "bytes_per_token": float(costs.kv_bytes_per_token(stack, precision.cache)),
            "constant_bytes": float(costs.state_bytes(stack, precision)),
        },
        "decode": decode,
        "break_even": break_even(stack, precision, facts.frame_rate),
    }


def break_even(stack: HybridConfig, precision: costs.Precision, rate: float) -> Numbers:
    """From which lengths an exchanged layer costs less than attention.

    Of the layers that a hybrid has; of a model without any, of those that `convert` would make.

    Args:
        stack: the sizes.
        precision: bytes per element.
        rate: frames a second.
    """
    letters = sorted(set(stack.layer_kinds))
    stateful = [kind for kind in letters if costs.keeps_state(stack, kind)]
    found = costs.break_even(
        stack, precision, stateful[0] if stateful else letter_of(stack.mixer.mixer)
    )
    return {
        "state_tokens": float(found.state),
        "memory_tokens": float(found.memory),
        "memory_seconds": found.memory / rate,
        "traffic_tokens": float(found.traffic),
        "flops_tokens": float(found.flops),
    }
