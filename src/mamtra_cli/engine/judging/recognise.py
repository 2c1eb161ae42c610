"""Hearing: what a recogniser is, and ours: pocketsphinx with a language model of our own.

Any object with `about` and `transcribe` listens; `whisper.py` and `command_asr.py` are two more.
Ours knows the words and the word order of the texts it was made from and nothing else,
so it measures whether speech is intelligible among the sentences it could be. Pronunciations are
those of pocketsphinx's dictionary; words it lacks are given by the caller. The n-gram model is
interpolated absolute discounting (Ney, Essen and Kneser, "On structuring probabilistic
dependences in stochastic language modelling", 1994), written as ARPA back-off. Scores live in
`metrics.py`.
"""

import hashlib
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.engine import seeds
from mamtra_cli.engine.judging.metrics import plain_words
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import DataError, MissingDependencyError, TextError, UsageError
from mamtra_cli.families.base import Pronouncing
from mamtra_cli.text.sentences import closed

GRAMMAR = 8000  # built-in sentences that teach the recogniser the word order
ACOUSTIC = "en-us/en-us"
PACKAGED = ("whisper-base", "whisper-tiny.en")
_DISCOUNT = 0.7
# The dictionary's phones (CMU, without stress) by the names of our front end's.
_PHONES = {
    **{name: name.upper() for name in (
        "aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh "
        "uw v w y z zh"
    ).split()},
    "ax": "AH",
}  # fmt: skip


class Recogniser(Protocol):
    """Anything that hears words in a wave."""

    @property
    def about(self) -> Mapping[str, str]:
        """Its `name`, and the versions and hashes that another person needs to repeat it."""
        ...

    def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
        """Give the words of a mono wave (T,) between -1 and 1."""
        ...


@runtime_checkable
class BatchRecogniser(Protocol):
    """A recogniser that would rather hear many waves at once."""

    def transcribe_many(self, waves: Sequence[NDArray[np.float32]], rate: int) -> list[str]:
        """Give the words of each wave."""
        ...


def transcribe_all(
    recogniser: Recogniser, waves: Sequence[NDArray[np.float32]], rate: int
) -> list[str]:
    """The words of each wave (T,); nothing is heard in an empty one."""
    heard = [place for place, wave in enumerate(waves) if len(wave)]
    some = [waves[place] for place in heard]
    if isinstance(recogniser, BatchRecogniser):
        texts = recogniser.transcribe_many(some, rate) if some else []
    else:
        texts = [recogniser.transcribe(wave, rate) for wave in some]
    if len(texts) != len(some):
        raise DataError(f"the recogniser gave {len(texts)} texts for {len(some)} waves")
    found = [""] * len(waves)
    for place, text in zip(heard, texts, strict=True):
        found[place] = text
    return found


def open_recogniser(
    spec: str, texts: Sequence[str], engine: Engine, language: str = "en"
) -> Recogniser:
    """The recogniser that a name means.

    Args:
        spec: `pocketsphinx`, `whisper-base[:FOLDER]`, `whisper-tiny.en[:FOLDER]`, `whisper:NAME`
            (a folder or org/name[@revision]) or `command:CMD`.
        texts: what will be said; pocketsphinx takes its vocabulary from them.
        engine: whose front end knows how words sound that no dictionary has, and whose device
            Whisper runs on.
        language: en or zh.
    """
    kind, _, name = spec.partition(":")
    if kind == "whisper" and name:
        from mamtra_cli.engine.judging.whisper import Whisper

        return Whisper(name, language=language, device=engine.device)
    if kind in PACKAGED:
        from mamtra_cli.engine.judging.faster_whisper import FasterWhisper

        return FasterWhisper(kind, name, language=language)
    if kind == "command" and name.strip():
        from mamtra_cli.engine.judging.command_asr import CommandRecogniser

        return CommandRecogniser(name)
    if spec != "pocketsphinx":
        raise UsageError(
            f"unknown recogniser `{spec}`",
            f"pocketsphinx, {', '.join(PACKAGED)}, whisper:NAME or command:CMD",
        )
    if language != "en":
        raise UsageError(
            f"pocketsphinx knows no `{language}` here",
            "name another recogniser: `--asr whisper:openai/whisper-large-v3`",
        )
    return word_recogniser(texts, engine)


