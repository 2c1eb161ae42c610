"""Tags in a plain text: `[pause:1.5s]`, `[voice:NAME]`, `[[ phones ]]`, `<break time="1s"/>`.

Anything else in brackets is text. A text that begins with `<speak`, or as XML with it, is SSML
(`ssml.py`).
"""

import re

from mamtra_cli.errors import TextError
from mamtra_cli.text.segments import Given, Script, Segment, joined, pause_of, seconds

_TAG = re.compile(
    r"\[\s*(?P<pause>(?i:pause))\s*(?:[:=\s]\s*(?P<length>[^\[\]\n]{0,40}))?\]"
    r"|\[\s*(?P<voice>(?i:voice))\s*[:=]\s*(?P<name>[^\[\]\n]{0,200})\]|\[\s*(?P<end>(?i:/voice))\s*\]"
    r"|\[\[(?P<phones>[^\[\]\n]{0,400})\]\]"
    r"|<\s*break\b(?P<break>[^<>\n]{0,200})/?>"
    r"|\[(?P<word>[^\[\]\n]{1,100})\]\(/(?P<sound>[^()\n]{0,200})/\)"
)
_SHORT_PAUSE = "0.5s"
_HEAD = 2000  # characters within which a document says what it is


def is_ssml(text: str) -> bool:
    """Whether a text is an SSML document; a declaration, a comment or a type may come first."""
    head = text[:_HEAD].lstrip("\ufeff \t\r\n")
    if head[:2] not in ("<?", "<!"):
        return head[:6].lower() == "<speak"
    return re.match(r"(?is)(?:<\?xml\b|<!--|<!doctype\s+speak\b).*<speak\b", head) is not None


def parse(text: str, voice: str = "") -> Script:
    """Read the tags of a text.

    A word with its sound in slashes, `[Kokoro](/.../)`, is read as the word: sounds of another
    alphabet are not known here.

    Args:
        text: as it was written.
        voice: who speaks until a tag says otherwise.

    Raises:
        TextError: a tag that cannot be, with its line and what it was; more pauses than
            `LONGEST_SILENCE`.
    """
    if is_ssml(text):
        from mamtra_cli.text.ssml import parse_ssml

        return parse_ssml(text)
    if "[" not in text and "<" not in text:
        return Script(segments=joined([Segment(text=text, voice=voice)]), voice=voice)
    segments: list[Segment] = []
    given = Given()
    start = 0
    for tag in _TAG.finditer(text):
        segments.append(Segment(text=text[start : tag.start()], voice=voice))
        start = tag.end()
        where = f"line {text.count(chr(10), 0, tag.start()) + 1}, `{tag[0][:40]}`"
        if tag["pause"]:
            segments.append(Segment(pause=seconds(tag["length"] or _SHORT_PAUSE, where)))
        elif tag["voice"]:
            voice = tag["name"].strip()
        elif tag["end"]:
            voice = ""
        elif tag["break"] is not None:
            segments.append(Segment(pause=_break(tag["break"], where)))
        elif tag["word"]:
            segments.append(Segment(text=tag["word"], voice=voice))
        else:
            phones = tuple(tag["phones"].split())
            if not phones:
                raise TextError(f"{where} holds no phones", "write them as [[ k ae1 t ]]")
            word = given.add(phones, " ".join(phones))
            segments.append(Segment(text=word, voice=voice))
    segments.append(Segment(text=text[start:], voice=voice))
    return Script(segments=joined(segments), given=given, voice=voice)


def _break(attributes: str, where: str) -> float:
    time = re.search(r"\btime\s*=\s*[\"']([^\"']*)[\"']", attributes)
    strength = re.search(r"\bstrength\s*=\s*[\"']([^\"']*)[\"']", attributes)
    return pause_of(time[1] if time else None, strength[1] if strength else None, where)
