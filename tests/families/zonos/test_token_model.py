"""Rows of different texts, voices and manners: together as alone, plain as fused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.families.zonos.golden import golden_lm

from mamtra_cli.families.script import Frame
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.manner import manner_of
from mamtra_cli.families.zonos.script import DelayScript, Prompt
from mamtra_cli.families.zonos.symbols import phone_ids
from mamtra_cli.families.zonos.token_model import PlainTokens, ZonosTokens, biased
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.ops.shaping import draw, shaped

KINDS = ["transformer", "hybrid"]
SAMPLING = Sampling(min_p=0.1, repetition_penalty=3.0)
RATE = 86.1


def scripts(lm: ZonosLM) -> list[DelayScript]:
    """Four utterances that share nothing: one without guidance, one that goes on from frames."""
    told = [
        ("həlˈoʊ", [], 1),
        ("ɪt wˈʊd bˈiː nˈaɪs.", ["language=de", "emotion=none", "guidance=3"], 0),
        ("wˈɜːld", ["guidance=1", "speaking_rate=20"], 2),
        ("twˈɛnti θɹˈiː", ["fmax=none", "pitch_std=60", "end_bias=2"], 3),
    ]
    found = []
    for number, (phones, words, seed) in enumerate(told):
        voice = torch.randn(128, generator=torch.manual_seed(seed)).tolist() if seed else None
        prompt = Prompt(
            ids=tuple(phone_ids(phones)),
            voice=None if voice is None else tuple(voice),
            manner=manner_of(lm.config, words),
        )
        given = [tuple(range(number, number + 9))] * (2 if number == 3 else 0)
        found.append(DelayScript.begin(lm.config, prompt, 6 + 3 * number, given))
    return found


def chosen(script: DelayScript, scores: torch.Tensor, generator: torch.Generator) -> Frame:
    scores = scores.clone()
    for book, id in script.barred:
        scores[book, id] = -torch.inf
    history = torch.tensor(script.history).T if script.history else None
    variates = torch.empty(scores.shape).exponential_(generator=generator)
    return tuple(draw(shaped(scores, SAMPLING, history), variates).tolist())


@torch.no_grad()
def speak(model: ZonosTokens | PlainTokens, said: Sequence[DelayScript]) -> list[DelayScript]:
    """Speak together, the last of them joining late; rows leave as they end."""
    scripts = list(said)
    generators = [torch.Generator().manual_seed(number) for number in range(len(scripts))]
    rows = None
    slots: dict[int, int] = {}
    late = [len(scripts) - 1] if len(scripts) > 1 else []
    joining = [place for place in range(len(scripts)) if place not in late]
    while slots or joining:
        scores: dict[int, torch.Tensor] = {}
        if slots:
            columns = torch.zeros(max(slots.values()) + 1, model.codebooks).long()
            for place, slot in slots.items():
                columns[slot] = torch.tensor(scripts[place].column)
            found, rows = model.step(columns, rows)  # type: ignore[arg-type]
            scores = {place: found[slot] for place, slot in slots.items()}
        if joining:
            free = [slot for slot in range(9) if slot not in slots.values()][: len(joining)]
            reads = [scripts[place].reads for place in joining]
            found, rows = model.read(reads, rows, free, [None] * len(free))  # type: ignore[arg-type]
            scores |= dict(zip(joining, found, strict=True))
            slots |= dict(zip(joining, free, strict=True))
            joining = []
        ended = []
        for place, row in scores.items():
            scripts[place] = scripts[place].accept(chosen(scripts[place], row, generators[place]))
            if scripts[place].ended:
                ended.append(place)
        if ended:
            rows = model.leave(rows, [slots.pop(place) for place in ended])  # type: ignore[arg-type]
            joining, late = late, []
        if slots and max(slots.values()) + 1 >= 2 * len(slots) and not joining:
            rows, moves = model.compact(rows)  # type: ignore[arg-type]
            slots = {place: moves.get(slot, slot) for place, slot in slots.items()}
    return scripts


@pytest.mark.parametrize("kind", KINDS)
def test_four_together_say_what_each_says_alone(goldens: Path, kind: str) -> None:
    model = ZonosTokens(golden_lm(goldens, kind), RATE)
    said = scripts(model.lm)
    together = speak(model, said)
    # Each draws from a generator of its own.
    alone = [speak_one(model, script, seed) for seed, script in enumerate(said)]
    assert [script.columns for script in together] == [script.columns for script in alone]
    assert len({len(script.frames) for script in together}) > 1


@torch.no_grad()
def speak_one(model: ZonosTokens | PlainTokens, script: DelayScript, seed: int) -> DelayScript:
    generator = torch.Generator().manual_seed(seed)
    scores, rows = model.read([script.reads], None, [0], [None])  # type: ignore[list-item]
    while True:
        script = script.accept(chosen(script, scores[0], generator))
        if script.ended:
            return script
        scores, rows = model.step(torch.tensor([script.column]), rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_modules_as_they_are_say_the_same(goldens: Path, kind: str) -> None:
    plain, fused = PlainTokens(golden_lm(goldens, kind), RATE), golden_lm(goldens, kind)
    said = scripts(plain.lm)
    expected = speak(ZonosTokens(fused, RATE), said)
    assert [each.columns for each in speak(plain, said)] == [each.columns for each in expected]


def test_a_bias_of_the_end_moves_codebook_0_alone(goldens: Path) -> None:
    config = golden_lm(goldens, "transformer").config
    scores = torch.randn(config.codebooks, config.width)
    later = biased(scores.clone(), manner_of(config, ["end_bias=-2"]), config.eos_id)
    moved = (later - scores).nonzero().tolist()
    assert moved == [[0, config.eos_id]]
    assert later[0, config.eos_id] < scores[0, config.eos_id]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_an_absorbed_first_frame_moves_recurrent_states_alone(
    small_models: Path, kind: str
) -> None:
    model = ZonosTokens(golden_lm(small_models, kind), RATE)
    prompt = Prompt(ids=tuple(phone_ids("həlˈoʊ")))
    told = Prompt(ids=prompt.ids, manner=manner_of(model.lm.config, ["absorbed_first=on"]))
    steps = []
    for each in (prompt, told):
        script = DelayScript.begin(model.lm.config, each, 8)
        first, rows = model.read([script.reads], None, [0], [None])  # type: ignore[list-item]
        column = torch.tensor([script.accept((1,) * 9).column])
        second, rows = model.step(column, rows)  # type: ignore[arg-type]
        third, _ = model.step(column, rows)
        steps.append((first[..., :-1], second[..., :-1], third[..., :-1]))
    (first, second, third), (other_first, other_second, other_third) = steps
    assert torch.equal(first, other_first)
    if kind == "transformer":
        torch.testing.assert_close(second, other_second, atol=1e-5, rtol=0)
        torch.testing.assert_close(third, other_third, atol=1e-5, rtol=0)
    else:
        scale = second.std()
        assert (second - other_second).std() > 0.1 * scale
        assert (third - other_third).std() > 0.03 * scale