def english_rules(spec: str) -> str:
    """What a word is for a recogniser of English: as Whisper writes, or plain."""
    return "whisper-en" if spec.partition(":")[0] in PACKAGED else "plain"


def word_recogniser(texts: Sequence[str], engine: Engine) -> "WordRecogniser":
    """Our recogniser for some texts: the built-in grammar, and the texts' other words singly."""
    grammar = closed(seeds.GRAMMAR, GRAMMAR)
    known = {word for text in grammar for word in plain_words(text).split()}
    words = {word for text in texts for word in plain_words(text).split()}
    new = sorted(words - known)
    spelled = {}
    if new and isinstance(engine.front_end, Pronouncing):
        spelled = {
            word: [phone for phone in engine.front_end.symbols(word) if phone[0].isalpha()]
            for word in new
        }
    try:
        return WordRecogniser.from_texts(grammar, pronunciations=spelled, extra_words=new)
    except TextError as error:
        raise TextError(
            f"pocketsphinx has {error.message}",
            "name a recogniser that needs no dictionary: `--asr whisper:openai/whisper-large-v3`",
        ) from error


class WordRecogniser:
    """A pocketsphinx decoder over a closed vocabulary.

    Args:
        dictionary: lines of word and CMU phones.
        arpa: language model text.
    """

    def __init__(self, dictionary: str, arpa: str) -> None:
        try:
            import pocketsphinx
        except ImportError:
            raise MissingDependencyError(
                "recognition needs the package pocketsphinx", "pip install 'mamtra-cli[eval]'"
            ) from None
        with tempfile.TemporaryDirectory() as folder:
            words, model = Path(folder) / "words.dict", Path(folder) / "words.arpa"
            words.write_text(dictionary)
            model.write_text(arpa)
            self._decoder: Any = pocketsphinx.Decoder(
                hmm=pocketsphinx.get_model_path(ACOUSTIC),
                dict=str(words),
                lm=str(model),
                samprate=float(LISTENING_RATE),
                loglevel="FATAL",
            )
        self.about: Mapping[str, str] = {
            "name": "pocketsphinx en-us",
            "pocketsphinx": version("pocketsphinx"),
            "acoustic_model": f"sha256:{_hash_of_files(pocketsphinx.get_model_path(ACOUSTIC))}",
            "language_model": f"sha256:{hashlib.sha256((dictionary + arpa).encode()).hexdigest()}",
        }

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        order: int = 3,
        *,
        pronunciations: Mapping[str, Sequence[str]] | None = None,
        extra_words: Iterable[str] = (),
    ) -> "WordRecogniser":
        """Make a recogniser of the words of some texts.

        Args:
            texts: one sentence each; they teach the vocabulary and the word order.
            order: 3 and 2 are trigrams and bigrams, 0 is a flat loop of words.
            pronunciations: phones of words that the dictionary lacks, as our front end names
                them; stress digits may stay on.
            extra_words: further words, known to the model as single words only.

        Raises:
            TextError: words without a pronunciation.
        """
        sentences = [plain_words(text).split() for text in texts]
        extra = [word for text in extra_words for word in plain_words(text).split()]
        vocabulary = sorted({word for words in sentences for word in words} | set(extra))
        if not vocabulary:
            raise ValueError("a recogniser needs at least one word")
        dictionary = dictionary_lines(vocabulary, pronunciations or {})
        if order == 0:
            return cls(dictionary, arpa_model([[word] for word in vocabulary], 1))
        return cls(dictionary, arpa_model(sentences + [[word] for word in extra], order))

    def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
        """Give the words of a mono wave (T,) between -1 and 1, `""` where none was heard."""
        import soxr

        if wave.ndim != 1:
            raise ValueError(f"expected a mono wave (T,), got {wave.shape}")
        if rate != LISTENING_RATE:
            wave = soxr.resample(wave, rate, LISTENING_RATE)
        samples = (np.clip(wave, -1.0, 1.0) * 32767.0).astype("<i2")
        if not samples.any():
            # The decoder would put some word into digital silence.
            return ""
        # Without this the mean of the features of one file leaks into the next.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found is not None else ""


