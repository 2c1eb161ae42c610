"""Built-in sentences: seeded, distinct, speakable."""

from mamtra_cli.text.sentences import closed, open_vocabulary, reading, word_strings


def test_closed_sentences_depend_on_the_seed_only() -> None:
    assert closed(3, 20) == closed(3, 20)
    assert closed(3, 20) != closed(4, 20)
    assert closed(3, 40)[:20] == closed(3, 20)


def test_closed_sentences_are_distinct_and_end() -> None:
    made = closed(0, 300)
    assert len(set(made)) == 300
    assert all(text[0].isupper() and text[-1] in ".?" for text in made)
    assert len({word for text in made for word in reading(text)}) < 800


def test_open_sentences_use_the_lexicon() -> None:
    lexicon = ["zebra", "quartz", "vortex"]
    words = {word for text in open_vocabulary(1, 50, lexicon) for word in reading(text)}
    assert set(lexicon) <= words
    assert set(reading(" ".join(word_strings(1, 30, lexicon)))) == set(lexicon)


def test_reading_drops_signs_and_case() -> None:
    assert reading("At five o'clock, Anna's dog ran!") == [
        "at",
        "five",
        "o'clock",
        "anna's",
        "dog",
        "ran",
    ]
