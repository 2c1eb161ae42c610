"""The phone front end: lexicon, forms of words, homographs, pieces, damaged files."""

import lzma
import os
import shutil
import time
from pathlib import Path

import pytest

from mamtra_cli.errors import CheckpointError, TextError
from mamtra_cli.families import phones as module
from mamtra_cli.families.phones import Lexicon, PhoneFrontEnd

MINI = Path(module.__file__).parents[1] / "models" / "mini"


@pytest.fixture(scope="module")
def front() -> PhoneFrontEnd:
    return PhoneFrontEnd.load(MINI)


def of(front: PhoneFrontEnd, text: str, word: str) -> str:
    return " ".join(next(phones for token, phones in front.words(text) if token == word))


def test_sentence_is_framed_by_pauses(front: PhoneFrontEnd) -> None:
    assert " ".join(front.symbols("The cat, a dog.")) == "# dh ax k ae1 t , ax d ao1 g ."
    assert front.symbols("Is it?")[-1] == "?"
    assert front.symbols("Stop. Is it?").count("?") == 1


def test_ids_are_places_in_the_vocabulary(front: PhoneFrontEnd) -> None:
    text = "Ships, 3 of them?"
    assert [front.vocabulary[i] for i in front.ids(text)] == front.symbols(text)


def test_vocabulary_has_no_symbol_twice(front: PhoneFrontEnd) -> None:
    assert len(set(front.vocabulary)) == len(front.vocabulary)
    assert {"#", ",", ".", "?"} < set(front.vocabulary)


@pytest.mark.parametrize(
    ("text", "word", "phones"),
    [
        pytest.param("They record it.", "record", "r ax k ao1 r d", id="verb"),
        pytest.param("A record fell.", "record", "r eh1 k er d", id="noun"),
        pytest.param("Live music.", "live", "l ay1 v", id="live-first"),
        pytest.param("A live show.", "live", "l ay1 v", id="live-adjective"),
        pytest.param("I want to read.", "read", "r iy1 d", id="read-infinitive"),
        pytest.param("She had read it.", "read", "r eh1 d", id="read-participle"),
        pytest.param("It does.", "does", "d ah1 z", id="does"),
        pytest.param("A dog", "a", "ax", id="article"),
        pytest.param("John's dog", "john's", "jh aa1 n z", id="possessive-voiced"),
        pytest.param("the cat's", "cat's", "k ae1 t s", id="possessive-voiceless"),
        pytest.param("James's", "james's", "jh ey1 m z ax z", id="possessive-sibilant"),
        pytest.param("I don't", "don't", "d ow1 n t", id="contraction"),
        pytest.param("the cat'll", "cat'll", "k ae1 t ax l", id="contraction-built"),
        pytest.param("two o'clock", "o'clock", "ax k l aa1 k", id="apostrophe-in-one-word"),
        pytest.param("FBIs", "^i's", "ay1 z", id="letter-plural"),
        pytest.param("plan A", "^a", "ey1", id="letter-a"),
    ],
)
def test_words_are_pronounced(front: PhoneFrontEnd, text: str, word: str, phones: str) -> None:
    assert of(front, text, word) == phones


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        pytest.param("blorks", "s", id="plural"),
        pytest.param("emojified", "d", id="past"),
    ],
)
def test_forms_of_unknown_words_end_alike(front: PhoneFrontEnd, word: str, phones: str) -> None:
    assert of(front, word, word).endswith(phones)


def test_forms_of_known_words_keep_the_stem(front: PhoneFrontEnd) -> None:
    assert "blogged" not in front.lexicon
    assert of(front, "blogged", "blogged") == "b l aa1 g d"


@pytest.mark.parametrize(
    ("british", "american"),
    [("neighbour", "neighbor"), ("organised", "organized"), ("travelled", "traveled")],
)
def test_british_spelling_sounds_american(
    front: PhoneFrontEnd, british: str, american: str
) -> None:
    assert of(front, british, british) == of(front, american, american)


