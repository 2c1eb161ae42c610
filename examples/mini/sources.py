"""Which sentences of a corpus each lesson of mini reads, by where the speech came from.

`natural` (`natural.py`) is what taught the mini that ships: natural speech, with held-out speakers
and with prompts; `synthesizers` (`corpus.py`) taught the first one. Knows kinds and voices of
sentences, no model.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

from dataset import SPED, TOLD, Corpus, Sentence

VOICES = {
    "f1": "US English, clear, the main voice",
    "m1": "US English",
    "m2": "Scottish English",
    "m3": "US English, plain",
    "m4": "US English, plain, deep",
}
# Names in a model, speakers of natural.py, and what they are like (pitch, spread and tempo).
NATURAL_VOICES = {
    "anna": ("n1", "a woman, clear and friendly; the main voice"),
    "ben": ("n2", "a man, low and calm"),
    "clara": ("n3", "a woman, even and composed"),
    "david": ("n4", "a man, lively"),
    "eve": ("x018", "a woman, bright, with a British touch"),
    "frank": ("x024", "a man, deep and even"),
    "grace": ("x010", "a woman, warm and expressive"),
    "henry": ("x020", "a man, deep and slow"),
}
MAIN = ("n1", "n2", "n3", "n4")
TELLER = MAIN[0]  # whose way of speaking the language model has where no clip tells another


@dataclass(frozen=True, kw_only=True)
class Source:
    """Sentences by what they are for.

    Attributes:
        natural: whether spectra are disturbed, strangers expected and prompts learned.
        main: of the voices that most of the speech is of.
        others: of all other voices that are learned from.
        sped: those at other speeds, as more speakers for the flow.
        read: what the language model learns to say alone.
        lent: what it learns to say after another sentence of the same speaker.
        tested: held-out sentences of known speakers.
        unheard: sentences of held-out speakers.
        rows: row of every speaker in the tables of a lesson; held-out ones share row 0.
        vocoder: what the vocoder draws from, and how many of each a step.
        flowed: how many batches whose names begin so get the flow's mels.
        voices: of the packed model: name, speaker and description.
    """

    natural: bool
    main: list[Sentence]
    others: list[Sentence]
    sped: list[Sentence]
    read: list[Sentence]
    lent: list[Sentence]
    tested: list[Sentence]
    unheard: list[Sentence]
    rows: dict[str, int]
    vocoder: list[tuple[list[Sentence], int]]
    flowed: dict[str, int]
    voices: list[tuple[str, str, str]]


def synthesizers(corpus: Corpus) -> Source:
    """Festival and flite: one main voice, four others; natural speech for the vocoder alone."""
    main, others = corpus.select("closed", "open", "strings"), corpus.select("mixed")
    return Source(
        natural=False,
        main=main,
        others=others,
        sped=[],
        read=[s for s in main if s.voice == "f1"],
        lent=[],
        tested=corpus.select("valid"),
        unheard=[],
        rows={name: i for i, name in enumerate(VOICES)},
        # Without natural speech the main voice stands for it.
        vocoder=[(main, 3), (others, 2), (corpus.select("natural") or main, 3)],
        flowed={"f1-closed": 12, "f1-open": 12} | {f"m{i}-mixed": 3 for i in range(1, 5)},
        voices=[(name, name, description) for name, description in VOICES.items()],
    )


def natural(corpus: Corpus) -> Source:
    """Natural speech: four main speakers, many mixed ones, and some that nothing learns from.

    What is told without sound is for the language model: alone it speaks as TELLER does.
    """
    rows, told = corpus.select("natural"), corpus.select(TOLD)
    main, others = ([s for s in rows if (s.voice in MAIN) == wanted] for wanted in (True, False))
    planned = sorted(json.loads((corpus.folder / "natural.json").read_text())["speakers"])
    return Source(
        natural=True,
        main=main,
        others=others,
        sped=corpus.select(SPED),
        read=[s for s in told if s.voice == TELLER],
        lent=rows + [s for s in told if s.voice != TELLER],
        tested=in_turns(corpus.select("test-natural")),
        unheard=in_turns(corpus.select("unheard")),
        rows={name: 0 if name[0] == "h" else i for i, name in enumerate(planned, 1)},
        vocoder=[(main, 5), (others, 3)],
        flowed={f"{voice}-natural": 6 for voice in MAIN} | {"x": 24},
        voices=[(name, *told) for name, told in NATURAL_VOICES.items()],
    )


def in_turns(rows: list[Sentence]) -> list[Sentence]:
    """Order sentences so that any first ones are of as many speakers as can be."""
    return sorted(rows, key=lambda s: (s.id.rsplit("-", 2)[1:], s.voice))


SOURCES: dict[str, Callable[[Corpus], Source]] = {"synthesizers": synthesizers, "natural": natural}


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a source."""
    parser.add_argument("--source", choices=SOURCES, default="natural")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every lesson is asked: its source, and what it starts from."""
    add_source(parser)
    parser.add_argument("--begin", metavar="MODEL", help="packed model whose weights to start from")
