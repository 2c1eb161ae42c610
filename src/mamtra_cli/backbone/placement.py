"""Where the attention layers of a ratio go, and the published layouts; numbers only.

The presets are the four layouts on the MamTra demo page (arXiv 2603.12342) for its 24-layer
teacher; two of them (1:5 and 1:11) follow no rule.
"""

from math import gcd

from mamtra_cli.errors import PlanError

STRATEGIES = ("block-begin", "block-end", "front", "middle", "back", "sandwich", "spread")

ALIASES = {"blockbeg": "block-begin", "interleaved": "block-begin", "blockend": "block-end"}

PRESETS: dict[str, tuple[int, tuple[int, ...]]] = {
    "mamtra-1:1": (24, tuple(range(0, 24, 2))),
    "mamtra-1:3": (24, (0, 4, 8, 12, 16, 20)),
    "mamtra-1:5": (24, (0, 8, 11, 16)),
    "mamtra-1:11": (24, (0, 16)),
}


def place(n_layers: int, count: int, strategy: str, unit: tuple[int, int]) -> tuple[int, ...]:
    """Place `count` attention layers among `n_layers`.

    Args:
        n_layers: depth.
        count: attention layers, 0..n_layers.
        strategy: one of `STRATEGIES`.
        unit: reduced ratio, which block-begin and block-end repeat where it divides the depth.
    """
    n, t, (a, b) = n_layers, count, unit
    whole = n % (a + b) == 0 and n // (a + b) * a == t
    match strategy:
        case "block-begin":
            if whole:
                return tuple(i for i in range(n) if i % (a + b) < a)
            return tuple(i * n // t for i in range(t))
        case "block-end":
            if whole:
                return tuple(i for i in range(n) if i % (a + b) >= b)
            return tuple((i + 1) * n // t - 1 for i in range(t))
        case "front":
            return tuple(range(t))
        case "back":
            return tuple(range(n - t, n))
        case "middle":
            return tuple(range((n - t) // 2, (n - t) // 2 + t))
        case "sandwich":
            return (*range((t + 1) // 2), *range(n - t // 2, n))
        case "spread":
            if t < 2:
                return (0,) * t
            return tuple((2 * i * (n - 1) + t - 1) // (2 * (t - 1)) for i in range(t))
    raise ValueError(f"strategy must be one of {STRATEGIES}, got {strategy!r}")


def attention_count(a: int, b: int, n_layers: int, *, rounded: bool = False) -> int:
    """How many of `n_layers` a ratio keeps.

    Args:
        a, b: attention layers to others.
        n_layers: depth.
        rounded: where the ratio does not fit, round half up and keep 1 to n_layers - 1.
    """
    if a + b == 0:
        raise PlanError("ratio 0:0 names no layer", fitting(n_layers))
    a, b = a // gcd(a, b), b // gcd(a, b)
    count, remainder = divmod(n_layers * a, a + b)
    if not remainder:
        return count
    if not rounded:
        raise PlanError(
            f"ratio {a}:{b} does not fit {n_layers} layers",
            f"{fitting(n_layers)}, or take the nearest count with `--round`",
        )
    if n_layers < 2:
        raise PlanError(f"ratio {a}:{b} needs at least two layers", fitting(n_layers))
    return min(max((2 * n_layers * a + a + b) // (2 * (a + b)), 1), n_layers - 1)


def fitting(n_layers: int) -> str:
    """Name the ratios that fit a depth, as a hint."""
    ratios = [f"1:{size - 1}" for size in range(2, n_layers + 1) if n_layers % size == 0]
    some = ", ".join(ratios[:-1]) + (" and " if len(ratios) > 1 else "") + "".join(ratios[-1:])
    step = max(n_layers // 4, 1)
    listed = ",".join(map(str, range(0, n_layers, step)))
    fit = f"{some} fit {n_layers} layers; " if len(ratios) > 1 else ""
    fit = fit or (f"{some} fits {n_layers} layers; " if ratios else "")
    return f"{fit}or list them, `--plan T={listed}`"
