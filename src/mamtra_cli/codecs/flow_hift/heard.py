"""The beginning of a prompt, heard by the flow once and shared by all that is spoken after it.

With chunk masks the frames of a prompt whose chunk is over, and whose look-ahead lies in the
prompt, depend on nothing that is spoken. What the solver's layers saw of them is kept, so that a
window of a stream costs its own frames, not the prompt again. How much is kept is bounded: where a
prompt is too long, its end is heard again with each window. The encoder hears all of it each time:
at the published size that is one part in a hundred.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.costs import heard_token_bytes, heard_tokens
from mamtra_cli.codecs.flow_hift.flow import Flow, fixed_noise
from mamtra_cli.codecs.flow_hift.past import Heard, Recording

if TYPE_CHECKING:
    from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt


@torch.no_grad()
def hear(
    flow: Flow,
    prompt_token: Tensor,
    prompt_mel: Tensor,
    speaker: Tensor,
    tokens: int,
    *,
    steps: int | None = None,
    guidance: float | None = None,
) -> Heard:
    """Let the flow hear the first `tokens` of a prompt.

    Args:
        flow: tokens to mel.
        prompt_token: (1, P), P >= tokens + lookahead.
        prompt_mel: (1, ratio*P, mel).
        speaker: (1, speaker_dim).
        tokens: whole chunks of encoder and estimator.
        steps, guidance: of the solver; `None` for the configured ones.
    """
    ahead, frames = flow.config.encoder.lookahead, tokens * flow.ratio
    mu, _ = flow.encode(prompt_token[:, : tokens + ahead], streaming=True, finalize=False)
    recordings = [Recording() for _ in range(flow.config.steps if steps is None else steps)]
    flow.decoder.solve(
        mu,
        flow.speaker(speaker),
        prompt_mel[:, :frames].transpose(1, 2),
        fixed_noise(0, frames, flow.config.mel_bins).to(mu.device),
        streaming=True,
        steps=steps,
        guidance=guidance,
        pasts=recordings,
    )
    return Heard(frames=frames, steps=tuple(tuple(past.kept) for past in recordings))


class HeardPrompts:
    """Prompts that were heard, the newest within a bound of memory; shared by all streams.

    Threads take turns: one that asks for what another is hearing waits, and shares it.

    Args:
        flow: that hears.
        grid: tokens of whole chunks.
        limit: bytes to keep at most; 0 keeps nothing.
    """

    def __init__(self, flow: Flow, grid: int, limit: int) -> None:
        self.flow, self.grid, self.limit = flow, grid, limit
        self._kept: OrderedDict[tuple[object, ...], Heard] = OrderedDict()
        self._turn = threading.Lock()

    def settled(self, heard: int, *, steps: int | None, guidance: float | None) -> int:
        """How many tokens of a prompt of `heard` are kept."""
        config = self.flow.config
        width = self.flow.decoder.estimator.final_proj.weight.element_size()
        each = heard_token_bytes(config, steps=steps, guidance=guidance, width=width)
        return heard_tokens(config, heard, grid=self.grid, limit=self.limit, each=each)

    def of(
        self, prompt: "VoicePrompt", *, steps: int | None = None, guidance: float | None = None
    ) -> Heard | None:
        """A prompt as it was heard, now or before; `None` where nothing of it can be kept."""
        tokens = self.settled(prompt.tokens.shape[1], steps=steps, guidance=guidance)
        if not tokens:
            return None
        key = (prompt.digest, tokens, steps, guidance)
        with self._turn:
            found = self._kept.pop(key, None)
            if found is None:
                shown = prompt.tokens, prompt.mel, prompt.speaker
                found = hear(self.flow, *shown, tokens, steps=steps, guidance=guidance)
            self._kept[key] = found
            while len(self._kept) > 1 and self._nbytes() > self.limit:
                self._kept.popitem(last=False)
        return found

    def _nbytes(self) -> int:
        """Bytes of all prompts that are kept."""
        return sum(kept.nbytes for kept in self._kept.values())


def digest_of(*tensors: Tensor) -> bytes:
    """A hash of what a prompt is."""
    total = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        total.update(tensor.cpu().contiguous().numpy().tobytes())
    return total.digest()
