"""The ONNX Runtime token model beside the fused one: the same tokens, alone and in company."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from mamtra_cli.backbone.decoding import onnx_cache
from mamtra_cli.backbone.decoding.onnx_cache import onnx_stack
from mamtra_cli.device import choose, choose_backend
from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import UsageError
from mamtra_cli.families.cosyvoice2.onnx_tokens import OnnxTokens, onnx_row
from mamtra_cli.families.cosyvoice2.sequences import first, to_sequence
from mamtra_cli.ops.sampling import Sampling

TEXTS = ["Hello there.", "It is five in the evening, and I still talk.", "Yes."]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("mini", threads=1)


def spoken(engine: Engine, sampling: Sampling, rows: int = 3) -> list[tuple[int, ...]]:
    speaker, voice = engine.speaker, engine.voice("anna")
    utterances = [
        Utterance(script=speaker.begin(speaker.encode(text), voice), seed=seed)
        for seed, text in enumerate(TEXTS)
    ]
    found = dict(decode(speaker.tokens, utterances, sampling, rows=rows))
    return [found[index].tokens for index in range(len(TEXTS))]


def test_mini_says_the_same_tokens(engine: Engine) -> None:
    onnx = Engine.load("mini", threads=1, backend="onnx")
    assert isinstance(onnx.speaker.tokens, OnnxTokens)
    for sampling in (engine.sampling, Sampling(greedy=True)):
        want = spoken(engine, sampling, rows=1)
        assert spoken(onnx, sampling, rows=1) == want
        assert spoken(onnx, sampling) == want


def test_int8_stays_with_the_tokens_it_was_taught(engine: Engine) -> None:
    """Over taught tokens of mini: top-1 in 99 % of positions, KL below 0.001."""
    onnx = Engine.load("mini", threads=1, quant="int8")
    exact, near = engine.speaker.tokens, onnx.speaker.tokens
    tokens = spoken(engine, engine.sampling, rows=1)
    agreed, divergence, count = 0, 0.0, 0
    for text, said in zip(TEXTS, tokens, strict=True):
        script = engine.speaker.begin(engine.speaker.encode(text), engine.voice("anna"))
        rows = [None, None]
        for index in range(len(said) + 1):
            scores = []
            for number, model in enumerate((exact, near)):
                if index == 0:
                    found, rows[number] = model.read([script.reads], None, [0], [None])
                else:
                    column = torch.tensor([[said[index - 1]]])
                    found, rows[number] = model.step(column, rows[number])
                scores.append(torch.log_softmax(found[0, 0].float(), dim=-1))
            agreed += int(scores[0].argmax() == scores[1].argmax())
            divergence += float((scores[0].exp() * (scores[0] - scores[1])).sum())
            count += 1
    assert count > 60
    assert agreed / count >= 0.99
    assert divergence / count < 1e-3


def test_a_kept_state_goes_on_in_a_slot(engine: Engine) -> None:
    onnx = Engine.load("mini", threads=1, backend="onnx")
    script = engine.speaker.begin(engine.speaker.encode(TEXTS[0]), engine.voice("anna"))
    reads = script.reads
    assert reads is not None
    whole, _ = onnx.speaker.tokens.read([reads], None, [0], [None])
    lm = engine.speaker.lm
    _, state = lm.extend(first(to_sequence(lm.config, [reads.row]), 4))
    assert onnx_row(state) is not None
    kept, _ = onnx.speaker.tokens.read([replace(reads, after=(4, state))], None, [0], [None])
    torch.testing.assert_close(kept, whole, rtol=1e-4, atol=1e-4)


def test_large_graphs_are_kept_and_read_back(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAMTRA_CACHE", str(tmp_path))
    monkeypatch.setattr(onnx_cache, "SMALL", 0)
    lm = engine.speaker.lm
    onnx_stack(lm.stack, lm.llm_decoder, "int8", key="ab" * 32, threads=1)
    (path,) = (tmp_path / "graphs").iterdir()
    changed = path.stat().st_mtime_ns
    onnx_stack(lm.stack, lm.llm_decoder, "int8", key="ab" * 32, threads=1)
    assert path.stat().st_mtime_ns == changed


def test_backends_that_do_not_fit_are_told() -> None:
    cpu = choose("cpu")
    assert choose_backend(cpu).backend == "torch"
    assert choose_backend(cpu, quant="int8").backend == "onnx"
    for backend, quant, words in (
        ("torch", "int8", "steps no int8"),
        ("onx", "none", "unknown backend"),
        ("auto", "int5", "unknown quant"),
    ):
        with pytest.raises(UsageError, match=words):
            choose_backend(cpu, backend, quant)
    with pytest.raises(UsageError, match="on the CPU"):
        choose_backend(replace(cpu, device="cuda:0"), "onnx")
