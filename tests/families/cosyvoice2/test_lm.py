"""The language model against the published one: loss, gradients, decoding; and its own states."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.families.cosyvoice2.golden import Golden, golden_config, golden_lm, read
from torch import Tensor

from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.engine.training.losses import cross_entropy
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.rows import length_limits
from mamtra_cli.families.cosyvoice2.sequences import (
    IGNORE,
    LMBatch,
    LMSequence,
    concatenate,
    decode_sequence,
    lay_out,
)
from mamtra_cli.ops.draws import Variates
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.ops.tensor_draws import sample_one


@pytest.fixture(scope="module")
def forward_golden(goldens: Path) -> Golden:
    return read(goldens, "llm_forward")


@pytest.fixture(scope="module")
def decode_golden(goldens: Path) -> Golden:
    return read(goldens, "llm_decode")


def tiny_config(**changes: Any) -> LMConfig:
    sizes: dict[str, Any] = dict(
        d_model=32, n_layers=4, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=48, vocab_size=20,
        speech_vocab=24,
    )  # fmt: skip
    return LMConfig(**{**sizes, **changes})


ALIGNED = {"positions": "aligned", "durations": tuple(1.0 + i % 3 / 2 for i in range(20))}
KINDS = {"attention": {}, "hybrid": {"kinds": "TMTM"}, "mamba": {"kinds": "MMMM"}}
POSITIONS: dict[str, dict[str, Any]] = {"sequential": {}, "aligned": ALIGNED}


def unpadded(tensors: dict[str, Tensor], name: str) -> list[list[int]]:
    """Ids of each row of a golden's padded tensor."""
    lengths = tensors[f"{name}_len"].tolist()
    return [row[:n] for row, n in zip(tensors[name].tolist(), lengths, strict=True)]


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The published loss (M,): divergence from targets whose other V - 1 ids share `smoothing`."""
    scores, other = torch.log_softmax(logits, -1), smoothing / (logits.shape[-1] - 1)
    wanted = torch.full_like(scores, other).scatter(-1, targets[:, None], 1 - smoothing)
    return torch.nn.functional.kl_div(scores, wanted, reduction="none").sum(-1)


def taught(lm: SpeechLM, batch: LMBatch) -> tuple[Tensor, Tensor]:
    """Logits and targets of the positions that have one."""
    hidden = lm.stack(lm.embed(batch), positions=batch.positions, keep_state=False).hidden
    wanted = batch.targets != IGNORE
    return lm.llm_decoder(hidden[wanted]), batch.targets[wanted]


def test_forward_matches_published_model(forward_golden: Golden) -> None:
    info, tensors = forward_golden
    lm = golden_lm(info, tensors)
    for case in info["cases"]:
        text, speech = (unpadded(tensors, f"in/{case}/{kind}_token") for kind in ("text", "speech"))
        batch = lay_out(lm.config, text, speech, tensors[f"in/{case}/bistream"].tolist())
        expected = {k.split("/", 2)[2]: v for k, v in tensors.items() if f"out/{case}/" in k}
        nothing = batch.targets == IGNORE
        told = batch.targets.masked_fill(nothing, info["ignore_id"])
        assert torch.equal(told, expected["lm_target"])
        assert torch.equal(batch.lengths, expected["lm_input_len"].long())
        assert torch.equal(lm.embed(batch), expected["lm_input"])
        atol = info["tolerance"]["logits_atol"]
        real = batch.tables != 0
        hidden = lm.stack(lm.embed(batch), positions=batch.positions, keep_state=False).hidden
        logits = lm.llm_decoder(hidden)
        torch.testing.assert_close(hidden[real], expected["hidden"][real], atol=atol, rtol=0)
        torch.testing.assert_close(logits[real], expected["logits"][real], atol=atol, rtol=0)
        wanted = batch.targets != IGNORE
        logits, targets = logits[wanted], batch.targets[wanted]
        smooth = smoothed_loss(logits, targets, 0.1)
        losses = {
            "loss": cross_entropy(logits, targets).mean(),
            "loss_lsm0.1": smooth.mean(),
            "loss_lsm0.1_not_length_normalized": smooth.sum() / len(batch.ids),
        }
        atol = info["tolerance"]["loss_atol"]
        for name in losses.keys() & expected.keys():
            # A sum over the batch is as much larger than the mean as its terms are many.
            scale = max(1.0, float(expected[name]))
            torch.testing.assert_close(losses[name], expected[name], atol=atol * scale, rtol=0)
        if "acc" in expected:
            assert (logits.argmax(-1) == targets).float().mean() == expected["acc"]
        lm.zero_grad()
        losses["loss"].backward()
        gradients = dict(lm.named_parameters())
        for name, value in expected.items():
            if name.startswith("grad/"):
                gradient = gradients[name.removeprefix("grad/")].grad
                atol = info["tolerance"]["grad_atol"]
                torch.testing.assert_close(gradient, value, atol=atol, rtol=0)


RAS = Sampling(top_p=0.8, top_k=25, ras_window=10, ras_threshold=0.1)


def decode_cases(info: dict[str, Any], tensors: dict[str, Tensor], kind: str) -> list[str]:
    cases = [case for case in info["cases"] if f"out/{case}/{kind}_ids" in tensors]
    assert cases
    return cases


def prompt(lm: SpeechLM, tensors: dict[str, Tensor], case: str) -> LMSequence:
    names = ("text", "prompt_text", "prompt_speech")
    return decode_sequence(lm.config, *(tensors[f"in/{case}/{name}"][0].tolist() for name in names))


def follow(lm: SpeechLM, sequence: LMSequence, ids: list[int], fused: bool) -> Iterator[Tensor]:
    """Scores before each id and after the last, by the modules or by the fused step."""
    scores, state = lm.extend(sequence)
    yield scores[0]
    decoder = FusedStack(lm.stack)
    decode = decoder.start(state, sequence.ids.shape[1] + 4)
    for token in torch.tensor(ids)[:, None]:
        if fused:
            hidden, decode = decoder.step(lm.speech_embedding(token), decode)
            scores = torch.log_softmax(lm.llm_decoder(hidden), -1)
        else:
            scores, state = lm.step(token, state)
        yield scores[0].detach()


class TorchDraws(Variates):
    """What `torch.multinomial` draws with: torch's own generator."""

    def __init__(self) -> None:
        super().__init__(0)

    def exponential(self, count: int) -> NDArray[np.float32]:
        return torch.empty(count).exponential_().numpy()


