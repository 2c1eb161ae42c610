"""Text-in streaming against the published loop, and what it does when text is odd."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.cosyvoice2.golden import golden_lm, read
from torch import Tensor

from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.sequences import SPECIAL, SPEECH, TEXT, lay_out
from mamtra_cli.families.cosyvoice2.turns import TextStream, stream_tokens

CONFIG = LMConfig(
    d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=24, vocab_size=40,
    speech_vocab=30,
)  # fmt: skip
ALIGNED = LMConfig(
    **{
        **{name: getattr(CONFIG, name) for name in ("d_model", "n_layers", "n_heads", "d_ff")},
        "n_kv_heads": 1,
        "head_dim": 8,
        "vocab_size": 40,
        "speech_vocab": 30,
        "positions": "aligned",
        "durations": (2.0, 3.0) * 20,
    }
)


def test_stream_matches_published_loop(goldens: Path) -> None:
    info, tensors = read(goldens, "llm_decode_bistream")
    weights, named = read(goldens, info["weights_from"].removesuffix(".safetensors"))
    lm = golden_lm(weights, named)
    codes = lm.config.speech_vocab
    for case, facts in info["cases"].items():
        given = {
            name: tensors[f"in/{case}/{name}"][0].tolist()
            for name in ("prompt_text", "prompt_speech", "text")
        }
        left = [facts["n_out"]]

        def choose(scores: Tensor, out: Sequence[int], left: list[int] = left) -> int:
            left[0] -= 1
            return codes if left[0] < 0 else int(scores[:codes].argmax())

        stream = TextStream.begin(
            lm.config, given["prompt_text"], given["prompt_speech"], compat=True
        )
        arriving = [[index] for index in given["text"]]
        ids = list(stream_tokens(lm, stream, arriving, choose))
        assert ids == tensors[f"out/{case}/ids"].tolist(), case


def drive(stream: TextStream, speech: Iterator[int]) -> tuple[list[Any], TextStream]:
    """Take and accept until text must arrive; returns what was read and every target."""
    read: list[Any] = []
    while stream.runnable:
        reads, stream = stream.take()
        read += [(item.table, item.id, item.position) for item in reads]
        token = stream.due if stream.due is not None else next(speech)
        stream = stream.accept(token)
    return read, stream


@pytest.mark.parametrize("config", [CONFIG, ALIGNED], ids=["sequential", "aligned"])
@pytest.mark.parametrize("prompt", [0, 2], ids=["no-prompt", "prompt"])
@pytest.mark.parametrize("piece", [1, 4, 23], ids=["single", "pieces", "whole"])
def test_stream_reads_the_training_layout(config: LMConfig, prompt: int, piece: int) -> None:
    text = list(range(23))
    speech = [index % 30 for index in range(75)]
    batch = lay_out(config, [text], [speech], [True])
    stream = TextStream.begin(config, text[:prompt])
    later = iter([*speech, config.eos_id])
    read: list[Any] = []
    for start in range(prompt, len(text), piece):
        more, stream = drive(stream.push(text[start : start + piece]), later)
        read += more
    more, stream = drive(stream.close(), later)
    read += more
    assert stream.finished
    positions = batch.positions
    expected = zip(batch.tables[0].tolist(), batch.ids[0].tolist(), strict=True)
    assert [item[:2] for item in read] == list(expected)
    if positions is not None:
        assert [item[2] for item in read] == positions[0].tolist()


@pytest.mark.parametrize("config", [CONFIG, ALIGNED], ids=["sequential", "aligned"])
def test_prompt_speech_beyond_its_text_is_kept(config: LMConfig) -> None:
    stream = TextStream.begin(config, [1, 2], list(range(20))).push([3])
    assert not stream.runnable
    reads, stream = stream.close().take()
    tables = [read.table for read in reads]
    assert tables == [SPECIAL, TEXT, TEXT, TEXT, SPECIAL, *[SPEECH] * 20]
    compat = TextStream.begin(config, [1, 2], list(range(20)), compat=True).push([3])
    reads, _ = compat.close().take()
    assert [read.table for read in reads] == [SPECIAL, TEXT, TEXT, TEXT, SPECIAL]


def test_text_may_arrive_in_the_middle_of_a_turn() -> None:
    stream = TextStream.begin(CONFIG).push(range(5))
    reads, stream = stream.take()
    assert len(reads) == 6
    stream = stream.push([7, 8]).close().accept(4)
    reads, stream = stream.take()
    assert [read.id for read in reads] == [4]
    reads, _ = stream.accept(CONFIG.fill_id).take()
    assert [read.table for read in reads] == [TEXT, TEXT, SPECIAL]


def test_stream_refuses_what_cannot_be() -> None:
    stream = TextStream.begin(CONFIG)
    with pytest.raises(ValueError, match="waits for text"):
        stream.take()
    with pytest.raises(ValueError, match="cannot be accepted"):
        stream.accept(1)
    _, reading = stream.push(range(5)).take()
    for token in (CONFIG.eos_id, CONFIG.eos_id + 1, CONFIG.head_size, -1):
        with pytest.raises(ValueError, match="cannot be accepted"):
            reading.accept(token)
    with pytest.raises(ValueError, match="after its end"):
        stream.close().push([1])


def test_stream_masks_the_end_until_the_text_has_ended() -> None:
    torch.manual_seed(0)
    lm = SpeechLM(CONFIG)
    seen: list[Tensor] = []

    def choose(scores: Tensor, out: Sequence[int]) -> int:
        seen.append(scores)
        return CONFIG.eos_id if scores[CONFIG.eos_id].isfinite() else 3

    ids = list(stream_tokens(lm, TextStream.begin(CONFIG), [range(5), [6]], choose))
    assert ids == [3] * 15
    assert [bool(scores[CONFIG.eos_id].isfinite()) for scores in seen] == [False] * 15 + [True]
