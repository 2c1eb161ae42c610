"""The n-gram model is a distribution; the recogniser hears what a synthesizer says."""

import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mamtra_cli.engine.judging.recognise import WordRecogniser, arpa_model, dictionary_lines
from mamtra_cli.errors import TextError

TEXTS = ["the cat saw a bird", "the dog saw the cat", "a bird was in the garden"]


def _read(arpa: str) -> dict[tuple[str, ...], tuple[float, float]]:
    table = {}
    for line in arpa.splitlines():
        parts = line.split()
        if parts and parts[0].lstrip("-").replace(".", "").isdigit():
            tail = parts[-1].lstrip("-").replace(".", "")
            back_off = 10 ** float(parts.pop()) if tail.isdigit() else 1.0
            table[tuple(parts[1:])] = (10 ** float(parts[0]), back_off)
    return table


def _probability(table: dict[tuple[str, ...], tuple[float, float]], gram: tuple[str, ...]) -> float:
    if gram in table:
        return table[gram][0]
    return table.get(gram[:-1], (0.0, 1.0))[1] * _probability(table, gram[1:])


@pytest.mark.parametrize("order", [1, 2, 3], ids=lambda n: f"order{n}")
def test_arpa_probabilities_sum_to_one_in_every_context(order: int) -> None:
    table = _read(arpa_model([text.split() for text in TEXTS], order))
    words = [gram[0] for gram in table if len(gram) == 1 and gram != ("<s>",)]
    for length in range(order):
        for context in product(["<s>", *words], repeat=length):
            total = sum(_probability(table, (*context, word)) for word in words)
            assert total == pytest.approx(1.0, abs=2e-3), context


def test_arpa_counts_its_lines() -> None:
    arpa = arpa_model([text.split() for text in TEXTS], 2)
    table = _read(arpa)
    for n in (1, 2):
        assert f"ngram {n}={sum(len(gram) == n for gram in table)}" in arpa


def test_arpa_prefers_what_it_has_read() -> None:
    table = _read(arpa_model([text.split() for text in TEXTS], 3))
    assert _probability(table, ("the", "cat")) > _probability(table, ("the", "bird"))


def test_arpa_refuses_order_zero() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        arpa_model([["a"]], 0)


def test_dictionary_takes_given_pronunciations() -> None:
    pytest.importorskip("pocketsphinx")
    lines = dictionary_lines(["cat", "zorble"], {"zorble": ["z", "ao1", "r", "b", "ax", "l"]})
    assert lines.splitlines() == ["cat K AE T", "zorble Z AO R B AH L"]


def test_dictionary_names_words_without_pronunciation() -> None:
    pytest.importorskip("pocketsphinx")
    with pytest.raises(TextError, match="zorble"):
        dictionary_lines(["cat", "zorble"], {})


def test_silence_is_heard_as_nothing() -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = WordRecogniser.from_texts(TEXTS)
    assert recogniser.transcribe(np.zeros(16_000, dtype=np.float32), 16_000) == ""


def test_transcribe_refuses_stereo() -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = WordRecogniser.from_texts(TEXTS)
    with pytest.raises(ValueError, match="mono"):
        recogniser.transcribe(np.zeros((2, 16_000), dtype=np.float32), 16_000)


@pytest.mark.skipif(shutil.which("flite") is None, reason="needs the synthesizer flite")
@pytest.mark.parametrize("order", [0, 3], ids=["loop", "trigram"])
def test_synthesized_sentences_are_heard_in_any_order(tmp_path: Path, order: int) -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = WordRecogniser.from_texts(TEXTS, order, extra_words=["window"])
    waves = {}
    for text in TEXTS:
        path = tmp_path / "said.wav"
        subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", str(path)], check=True)
        waves[text], rate = soundfile.read(path, dtype="float32")
    heard = {text: recogniser.transcribe(wave, rate) for text, wave in waves.items()}
    again = {text: recogniser.transcribe(waves[text], rate) for text in reversed(TEXTS)}
    assert heard == again
    if order:
        assert heard == {text: text for text in TEXTS}