@pytest.mark.parametrize("fused", [False, True], ids=["modules", "fused"])
@pytest.mark.parametrize("kind", ["greedy", "ras"])
def test_decoding_matches_published_model(decode_golden: Golden, kind: str, fused: bool) -> None:
    info, tensors = decode_golden
    assert tuple(info["stop_token_ids"]) == golden_config(info).stop_ids
    atol = info["tolerance"]["logp_atol"]
    for case in decode_cases(info, tensors, kind):
        facts = info["cases"][case]
        lm = golden_lm(info, tensors)
        if f"in/{case}/bias_add" in tensors:
            lm.llm_decoder.bias.data += tensors[f"in/{case}/bias_add"]
        ids = tensors[f"out/{case}/{kind}_ids"].tolist()
        expected = tensors[f"out/{case}/{kind}_logp"]
        chosen: list[int] = []
        torch.manual_seed(facts.get("ras_seed", 0))
        for row, scores in enumerate(follow(lm, prompt(lm, tensors, case), ids, fused)):
            if row == len(expected):
                break
            if row < facts["min_len"]:
                scores[lm.config.eos_id] = -torch.inf
            torch.testing.assert_close(scores, expected[row], atol=atol, rtol=0)
            if kind == "greedy":
                chosen.append(int(scores.argmax()))
            elif torch.__version__.startswith(info["torch"]):
                # Draws are the same on the same build of torch only; scores are on any.
                chosen.append(sample_one(scores, RAS, ids[:row], TorchDraws()))
        stopped = [facts["stop_id"]] if facts["greedy_stopped"] and kind == "greedy" else []
        assert chosen == ids + stopped or not chosen
        assert len(expected) <= facts["max_len"]


def test_length_limits_follow_the_text_alone() -> None:
    assert length_limits(LMConfig(), 9) == (18, 180)
    assert length_limits(LMConfig(min_ratio=1.5, max_ratio=2.5), 3) == (4, 7)


def random_lm(config: LMConfig) -> SpeechLM:
    torch.manual_seed(0)
    lm = SpeechLM(config).eval()
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() > 1 else None
    return lm


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_step_continues_teacher_forcing(kinds: dict[str, Any], positions: dict[str, Any]) -> None:
    lm = random_lm(tiny_config(**kinds, **positions))
    text, speech = [3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8, 9, 7]
    batch = lay_out(lm.config, [text], [speech])
    whole = torch.log_softmax(taught(lm, batch)[0], -1)
    scores, state = lm.extend(decode_sequence(lm.config, text))
    state = state.reserve(64)
    torch.testing.assert_close(scores[0], whole[0], atol=1e-5, rtol=0)
    for index, token in enumerate(speech):
        scores, state = lm.step(torch.tensor([token]), state)
        torch.testing.assert_close(scores[0], whole[index + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_padded_rows_decode_as_they_do_alone(
    kinds: dict[str, Any], positions: dict[str, Any]
) -> None:
    lm = random_lm(tiny_config(**kinds, **positions))
    rows = [([3, 1, 4], [1], [2, 7]), ([1, 5, 9, 2, 6, 5], [], []), ([8], [4, 4], [5, 1, 3])]
    alone = [decode_sequence(lm.config, *row) for row in rows]
    scores, state = lm.extend(concatenate(alone))
    tokens = torch.tensor([4, 11, 23])
    after, _ = lm.step(tokens, state)
    for row, sequence in enumerate(alone):
        expected, own = lm.extend(sequence)
        torch.testing.assert_close(scores[row], expected[0], atol=1e-5, rtol=0)
        expected, _ = lm.step(tokens[row : row + 1], own)
        torch.testing.assert_close(after[row], expected[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
def test_every_parameter_learns_from_a_mixed_batch(positions: dict[str, Any]) -> None:
    lm = random_lm(tiny_config(kinds="TMTM", **positions))
    batch = lay_out(lm.config, [[1, 2, 3, 4, 5, 6], [7, 8]], [list(range(20)), [1, 2]], [True] * 2)
    cross_entropy(*taught(lm, batch)).mean().backward()
    missing = [name for name, p in lm.named_parameters() if p.grad is None]
    assert not missing
