"""Text-in streaming against the published loop, and what it does when text is odd."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.cosyvoice2.golden import golden_lm, read
from torch import Tensor

from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.rows import SPECIAL, SPEECH, TEXT
from mamtra_cli.families.cosyvoice2.sequences import lay_out
from mamtra_cli.families.cosyvoice2.token_model import FusedTokens
from mamtra_cli.families.cosyvoice2.turns import TextStream

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


Choose = Callable[[Tensor, Sequence[int]], int]


def stream_tokens(
    lm: SpeechLM, stream: TextStream, arriving: Iterable[Sequence[int]], choose: Choose
) -> Iterator[int]:
    """Speak as text arrives, with a chooser of its own where `Streams` draws."""
    model, rows, held = FusedTokens(lm), None, None

    def run(stream: TextStream) -> Generator[int, None, TextStream]:
        nonlocal rows, held
        while not (stream.waiting or stream.ended):
            if stream.reads is None and rows is not None:
                scores, rows = model.step(torch.tensor([stream.column]), rows)
            else:
                if rows is not None:
                    rows, held = model.park(rows, 0)
                assert stream.reads is not None
                scores, rows = model.read([stream.reads], None, [0], [held])
            frame = stream.due
            if frame is None:
                scores[0, 0, [id for _, id in stream.barred]] = -torch.inf
                frame = (choose(scores[0, 0], stream.out),)
            stream = stream.accept(frame)
            if frame[0] < lm.config.speech_vocab:
                yield frame[0]
        return stream

    with torch.no_grad():
        for ids in arriving:
            stream = yield from run(stream.hear(ids))
        yield from run(stream.close())


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
    while not (stream.waiting or stream.ended):
        read += [(item.table, item.id, item.position) for item in stream.queue]
        stream = stream.accept(stream.due or (next(speech),))
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
        more, stream = drive(stream.hear(text[start : start + piece]), later)
        read += more
    more, stream = drive(stream.close(), later)
    read += more
    assert stream.ended
    assert [token for (token,) in stream.frames] == speech
    positions = batch.positions
    expected = zip(batch.tables[0].tolist(), batch.ids[0].tolist(), strict=True)
    assert [item[:2] for item in read] == list(expected)
    if positions is not None:
        assert [item[2] for item in read] == positions[0].tolist()


@pytest.mark.parametrize("config", [CONFIG, ALIGNED], ids=["sequential", "aligned"])
def test_prompt_speech_beyond_its_text_is_kept(config: LMConfig) -> None:
    stream = TextStream.begin(config, [1, 2], list(range(20))).hear([3])
    assert stream.waiting
    tables = [read.table for read in stream.close().queue]
    assert tables == [SPECIAL, TEXT, TEXT, TEXT, SPECIAL, *[SPEECH] * 20]
    compat = TextStream.begin(config, [1, 2], list(range(20)), compat=True).hear([3])
    tables = [read.table for read in compat.close().queue]
    assert tables == [SPECIAL, TEXT, TEXT, TEXT, SPECIAL]


def test_text_may_arrive_in_the_middle_of_a_turn() -> None:
    stream = TextStream.begin(CONFIG).hear(range(5))
    assert stream.reads is not None
    assert len(stream.reads.row.ids) == 6
    stream = stream.hear([7, 8]).close().accept((4,))
    assert (stream.reads, stream.column) == (None, (4,))
    stream = stream.accept((CONFIG.fill_id,))
    assert stream.reads is not None
    assert stream.reads.row.tables == [TEXT, TEXT, SPECIAL]


def test_stream_refuses_what_cannot_be() -> None:
    stream = TextStream.begin(CONFIG)
    with pytest.raises(ValueError, match="cannot be accepted"):
        stream.accept((1,))
    reading = stream.hear(range(5))
    for token in (CONFIG.eos_id, CONFIG.eos_id + 1, CONFIG.head_size, -1):
        with pytest.raises(ValueError, match="cannot be accepted"):
            reading.accept((token,))
    with pytest.raises(ValueError, match="after its end"):
        stream.close().hear([1])


def test_stream_that_no_text_can_take_is_cut() -> None:
    stream = TextStream.begin(CONFIG).hear(range(5)).close()
    count = 0
    while not stream.ended:
        stream = stream.accept(stream.due or (3,))
        count += 1
    assert stream.capped
    assert len(stream.frames) == CONFIG.max_ratio * 5 + 1


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
