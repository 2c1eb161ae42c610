"""The letter-to-sound network: shapes, storage, and what every pronunciation must have."""

from pathlib import Path

import pytest
import torch

from mamtra_cli.errors import CheckpointError
from mamtra_cli.text import letter_to_sound
from mamtra_cli.text.letter_network import LetterNetwork, encode
from mamtra_cli.text.letter_to_sound import LetterConfig, LetterToSound

MINI = Path(letter_to_sound.__file__).parents[1] / "models" / "mini"
OUTPUTS = ("", "b", "k", "ae", "ae1", "ih1", "k s", "y uw1")


@pytest.fixture
def tiny() -> LetterNetwork:
    torch.manual_seed(0)
    return LetterNetwork(LetterConfig(outputs=OUTPUTS, width=16, blocks=2)).eval()


@pytest.fixture(scope="module")
def shipped() -> LetterToSound:
    return LetterToSound.load(MINI / "letter_to_sound.safetensors")


def test_padding_leaves_shorter_words_as_they_are(tiny: LetterNetwork) -> None:
    alone = tiny(encode(["cab"]))
    beside = tiny(encode(["cab", "abracadabra"]))[:1, :3]
    torch.testing.assert_close(beside, alone)


def test_saved_network_gives_the_same_scores_in_numpy(tiny: LetterNetwork, tmp_path: Path) -> None:
    tiny.half().float().save(tmp_path / "n.safetensors")
    read = LetterToSound.load(tmp_path / "n.safetensors")
    assert read.config == tiny.config
    for word in ("cab", "a", "abracadabra's"):
        scores = torch.from_numpy(read.scores(word))
        torch.testing.assert_close(scores, tiny(encode([word]))[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("word", ["", "Cab", "naïve", "a b", "b4"], ids=repr)
def test_encode_refuses_other_characters(word: str) -> None:
    with pytest.raises(ValueError, match="a-z"):
        encode([word])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none"):
        LetterToSound.load(tmp_path / "none.safetensors")


def test_damaged_file_is_refused(tiny: LetterNetwork, tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    tiny.save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="cannot be used"):
        LetterToSound.load(path)


def test_shipped_network_is_small(shipped: LetterToSound) -> None:
    assert sum(weight.size for weight in shipped.weights.values()) <= 250_000


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        pytest.param("blick", "b l ih1 k", id="short-vowel"),
        pytest.param("splote", "s p l ow1 t", id="silent-e"),
        pytest.param("thrishing", "th r ih1 sh ih ng", id="suffix"),
        pytest.param("vox", "v aa1 k s", id="two-phones-from-one-letter"),
    ],
)
def test_shipped_network_reads_made_up_words(
    shipped: LetterToSound, word: str, phones: str
) -> None:
    assert " ".join(shipped.pronounce(word)) == phones


@pytest.mark.parametrize("word", ["strengthy", "aeiou", "zzyzx", "kubernetes", "q", "a" * 60])
def test_shipped_network_stresses_a_vowel_if_there_is_one(
    shipped: LetterToSound, word: str
) -> None:
    phones = shipped.pronounce(word)
    if any(phone[0] in "aeiou" for phone in phones):
        assert any(phone.endswith("1") for phone in phones)
