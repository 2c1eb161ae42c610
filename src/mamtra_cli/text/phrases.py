"""Where a long run of words without punctuation may be cut: at the borders of phrases.

A cut is good before a conjunction or a relative word, fair before a preposition or a subject, and
bad after an article, a preposition or an auxiliary, whose noun or verb is still to come. Pieces are
of about equal length, so that none is left as a scrap.
"""

import math
from collections.abc import Sequence

_JOINING = frozenset(
    "and but or because although though while when whenever which who whom whose that where if so "
    "then after before since until unless whereas whether yet nor".split()
)
_PREPOSITIONS = frozenset(
    "in on at with from into over under through across behind between during without near beside "
    "beyond toward towards around along for by about against inside outside above below past "
    "onto upon within among despite except like".split()
)
_SUBJECTS = frozenset("i you he she it we they there this these those".split())
_LEADING = frozenset(
    "a an the my your his her its our their this that these those each every some any no of to in "
    "on at with from into for by and or but not very so too more most is are was were be been am "
    "have has had will would can could shall should may might must do does did one two three four "
    "five six seven eight nine ten hundred thousand million point ^a who which as than mister "
    "doctor mrs ms saint minus plus old new little big great good".split()
)
SLACK = 0.45  # of the length of a piece within which its end may move to a better place


def parted(words: Sequence[str], lengths: Sequence[int], most: int) -> list[range]:
    """Cut words into pieces of at most `most`, at the borders of phrases.

    Args:
        words: in small letters.
        lengths: of the words, in whatever `most` counts.
        most: length of the longest piece; a single word may be longer.
    """
    pieces: list[range] = []
    start = 0
    while start < len(words):
        left = sum(lengths[start:])
        if left <= most:
            pieces.append(range(start, len(words)))
            break
        aim = left / math.ceil(left / most)
        end = _end(words, lengths, start, aim, most)
        pieces.append(range(start, end))
        start = end
    return pieces


def _end(words: Sequence[str], lengths: Sequence[int], start: int, aim: float, most: int) -> int:
    """Where the piece that begins at `start` ends best; it holds a word at least."""
    best, place, length = -math.inf, start + 1, lengths[start]
    for index in range(start + 1, len(words)):
        if length > most:
            break
        far = abs(length - aim) / aim
        score = border(words[index - 1], words[index]) - 4 * far - (8 if far > SLACK else 0)
        if score > best:
            best, place = score, index
        length += lengths[index]
    return place


def border(before: str, after: str) -> float:
    """How good a cut between two words is; above 0 is a border of phrases."""
    if before in _LEADING:
        return -4.0
    if before[:1] == "^" and after[:1] == "^":
        return -4.0
    if after in _JOINING:
        return 3.0
    if after in _PREPOSITIONS:
        return 2.0
    return 1.0 if after in _SUBJECTS else -1.0
