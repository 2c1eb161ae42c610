"""Roman numerals: `Henry VIII`, `World War II`, `the XIX century`, and letters that are none.

One letter is a number only after a word that counts (`Chapter V`); more letters are one after any
capitalised word. After the name of a ruler, or of a person that the lexicon does not know, a
numeral is a rank.
"""

import re
from collections.abc import Callable

from mamtra_cli.text.number_words import cardinal, ordinal, year
from mamtra_cli.text.rules import compiled, said, show

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_RULERS = frozenset(
    "henry edward elizabeth george charles william james louis philip philippe pope paul pius john "
    "benedict gregory leo richard frederick catherine mary napoleon nicholas alexander peter ivan "
    "ferdinand francis wilhelm ramses ptolemy robert david stephen matilda edmund anne isabella "
    "alfonso carlos felipe juan maria leopold albert christian gustav olaf harald haakon umberto "
    "victor ramesses seti thutmose amenhotep innocent clement urban boniface celestine adrian "
    "sixtus julius constantine theodosius "
    "justinian darius xerxes cyrus artaxerxes nebuchadnezzar sargon tiglath mehmed murad selim "
    "suleiman bayezid abdul mohammed muhammad hassan hussein faisal akbar rama cleopatra antiochus "
    "seleucus mithridates augustus otto conrad rudolf maximilian joseph franz karl eric erik "
    "casimir sigismund vladimir boris theodore michael baldwin malcolm alexander joan".split()
)
_THINGS = (
    "world war|war|chapter|part|act|scene|phase|type|class|volume|vol|book|section|title|article|"
    "appendix|level|stage|grade|round|episode|season|bowl|mark|mk|form|schedule|table|figure|"
    "exhibit|category|group|tier|division|unit|module|lesson|canto|psalm|symphony|quartet|"
    "sonata|concerto|opus|apollo|saturn|titan|area|region|zone|block|step|rank|annex"
)
# Of a text; small numerals count them, but for single letters that may be words.
_PLACES = "sections?|pages?|pp|chapters?|parts?|clauses?|paragraphs?|items?|act|scene|books?|notes?"
_SMALL = r"x{0,3}(?:ix|iv|v?i{2,3}|vi)|x{2,3}|x{1,3}v?i|[xv](?=\s?[,.;:)]|\s*$)"
_COUNTED = "century|centuries|dynasty|olympiad|congress|legion|corps|army|olympics|arrondissement"
_KINGS = frozenset(
    "king queen pope emperor empress tsar czar prince princess pharaoh sultan duke shah saint "
    "kaiser".split()
)
_NUMERAL = r"(?=[IVXLC]+(?:\b|th|st|nd|rd))(?:C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_YEARS = r"\b(?=[MDCLXVI]{4})M{1,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})\b"
_LETTERS = frozenset(
    {"CV", "CD", "CC", "C", "L", "XL", "XXL", "XXX", "LC", "CI", "LI", "IC", "CL", "CX", "IV"}
)


def value(numeral: str) -> int:
    """The value of a Roman numeral, `XIV` as 14."""
    values = [_VALUES[letter] for letter in numeral]
    return sum(-v if any(v < w for w in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


def read_roman(text: str, known: Callable[[str], bool]) -> str:
    """Say the Roman numerals of a text.

    Args:
        text: folded text.
        known: whether a word stands in the lexicon; a name that does not, is a person's.
    """

    def counted(match: re.Match[str]) -> str:
        return match[1] + said(cardinal(str(value(match[2].upper()))))

    if compiled(r"\b(?:ii|iv)\)").search(text):
        text = compiled(rf"(^|[\s;,(])({_SMALL}|[ivx])(?=\))").sub(counted, text)
    text = compiled(rf"\b((?i:{_PLACES})\s\(?)({_SMALL})\b(?!')").sub(counted, text)
    text = compiled(_YEARS).sub(lambda m: said(year(str(value(m[0])))), text)
    if not compiled(r"\b(?:WW)?[IVXLC]+(?:\b|(?:th|st|nd|rd)\b)").search(text):
        return text

    def rank(match: re.Match[str]) -> str:
        return said(ordinal(str(value(match[1]))))

    def thing(match: re.Match[str]) -> str:
        return f"{match[1]}{said(cardinal(str(value(match[2]))))}"

    def named(match: re.Match[str]) -> str:
        name, numeral = match["name"], match["numeral"]
        before = show(match.string[max(0, match.start() - 60) : match.start()]).split()
        crowned = bool(before) and before[-1].lower() in _KINGS
        if len(numeral) == 1 and not (
            (name.lower() in _RULERS and numeral in "IV" and _goes_on(match, crowned)) or crowned
        ):
            return match[0]
        doubtful = numeral in _LETTERS and name.lower() not in _RULERS and not crowned
        if doubtful and (numeral != "IV" or name.lower() in ("the", "an", "a")):
            return match[0]
        words = str(value(numeral))
        person = name.lower() in _RULERS or crowned or not known(name.lower())
        return f"{name}{said(f'the {ordinal(words)}' if person else cardinal(words))}"

    text = compiled(r"\bWW(I{1,2})\b").sub(
        lambda m: said(f"world war {cardinal(str(value(m[1])))}"), text
    )
    mixed = _mixed(text)
    text = compiled(rf"\b({_NUMERAL})(?:th|st|nd|rd)?(?=[\s-](?i:{_COUNTED})\b)").sub(rank, text)
    text = compiled(r"\b([IVXLC]{2,})(?:th|st|nd|rd)\b").sub(rank, text)
    text = compiled(rf"\b((?i:{_THINGS})\.?\s)({_NUMERAL})\b(?!')(?![.-][A-Z])").sub(thing, text)
    # `GTA V`, `OS X`: a name of capitals with its number.
    text = compiled(r"\b((?!MR|DR|MS|THE|AND)[A-Z]{2,5}\s)([VX]|[IVX]{2,4})\b(?!')").sub(
        lambda m: thing(m) if not m[1].strip().isdigit() and mixed else m[0], text
    )
    text = compiled(rf"\b(?P<name>[A-Z][a-z]+)\s(?P<numeral>{_NUMERAL})\b(?![-&])").sub(named, text)
    return compiled(r"\b(VI{1,3}|XI{1,3}|XI?[VX]I{0,3}|I{2,3})\b(?=[\s,.;:)]|$)").sub(
        lambda m: said(cardinal(str(value(m[1])))), text
    )


def _goes_on(match: re.Match[str], crowned: bool) -> bool:
    """Whether a single `I` or `V` after a ruler's name is a numeral: no verb of mine follows."""
    rest = match.string[match.end() :]
    if match["numeral"] == "V" or crowned:
        return True
    return (
        re.match(r"\s(?:of|was|died|ruled|reigned|became|in|and|had)\b|\s?[,.;)]|\s*$|'s", rest)
        is not None
    )


def _mixed(text: str) -> bool:
    return any(character.islower() for character in text) or len(text.split()) <= 4
