"""Speed and memory of the road from frames to sound; see `families.measures.Measures`.

Ids are random where only their number matters.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.families.measures import Parts, Peaks, Request
from mamtra_cli.families.script import Frame
from mamtra_cli.families.zonos import costs
from mamtra_cli.families.zonos.config import ZonosConfig
from mamtra_cli.families.zonos.script import DelayScript, Prompt, Reads
from mamtra_cli.families.zonos.sound import codec_model, codec_of
from mamtra_cli.families.zonos.symbols import BEGIN, END, ROWS, TABLE_ROWS
from mamtra_cli.live_bytes import live_peak, tensor_bytes

PUSHED = 86  # frames pushed at once


class PipelineMeasures:
    """See `families.measures.Measures`."""

    reference = "Zonos-v0.1-transformer"
    config = ZonosConfig()
    observed: Mapping[str, int] = {}
    needs = staticmethod(costs.needs)
    savings = staticmethod(costs.savings)

    def prompt(self, config: ZonosConfig, request: Request, seed: int, *, room: int) -> Reads:
        """Random phones and frames of a clip."""
        draw = torch.Generator().manual_seed(seed)
        least = min(ROWS.values())
        phones = torch.randint(least, TABLE_ROWS, (max(request.text - 2, 1),), generator=draw)
        script = DelayScript.begin(
            config.lm,
            Prompt(ids=(BEGIN, *phones.tolist(), END)),
            max(room, 1),
            random_frames(config, request.prompt, seed),
        )
        assert script.reads is not None
        return script.reads

    def stages(
        self, config: ZonosConfig, part: Parts, device: torch.device, frames: int
    ) -> Mapping[str, Callable[[], object]]:
        """The codec alone."""
        codec, said = codec_of(part("codec")), random_frames(config, frames)
        return {"codec": lambda: codec.whole(said, (), SoundOptions())}

    def sound_peak(self, config: ZonosConfig, part: Parts, request: Request) -> int:
        """The codec in windows, each handed out."""
        module = part("codec")
        codec, device, peak = codec_of(module), next(module.parameters()).device, 0
        state: Any = codec.start((), SoundOptions())
        said = random_frames(config, request.tokens)
        for start in range(0, len(said), PUSHED):
            more, held = said[start : start + PUSHED], state

            def push(more: list[Frame] = more, held: Any = held) -> Any:
                return codec.push(held, more)[0]

            highest, state = live_peak(push, device, carried=tensor_bytes(held))
            peak = max(peak, highest)
        last = state
        final, _ = live_peak(lambda: codec.finish(last), device, carried=tensor_bytes(last))
        return max(peak, final)

    def official(
        self, config: ZonosConfig, part: Parts, device: torch.device, request: Request
    ) -> Peaks:
        """By formulas for the language model, and the codec in one pass over all frames."""
        told = costs.official(config, request)
        codec = codec_model(part("codec"))
        said = random_frames(config, request.prompt + request.tokens)
        ids = torch.tensor(said, device=device).T[None]
        with torch.no_grad():
            sound, _ = live_peak(lambda: codec.decode(ids), device, carried=0)
        return Peaks(weights=told.weights, language_model=told.language_model, sound=sound)


def random_frames(config: ZonosConfig, count: int, seed: int = 0) -> list[Frame]:
    """So many random frames."""
    shape = (count, config.lm.codebooks)
    drawn = torch.randint(config.lm.codes, shape, generator=torch.Generator().manual_seed(seed))
    return [tuple(frame) for frame in drawn.tolist()]