def test_word_without_vowels_is_spelled(front: PhoneFrontEnd) -> None:
    assert of(front, "bvkt", "bvkt").startswith("b iy1 v iy1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(" \n ", "empty", id="blank"),
        pytest.param("?!...", "nothing to speak", id="punctuation"),
        pytest.param("привет", "Cyrillic", id="script"),
    ],
)
def test_unspeakable_text_is_refused(front: PhoneFrontEnd, text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        front.symbols(text)
    with pytest.raises(TextError, match=message):
        front.split(text, 100)


LONG = (
    "Dr. Smith, who lived on Elm St. for 23 years, said that nothing (or almost nothing) would "
    "ever change; then the bridge fell down and everybody had to find another way to the city "
    "before the winter came. Nobody laughed! Was it 1999?"
)


@pytest.mark.parametrize("limit", [20, 40, 80, 150, 1000], ids=lambda n: f"limit{n}")
def test_split_keeps_every_word_and_the_limit(front: PhoneFrontEnd, limit: int) -> None:
    pieces = front.split(LONG, limit)
    assert all(len(front.symbols(piece)) <= limit for piece in pieces)
    whole = [word for word, _ in front.words(LONG) if word not in ",.?"]
    parts = [word for piece in pieces for word, _ in front.words(piece) if word not in ",.?"]
    assert parts == whole


@pytest.mark.parametrize("text", ["At 10 am two FBIs saw A and B", "I met Dr. A. Smith on Oak St."])
def test_split_reads_letters_and_titles_the_same_in_pieces(front: PhoneFrontEnd, text: str) -> None:
    whole = [s for s in front.symbols(text) if s not in "#,.?"]
    pieces = front.split(text, 16)
    assert [s for piece in pieces for s in front.symbols(piece) if s not in "#,.?"] == whole


def test_split_prefers_sentences_then_clauses(front: PhoneFrontEnd) -> None:
    assert front.split("It rains. It pours.", 150) == ["It rains.", "It pours."]
    assert front.split("When it rains, it always pours.", 20)[0] == "When it rains,"


def test_split_reads_a_long_number_in_pieces(front: PhoneFrontEnd) -> None:
    number = "1234567890" * 8
    pieces = front.split(f"Dial {number}.", 60)
    heard = [word for piece in pieces for word, _ in front.words(piece) if word not in ",.?"]
    assert heard == [word for word, _ in front.words(f"Dial {number}.") if word not in ",.?"]


def test_split_reads_a_word_too_long_in_parts(front: PhoneFrontEnd) -> None:
    for word in ("supercali" * 30, "GATTACA" * 24):
        pieces = front.split(f"say {word} twice", 60)
        assert all(len(front.symbols(piece)) <= 60 for piece in pieces)
        heard = "".join("".join(pieces).lower().split())
        assert heard == f"say{word}twice".lower()


def test_split_cuts_at_the_borders_of_phrases(front: PhoneFrontEnd) -> None:
    text = (
        "our guide counted the garden walls and told us that nobody had ever climbed over them "
        "because the old gardener who lived behind the hill kept a large dog with a loud voice"
    )
    starts = [piece.split()[0] for piece in front.split(text, 60)[1:]]
    assert set(starts) <= {"and", "that", "because", "who", "behind", "with", "over"}


def test_lexicon_is_small_and_opens_fast(front: PhoneFrontEnd) -> None:
    assert (MINI / "lexicon.txt.xz").stat().st_size < 1_000_000
    assert len(front.lexicon) > 100_000
    start = time.process_time()
    Lexicon.load(MINI / "lexicon.txt.xz")
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("name", ["lexicon.txt.xz", "symbols.json"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    for file in ("lexicon.txt.xz", "symbols.json"):
        if file != name:
            shutil.copy(MINI / file, tmp_path)
    with pytest.raises(CheckpointError, match=name):
        PhoneFrontEnd.load(tmp_path)


def test_damaged_lexicon_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt.xz"
    path.write_bytes(lzma.compress(b"a\tax\n")[:-8])
    with pytest.raises(CheckpointError, match="damaged"):
        Lexicon.load(path)


def test_long_sentence_is_not_cut_after_an_abbreviation(front: PhoneFrontEnd) -> None:
    text = "Dr. Smith paid 3.50 dollars on May 5th, 2024, at 10:30 a.m., for the NASA report."
    pieces = front.split(text, 60)
    assert len(pieces) > 1
    assert pieces[0].startswith("Dr. Smith")
    assert " ".join(pieces).split() == text.split()


def test_spans_name_the_word_of_every_id(front: PhoneFrontEnd) -> None:
    piece = "The cat, Dr. Li's CD?"
    spans = front.spans(piece)
    assert [word for word, _ in spans if word][:4] == ["the", "cat", "doctor", "li's"]
    assert sum(size for _, size in spans) == len(front.ids(piece))


@pytest.mark.skipif(os.name == "nt", reason="pipes with names are POSIX's")
def test_a_pipe_in_the_place_of_a_lexicon_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lexicon.txt.xz")
    with pytest.raises(CheckpointError, match="no regular file"):
        Lexicon.load(tmp_path / "lexicon.txt.xz")
