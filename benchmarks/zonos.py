"""Seconds and memory of Zonos-v0.1 at full size on this machine: load, read, and some steps.

    python examples/fullsize/make_zonos.py work/zonos
    python benchmarks/zonos.py work/zonos                       # 20 steps, guided, in bfloat16
    python benchmarks/zonos.py student --unguided --steps 40    # a converted folder

Weights are read tensor by tensor, as a command does; memory is the peak resident size that the
kernel counts (`ru_maxrss`), less that of the imports in `over_imports`. Seconds are wall clock;
`processor_seconds_a_step` is what the process itself used. Prints one JSON object.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch

from mamtra_cli.families import registry
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.manner import manner_of
from mamtra_cli.families.zonos.script import DelayScript, Prompt
from mamtra_cli.families.zonos.symbols import phone_ids
from mamtra_cli.families.zonos.token_model import ZonosTokens
from mamtra_cli.ops.shaping import draw, shaped

PHONES = "ɪt wˈʊd bˈiː nˈaɪs tuː hˈæv tˈaɪm fɔːɹ tˈɛstɪŋ, ˌɪndˈiːd."
UNIT = 1 if sys.platform == "darwin" else 1024


def peak() -> int:
    """Bytes of the highest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


@torch.inference_mode()
def measure(folder: Path, steps: int, dtype: torch.dtype, guidance: float) -> dict[str, object]:
    """Load, read a prompt, and speak some frames."""
    imports = peak()
    start = time.perf_counter()
    model = registry.open_model(folder, configs_only=True)
    lm = model.load("lm", dtype)
    assert isinstance(lm, ZonosLM)
    loaded = time.perf_counter()
    tokens = ZonosTokens(lm, model.facts.frame_rate)
    arranged, at_load = time.perf_counter(), peak()
    prompt = Prompt(
        ids=tuple(phone_ids(PHONES)), manner=manner_of(lm.config, [f"guidance={guidance}"])
    )
    script = DelayScript.begin(lm.config, prompt, 2580)
    options = model.family.sampling(model.config)
    generator = torch.manual_seed(0)
    assert script.reads is not None
    scores, rows = tokens.read([script.reads], None, [0], [None])
    read, used = time.perf_counter(), time.process_time()
    for _ in range(steps):
        scores[0, :, lm.config.eos_id] = -torch.inf  # noise ends where the draw wants
        history = torch.tensor(script.history).T[None] if script.history else None
        variates = torch.empty(scores.shape).exponential_(generator=generator)
        drawn = draw(shaped(scores, options, history), variates)[0]
        script = script.accept(tuple(drawn.tolist()))
        assert rows is not None
        scores, rows = tokens.step(torch.tensor([script.column]), rows)
    done, used = time.perf_counter(), time.process_time() - used
    assert bool(scores[..., :-1].isfinite().all())
    return {
        "folder": folder.name,
        "kinds": lm.config.hybrid.layer_kinds,
        "parameters": sum(value.numel() for value in lm.state_dict().values()),
        "dtype": str(dtype).removeprefix("torch."),
        "guided": guidance != 1.0,
        "steps": steps,
        "load_seconds": round(loaded - start, 2),
        "arrange_seconds": round(arranged - loaded, 2),
        "read_seconds": round(read - arranged, 2),
        "seconds_a_step": round((done - read) / steps, 3),
        "processor_seconds_a_step": round(used / steps, 3),
        "peak_loading": round((at_load - imports) / 1e9, 2),
        "peak": round(peak() / 1e9, 2),
        "over_imports": round((peak() - imports) / 1e9, 2),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--unguided", action="store_true")
    given = parser.parse_args()
    found = measure(
        given.folder, given.steps, getattr(torch, given.dtype), 1.0 if given.unguided else 2.0
    )
    print(json.dumps(found, indent=2))
