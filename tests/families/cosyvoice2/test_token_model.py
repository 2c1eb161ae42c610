"""The language model in the token loop: steps equal the sequence, alone and in company."""

import pytest
import torch
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.families.base import Speaker
from mamtra_cli.families.cosyvoice2.scripts import Reads
from mamtra_cli.families.cosyvoice2.sequences import concatenate, decode_sequence


@pytest.mark.parametrize("prompt", [0, 6], ids=["speaker", "clip"])
def test_script_knows_its_limits(prompt: int) -> None:
    speaker = tiny_engine().speaker
    script = speaker.begin([1] * 10, tiny_voice(prompt))
    assert (script.least, script.most) == (10, 40)
    assert script.expected == 20.0
    assert len(script.heard) == prompt
    assert speaker.begin([1] * 10, most=10).most == 10


def reads(speaker: Speaker, texts: list[list[int]]) -> list[Reads]:
    return [speaker.begin(text).reads for text in texts]


@pytest.mark.parametrize("plain", [False, True], ids=["fused", "plain"])
@pytest.mark.parametrize("kinds", ["TT", "TM", "MM", "ST"])
@pytest.mark.parametrize("positions", ["aligned", "sequential"])
def test_steps_equal_the_sequence(kinds: str, positions: str, plain: bool) -> None:
    engine = tiny_engine(kinds=kinds, positions=positions, mixer={"window": 6, "sinks": 1})
    speaker = engine.speaker
    texts, said = [[3, 4, 5], [6] * 9], ([7, 8, 9, 1], [2, 4, 6, 8])
    model = speaker.plain_tokens() if plain else speaker.tokens
    assert model is not None
    with torch.inference_mode():
        scores, rows = model.read(reads(speaker, texts), None, range(2), [None, None])
        seen = [scores]
        for tokens in zip(*said, strict=True):
            scores, rows = model.step(torch.tensor(tokens)[:, None], rows)
            seen.append(scores)
        for count, scores in enumerate(seen):
            whole = [decode_sequence(engine.config.lm, text, (), ()) for text in texts]
            expected, held = engine.part("lm").extend(concatenate(whole))
            for step in range(count):
                expected, held = engine.part("lm").step(
                    torch.tensor([row[step] for row in said]), held
                )
            torch.testing.assert_close(scores[:, 0], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("plain", [False, True], ids=["fused", "plain"])
def test_rows_that_stay_go_on_alone(plain: bool) -> None:
    speaker = tiny_engine(kinds="TM").speaker
    model = speaker.plain_tokens() if plain else speaker.tokens
    assert model is not None
    texts = [[index + 1] * 5 for index in range(3)]
    with torch.inference_mode():
        _, rows = model.read(reads(speaker, texts), None, range(3), [None] * 3)
        rows = model.leave(rows, [0])
        both, rows = model.step(torch.tensor([[0], [4], [5]]), rows)
        rows, moves = model.compact(model.leave(rows, [1]))
        assert moves == {2: 0}
        one, _ = model.step(torch.tensor([[7]]), rows)
        _, alone = model.read(reads(speaker, texts[2:]), None, [0], [None])
        for token, got in ((5, both[2]), (7, one[0])):
            want, alone = model.step(torch.tensor([[token]]), alone)
            torch.testing.assert_close(got, want[0], atol=2e-5, rtol=1e-4)


def test_rows_under_training_start_together() -> None:
    speaker = tiny_engine().speaker
    model = speaker.plain_tokens()
    _, rows = model.read(reads(speaker, [[1, 2]]), None, [0], [None])
    with pytest.raises(ValueError, match="start together"):
        model.read(reads(speaker, [[3]]), rows, [1], [None])
