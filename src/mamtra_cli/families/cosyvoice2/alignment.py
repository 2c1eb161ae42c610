"""How many speech tokens each text id takes, found after they were spoken.

Two sources. A language model that was taught to look at the symbol being spoken (`LMConfig.
alignment` names the layer and the query head; `mini` was, examples/mini/train_lm.py) is shown the
utterance once more, and the best monotone path through that head's scores is read off. Where that
layer is attention no more, or was never taught, an aligned model still knows the mean duration of
each symbol, stretched to the tokens that were spoken. Other models know neither.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from mamtra_cli.backbone.kinds import ATTENTION
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.rows import decode_row, expected_tokens, is_aligned
from mamtra_cli.families.cosyvoice2.sequences import to_sequence
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.rotary import apply_rope
from mamtra_cli.ops.alignment import monotone_counts


def can_look(config: LMConfig) -> bool:
    """Whether the layer that was taught to look at the text is still attention."""
    return bool(config.alignment) and config.hybrid.layer_kinds[config.alignment[0]] == ATTENTION


@torch.no_grad()
def looked_at(
    lm: SpeechLM,
    text: Sequence[int],
    tokens: Sequence[int],
    prompt_text: Sequence[int] = (),
    prompt_speech: Sequence[int] = (),
) -> Tensor:
    """Log-probabilities of looking at each text id while each token was made, float32 (F, N).

    Args:
        lm: a model with `can_look`.
        text, tokens: N ids and the F tokens spoken for them.
        prompt_text, prompt_speech: what went before, as in `decode_row`.
    """
    layer, head = lm.config.alignment
    row = decode_row(lm.config, text, prompt_text, prompt_speech)
    asked = len(row.ids) - 1  # the position that draws the first token
    row.speech(tokens[:-1], len(prompt_speech))
    sequence = to_sequence(lm.config, [row]).to(lm.llm_embedding.weight.device)
    out = lm.stack(
        lm.embed(sequence), positions=sequence.positions, capture=(layer,), keep_state=False
    )
    block = list(lm.stack.blocks())[layer]
    attention = cast(SelfAttention, block.core)
    entering = block.input_layernorm(out.captured[layer])
    width = attention.shape.head_dim
    group = head // (attention.shape.n_heads // attention.shape.n_kv_heads)
    first = 1 + len(prompt_text)
    q = attention.q_proj(entering[:, asked:]).unflatten(-1, (-1, width))[:, :, head : head + 1]
    k = attention.k_proj(entering[:, first : first + len(text)])
    k = k.unflatten(-1, (-1, width))[:, :, group : group + 1]
    if sequence.positions is None:
        places = torch.arange(entering.shape[1], device=entering.device)
    else:
        places = sequence.positions[0]
    kind = attention.shape.rope
    q = apply_rope(q.float(), _table(lm, places[asked:]), kind)
    k = apply_rope(k.float(), _table(lm, places[first : first + len(text)]), kind)
    scores = torch.einsum("bfhp,bnhp->fn", q, k) / width**0.5
    return F.log_softmax(scores, dim=-1)


def _table(lm: SpeechLM, places: Tensor) -> tuple[Tensor, Tensor]:
    table = lm.stack.rope(places, torch.float32)
    assert table is not None
    return table


def stretched(config: LMConfig, text: Sequence[int], tokens: int) -> list[int]:
    """The mean durations of text ids, stretched to so many tokens and rounded."""
    ends = list(accumulate(expected_tokens(config, text)))
    edges = [0, *(round(end * tokens / ends[-1]) for end in ends)]
    return [after - before for before, after in pairwise(edges)]


def token_counts(
    lm: SpeechLM,
    text: Sequence[int],
    tokens: Sequence[int],
    prompt_text: Sequence[int] = (),
    prompt_speech: Sequence[int] = (),
) -> tuple[int, ...] | None:
    """How many of the tokens each text id takes; `None` where the model cannot tell.

    Args: as of `looked_at`; at least one token.
    """
    if can_look(lm.config):
        scores = looked_at(lm, text, tokens, prompt_text, prompt_speech)
        return tuple(monotone_counts(scores.cpu().numpy()))
    if is_aligned(lm.config) and sum(expected_tokens(lm.config, text)) > 0:
        return tuple(stretched(lm.config, text, len(tokens)))
    return None