@lru_cache(maxsize=1)
def _hash_of_files(folder: str) -> str:
    """SHA-256 over the files of a folder, by name."""
    found = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        found.update(path.read_bytes())
    return found.hexdigest()


def dictionary_lines(vocabulary: Sequence[str], pronunciations: Mapping[str, Sequence[str]]) -> str:
    """Write the part of pocketsphinx's dictionary that holds a vocabulary.

    Raises:
        TextError: words that neither the dictionary nor `pronunciations` has.
    """
    import pocketsphinx

    wanted, lines, found = set(vocabulary), [], set()
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    for line in path.read_text("utf-8").splitlines():
        word = line.partition(" ")[0].partition("(")[0]
        if word in wanted:
            lines.append(line)
            found.add(word)
    for word in sorted(wanted - found):
        if word in pronunciations:
            phones = [phone.rstrip("012") for phone in pronunciations[word]]
            if unknown := [phone for phone in phones if phone not in _PHONES]:
                raise ValueError(f"`{word}` has phones that nobody knows: {unknown}")
            lines.append(f"{word} {' '.join(_PHONES[phone] for phone in phones)}")
            found.add(word)
    if missing := sorted(wanted - found):
        raise TextError(
            f"no pronunciation for {len(missing)} words: {', '.join(missing[:5])}",
            "give them in `pronunciations`",
        )
    return "\n".join(lines) + "\n"


def arpa_model(sentences: Sequence[Sequence[str]], order: int) -> str:
    """Count an n-gram model and write it as ARPA text.

    Every context gives up `_DISCOUNT` of each count it has seen to its shorter context, down to
    the uniform distribution over the vocabulary.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(order)]
    for words in sentences:
        padded = ("<s>", *words, "</s>")
        for n in range(1, order + 1):
            for end in range(n, len(padded) + 1):
                counts[n - 1][padded[end - n : end]] += 1
    counts[0].pop(("<s>",), None)
    vocabulary = len(counts[0])
    probability: dict[tuple[str, ...], float] = {}
    back_off: dict[tuple[str, ...], float] = {}
    for level in counts:
        totals: dict[tuple[str, ...], int] = defaultdict(int)
        kinds: dict[tuple[str, ...], int] = defaultdict(int)
        for gram, count in level.items():
            totals[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        for context, total in totals.items():
            back_off[context] = _DISCOUNT * kinds[context] / total
        for gram, count in level.items():
            shorter = probability[gram[1:]] if len(gram) > 1 else 1.0 / vocabulary
            share = (count - _DISCOUNT) / totals[gram[:-1]]
            probability[gram] = share + back_off[gram[:-1]] * shorter
    lines = ["\\data\\"]
    levels: list[list[tuple[str, ...]]] = [sorted(level) for level in counts]
    levels[0].insert(0, ("<s>",))
    lines += [f"ngram {n}={len(level)}" for n, level in enumerate(levels, start=1)]
    for n, grams in enumerate(levels, start=1):
        lines += ["", f"\\{n}-grams:"]
        for gram in grams:
            log = math.log10(probability[gram]) if gram in probability else -99.0
            line = f"{log:.4f} {' '.join(gram)}"
            if n < order and gram in back_off:
                line += f" {math.log10(back_off[gram]):.4f}"
            lines.append(line)
    return "\n".join([*lines, "", "\\end\\", ""])
