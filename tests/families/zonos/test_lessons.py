"""Sequences that teach are those that are spoken; packed as padded; what a student shares."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.families.zonos.golden import golden_lm

from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.families.lessons import IGNORE, Example
from mamtra_cli.families.zonos.lessons import UNSAID, ZonosLessons
from mamtra_cli.families.zonos.manner import Settings
from mamtra_cli.families.zonos.script import DelayScript, Prompt
from mamtra_cli.families.zonos.symbols import phone_ids
from mamtra_cli.families.zonos.token_model import prefixes

TEXTS = ("həlˈoʊ", "ɪt wˈʊd bˈiː nˈaɪs", "wˈɜːld")


@pytest.fixture(scope="module")
def lessons(goldens: Path) -> ZonosLessons:
    return ZonosLessons(golden_lm(goldens, "transformer"))


def example(number: int, frames: int, id: str = "") -> Example:
    drawn = torch.randint(1024, (frames * 9,), generator=torch.manual_seed(number))
    return Example(
        id=id or f"u{number}",
        text_ids=tuple(phone_ids(TEXTS[number])),
        tokens=tuple(drawn.tolist()),
        codebooks=9,
    )


def spoken(lessons: ZonosLessons, said: Example) -> DelayScript:
    """The script that speaks exactly these frames."""
    config = lessons.lm.config
    script = DelayScript.begin(config, Prompt(ids=said.text_ids), 1000)
    frames = [said.tokens[at : at + 9] for at in range(0, len(said.tokens), 9)]
    for place in range(1, len(frames) + 9):
        drawn = [
            frames[place - book - 1][book] if 0 <= place - book - 1 < len(frames) else 7
            for book in range(9)
        ]
        if place == len(frames) + 1:
            drawn[0] = config.eos_id
        script = script.accept(tuple(drawn))
    assert script.ended
    assert script.frames == tuple(tuple(frame) for frame in frames)
    return script


def test_lessons_read_and_predict_what_speaking_does(lessons: ZonosLessons) -> None:
    said = example(0, 12)
    layout = lessons.lay_out([said])
    script = spoken(lessons, said)
    read = layout.inputs.columns[0]
    assert [tuple(column) for column in read.tolist()] == list(script.columns[:-1])
    prefix = layout.targets.shape[1] - len(read)
    assert bool((layout.targets[0, :prefix] == IGNORE).all())
    for column, wanted in zip(script.columns[1:], layout.targets[0, prefix:].tolist(), strict=True):
        taught = [(id, want) for id, want in zip(column, wanted, strict=True) if want != IGNORE]
        assert all(id == want for id, want in taught)
    assert int((layout.targets != IGNORE).sum()) == lessons.count(said) == 12 * 9 + 1
    assert int((layout.targets == lessons.lm.config.eos_id).sum()) == 1
    assert lessons.size(said) == layout.targets.shape[1]


def test_conditions_are_those_of_speaking_and_sometimes_unsaid(lessons: ZonosLessons) -> None:
    ids = [f"id{number}" for number in range(400)]
    layout = lessons.lay_out([example(2, 1, id) for id in ids])
    share = layout.inputs.said.count(False) / len(ids)
    assert share == pytest.approx(1 / UNSAID, abs=0.05)
    x = lessons.embed(layout.inputs)
    voice = tuple(torch.randn(128, generator=torch.manual_seed(5)).tolist())
    [told] = lessons.embed(lessons.lay_out([replace(example(2, 1, "id0"), voice=voice)]).inputs)
    expected = prefixes(lessons.lm, Prompt(ids=tuple(phone_ids(TEXTS[2])), voice=voice))[0]
    torch.testing.assert_close(told[: len(expected)], expected, atol=1e-6, rtol=0)
    both = prefixes(lessons.lm, Prompt(ids=tuple(phone_ids(TEXTS[2])), manner=Settings()))
    for said, row in zip(layout.inputs.said[:40], x, strict=False):
        expected = both[0 if said else 1]
        torch.testing.assert_close(row[: len(expected)], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_packed_utterances_score_as_padded_ones(lessons: ZonosLessons) -> None:
    said = [example(0, 9), example(1, 4), example(2, 14)]
    found = []
    for packed in (False, True):
        layout = lessons.lay_out(said, packed=packed)
        assert len(layout.targets) == (1 if packed else 3)
        out = lessons.stack(lessons.embed(layout.inputs), keep_state=False, **layout.reading)
        scores = lessons.heads(out.hidden)
        found.append([scores[row, part] for row, part in layout.rows])
    for padded, packed_row in zip(*found, strict=True):
        torch.testing.assert_close(padded, packed_row, atol=1e-5, rtol=0)


def test_a_student_shares_everything_but_its_layers(lessons: ZonosLessons) -> None:
    kinds = "M" + "T" * (lessons.stack.config.n_layers - 1)
    config = replace(lessons.stack.config, kinds=kinds)
    student = lessons.around(HybridStack(config))
    assert student.lm.config.kinds == kinds
    assert student.lm.heads is lessons.lm.heads
    assert student.tables[0] is lessons.tables[0]
    assert set(dict(student.lm.named_parameters())) >= {"heads.0.weight", "embeddings.8.weight"}


def test_every_table_learns(goldens: Path) -> None:
    lessons = ZonosLessons(golden_lm(goldens, "hybrid"))
    layout = lessons.lay_out([example(0, 5, "id0"), example(1, 6, "id3")])
    out = lessons.stack(lessons.embed(layout.inputs), keep_state=False, **layout.reading)
    here = layout.targets != IGNORE
    scores = lessons.heads(out.hidden)[here]
    torch.nn.functional.cross_entropy(scores, layout.targets[here]).backward()
    assert all(value.grad is not None for value in lessons.lm.embeddings.parameters())
    assert all(value.grad is not None for value in lessons.lm.heads.parameters())
    with pytest.raises(ValueError, match="in turns"):
        lessons.lay_out([example(0, 5)], turns=[True])
