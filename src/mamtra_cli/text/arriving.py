"""Text that arrives in parts: which sentences and which words of it are complete.

What arrives is an iterator of strings that may block; nothing here knows where from, nor who
speaks. How a text is parted on its way makes no difference to what comes out.
"""

import re
from collections.abc import Iterable, Iterator

from mamtra_cli.text.english import sentences

LONGEST_WAIT = 400  # characters without an end of sentence after which a part is spoken
LINE_END = re.compile(r"[.!?…:;][\"')\]”’]*[ \t]*\n|\n\s*\n")
WIDE_END = re.compile(r"[。！？；]+[”’」』）]*")  # after these a sentence ends without a blank


class Sentences:
    """Sentences of a text as soon as they are complete.

    A sentence is complete when another one begins, when its line ends, or at a full-width end
    mark. A text without any is cut after 400 characters at a comma or a blank.
    """

    def __init__(self) -> None:
        self._held = ""

    def push(self, text: str) -> list[str]:
        """More text; what is complete comes back."""
        self._held += text
        found: list[str] = []
        while (cut := _complete(self._held)) is not None:
            done, self._held = self._held[:cut], self._held[cut:]
            found += sentences(done)
        return found

    def finish(self) -> list[str]:
        """The text has ended: what is left of it."""
        held, self._held = self._held, ""
        return sentences(held)


def whole_sentences(arriving: Iterable[str]) -> Iterator[str]:
    """Yield sentences as soon as they are complete, the rest when the text ends."""
    found = Sentences()
    for text in arriving:
        yield from found.push(text)
    yield from found.finish()


def _complete(text: str) -> int | None:
    """Where the part of a text ends that can be spoken now, or `None`."""
    ends = [match.end() for pattern in (LINE_END, WIDE_END) for match in pattern.finditer(text)]
    if ends:
        return max(ends)
    said = sentences(text)
    if len(said) > 1:
        # The last sentence may go on; its words stand at the end as they came.
        return _start(text, said[-1])
    if len(text) <= LONGEST_WAIT:
        return None
    comma = text.rfind(", ", LONGEST_WAIT // 2, LONGEST_WAIT)
    blank = text.rfind(" ", 1, LONGEST_WAIT)
    return next((place + 1 for place in (comma, blank) if place > 0), LONGEST_WAIT)


def _start(text: str, last: str) -> int:
    """Where the last sentence starts: blanks between its words may differ."""
    words = r"\s+".join(re.escape(word) for word in last.split())
    found = list(re.finditer(words, text))
    return found[-1].start()


def whole_words(arriving: Iterable[str]) -> Iterator[str]:
    """Yield text up to the last complete word; blanks are single, before the word they lead."""
    held, first = "", True
    for text in arriving:
        held = re.sub(r"\s+", " ", held + text)
        if first:
            held = held.lstrip()
        cut = held.rfind(" ")
        if "\u4e00" <= held[-1:] <= "\u9fff":
            cut = len(held)  # Chinese has no blanks to wait for
        if cut > 0:
            yield held[:cut]
            held, first = held[cut:], False
    if held.strip():
        yield held.rstrip()
