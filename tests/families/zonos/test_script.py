"""Delay, end walk and limit of an utterance, alone and in whole published runs."""

import json
from pathlib import Path

import pytest
import torch
from tests.families.zonos.golden import golden_lm, read
from torch import Tensor

from mamtra_cli.families.script import Frame
from mamtra_cli.families.zonos.config import LMConfig
from mamtra_cli.families.zonos.delay import delayed
from mamtra_cli.families.zonos.lm import ZonosLM, guided
from mamtra_cli.families.zonos.script import DelayScript, Prompt, Reads
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.ops.shaping import draw, shaped

RUNS = ("greedy", "minp_prefix", "unified", "maxlen")
SMALL = LMConfig(codebooks=3, codes=8)
EOS, MASK = 8, 9
PROMPT = Prompt(ids=(2, 3))


def speak(script: DelayScript, ids: list[Frame]) -> DelayScript:
    for frame in ids:
        script = script.accept(frame)
    return script


def test_the_end_walks_through_the_codebooks() -> None:
    script = speak(
        DelayScript.begin(SMALL, PROMPT, 9), [(1, 7, 7), (2, 1, 7), (3, 2, 1), (EOS, 3, 2)]
    )
    assert script.frames == ((1, 1, 1), (2, 2, 2))
    assert not script.ended
    assert script.columns[-1] == (EOS, 3, 2)
    script = script.accept((5, 5, 3))
    assert script.columns[-1] == (MASK, EOS, 3)
    assert script.frames == ((1, 1, 1), (2, 2, 2), (3, 3, 3))
    assert (script.ended, script.capped) == (True, False)
    with pytest.raises(ValueError, match="ended"):
        script.accept((0, 0, 0))


def test_the_limit_ends_with_whole_frames_by_codebook() -> None:
    drawn = [(1, 7, 7), (2, 1, 7), (7, 2, 1), (EOS, 7, 2)]
    script = speak(DelayScript.begin(SMALL, PROMPT, 2), drawn)
    assert script.frames == ((1, 1, 1), (2, 2, 2))
    assert (script.ended, script.capped) == (True, True)
    assert script.columns[-2:] == ((MASK, 2, 1), (MASK, MASK, 2))
    scrambled = speak(DelayScript.begin(SMALL, PROMPT, 2, scrambled=True), drawn)
    assert scrambled.columns[3] == (MASK, 7, 2)


def test_given_frames_are_read_delayed_and_not_spoken_again() -> None:
    given = [(1, 2, 3), (4, 5, 6)]
    script = DelayScript.begin(SMALL, PROMPT, 5, given)
    columns = delayed(torch.tensor(given).T[None], MASK)[0].T.tolist()
    assert script.columns == tuple(tuple(column) for column in columns[:3])
    assert (script.history, script.barred) == ((), ())
    assert script.reads == Reads(prompt=PROMPT, columns=script.columns, room=8)
    script = script.accept((7, 0, 0))
    assert script.column == (7, 5, 3)
    assert script.reads is None
    assert script.history == script.columns
    assert script.barred == ((1, EOS), (2, EOS))
    assert speak(script, [(6, 7, 0), (5, 6, 7)]).frames == ((7, 7, 7),)


@torch.no_grad()
def run(
    lm: ZonosLM,
    tensors: dict[str, Tensor],
    script: DelayScript,
    sampling: Sampling,
    scale: float,
    compare: bool = True,
) -> tuple[DelayScript, list[Frame]]:
    """Speak with stored variates, two rows for guidance."""
    start = lm.embed(torch.tensor(script.columns)[None]).repeat(2, 1, 1)
    out = lm.stack(torch.cat((tensors["in.prefix_conditioning"], start), dim=1))
    raw: list[Frame] = []
    while True:
        said, unsaid = lm.logits(out.hidden[:, -1]).chunk(2)
        scores = guided(said, unsaid, scale)
        for book, id in script.barred:
            scores[:, book, id] = -torch.inf
        stored = {0: "mid.first_logits", 1: "mid.second_logits"}.get(len(raw))
        if stored and compare:
            torch.testing.assert_close(scores, tensors[stored], atol=1e-4, rtol=0)
        history = torch.tensor(script.history).T[None] if script.history else None
        probs = shaped(scores, sampling, history)
        if sampling.temperature == 0.0:
            ids = probs.argmax(-1)
        else:
            ids = draw(probs, tensors["in.exp_draws"][len(raw)])
        raw.append(tuple(ids[0].tolist()))
        script = script.accept(raw[-1])
        if script.ended:
            return script, raw
        column = lm.embed(torch.tensor(script.column)[None, None]).repeat(2, 1, 1)
        out = lm.stack(column, out.state)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("kind", ["transformer", "hybrid"])
def test_whole_runs_are_the_published_ones(goldens: Path, kind: str, name: str) -> None:
    told = json.loads((goldens / f"zonos/generate_{kind}.json").read_text("utf-8"))
    info = next(each for each in told if each["run"] == name)
    _, tensors = read(goldens, f"generate_{kind}_{name}")
    lm = golden_lm(goldens, kind)
    given = tensors.get("in.audio_prefix_codes", torch.zeros(1, 9, 0, dtype=torch.long))
    frames = [tuple(frame) for frame in given[0].T.tolist()]
    sampling = Sampling(repetition_penalty=3.0, **info["sampling_params"])
    exact = DelayScript.begin(lm.config, PROMPT, info["max_new_tokens"], frames, scrambled=True)
    script, raw = run(lm, tensors, exact, sampling, info["cfg_scale"])
    # The published loop draws once more than anyone needs.
    assert len(raw) == info["steps_sampled"] - 1
    assert torch.equal(torch.tensor(raw).T[None], tensors["out.raw_tokens"][..., :-1])
    written = torch.tensor(script.columns[len(frames) + 2 :]).T[None]
    assert torch.equal(written, tensors["out.frames_written"][..., : written.shape[-1]])
    said = torch.tensor([*frames, *script.frames]).T[None]
    assert torch.equal(said, tensors["out.codes"])
    assert script.capped is not info["ended_by_eos"]
    # Ours differs at the limit alone, where each codebook keeps its own ids; ends may walk there.
    ours = DelayScript.begin(lm.config, PROMPT, info["max_new_tokens"], frames)
    plain, _ = run(lm, tensors, ours, sampling, info["cfg_scale"])
    assert len(plain.frames) == len(script.frames)
    at_limit = len(script.columns) - 1 > len(frames) + info["max_new_tokens"]
    same = -9 if at_limit else len(plain.frames)
    assert plain.frames[:same] == script.frames[:same]
    assert at_limit or info["ended_by_eos"]
