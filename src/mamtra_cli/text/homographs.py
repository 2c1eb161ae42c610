"""Words of one spelling and several sounds, told apart by the words beside them.

`kind` decides between the noun, verb and adjective that a lexicon lists; `phones` knows the words
whose readings differ in more than that (`lead`, `bass`, `read`), each by cues that hold for any
sentence: what comes before, what comes after, what is spoken of. Phones are those of the lexicon
(American, stressed vowels with `1`).
"""

from collections.abc import Callable, Sequence

_VERB_AFTER = frozenset(
    "to will would can could shall should may might must not i you we they who let lets please "
    "cannot can't won't don't doesn't didn't wouldn't couldn't shouldn't does do did never "
    "i'll you'll we'll they'll he'll she'll i'd you'd we'd they'd always often help".split()
)
_SINGULAR_PRONOUNS = frozenset({"he", "she", "it", "that", "who", "which"})
_ADJECTIVE_AFTER = frozenset(
    {"a", "an", "the", "very", "so", "too", "more", "most", "quite", "is", "are", "was", "were"}
)
_VERB_START = frozenset({"", ",", ".", "?"})
_OBJECT_STARTS = frozenset(
    "the a an my your it this them me us him her his our their these those all every".split()
)
_BE = frozenset(
    "is are was were be been being am i'm he's she's it's we're you're they're isn't aren't "
    "wasn't".split()
)
_HAVE = frozenset(
    "have has had having i've you've we've they've i'd he'd she'd we'd they'd haven't hasn't "
    "hadn't".split()
)
_DEGREE = frozenset(
    "very so too quite perfectly not more most extremely incredibly rather fairly".split()
)
_FEEL = frozenset(
    "feel feels felt feeling seem seems seemed look looks looked remain remains remained stay "
    "stayed".split()
)
_PRONOUNS = frozenset("i you he she it we they who".split())
_DETERMINERS = frozenset(
    "a an the this that these those my your his her its our their some any no each every".split()
)
_PAST = frozenset("yesterday last ago earlier once previously already when".split())
_MODAL = frozenset(
    "to will would can could shall should may might must do does did don't "
    "doesn't didn't "
    "can't won't i'll you'll we'll they'll he'll she'll let please".split()
)
_REVIEW = frozenset(
    "good great quick long short easy must fun fascinating light interesting".split()
)


def kind(word: str, kinds: str, before: str, after: str) -> str:
    """Guess which reading of a homograph is meant from its neighbours.

    Args:
        word: in small letters.
        kinds: readings that the lexicon has, of `n`, `v` and `j`.
        before: the word before it, a pause, or `""`.
        after: the word after it, or a pause.
    """
    plural = word.endswith("s") and not word.endswith("ss")
    if before in _VERB_AFTER and not (plural and before in ("to", "will")):
        return "v" if "v" in kinds else kinds[0]
    if plural and before in _SINGULAR_PRONOUNS and "v" in kinds:
        return "v"
    if before in _VERB_START and after in _OBJECT_STARTS:
        return "v" if "v" in kinds else kinds[0]
    if word == "refuse" and after == "to":
        return "v"
    if word == "live":
        return "j" if before in _ADJECTIVE_AFTER else "v"
    if "j" in kinds and "n" not in kinds:
        return "j"
    return "n" if "n" in kinds else kinds[0]


def phones(word: str, before: Sequence[str], after: Sequence[str]) -> list[str] | None:
    """Phones of a word whose sense its neighbours tell; `None` leaves it to the lexicon.

    Args:
        word: in small letters.
        before: words and pauses before it, the nearest last.
        after: words and pauses after it, the nearest first.
    """
    if word not in _SENSES:
        return None
    decide, readings = _SENSES[word]
    chosen = decide(_Context(before, after))
    return readings[chosen].split() if chosen in readings else None


class _Context:
    """The neighbours of a word, as the deciders ask for them."""

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        self.left = before[-1] if before else ""
        self.left2 = before[-2] if len(before) > 1 else ""
        self.right = after[0] if after else ""
        self.right2 = after[1] if len(after) > 1 else ""
        self.near = frozenset([*before[-6:], *after[:6]])
        self.all = frozenset([*before, *after])


_STAGE = frozenset("concert stage tv television air session studio".split())
_GOING = frozenset(
    "go goes going went gone broadcast streamed streaming performed recorded perform play played "
    "sing sang shown aired".split()
)
_FISHING = frozenset(
    "fish fishing caught catch lake river striped largemouth smallmouth grilled fillet angler "
    "sea".split()
)
_SUMMED = frozenset(
    "mean progression series sequence operation operations average logic unit expression".split()
)
_STRUNG = frozenset(
    "arrow arrows violin cello fiddle archer archers hair ribbon ribbons tie tied string quiver "
    "hunting gift".split()
)
_METAL = frozenset(
    "pipe pipes paint paints poisoning pencil pencils acid bullet bullets shot weight weights "
    "crystal "
    "mine mines glass battery batteries exposure levels contamination solder roof ore oxide dust "
    "based free content apron shielding sinker ingot coffin".split()
)
_MINUTE_OF = frozenset(
    "amount amounts detail details quantity quantities particle particles difference differences "
    "trace traces piece pieces size sizes dose doses fraction fractions crack cracks change "
    "changes "
    "variation variations hole holes organism organisms creature creatures examination fragment "
    "fragments error errors adjustment adjustments portion portions proportion".split()
)
_LIVE_WITH = frozenset(
    "music show shows broadcast broadcasts concert concerts performance performances album albums "
    "audience audiences stream streams streaming tv television event events coverage band "
    "bands wire "
    "animals animal bait chat video updates recording version action entertainment feed "
    "footage theater "
    "theatre ammunition births ammo session sessions tour demo report".split()
)
_BASS_WITH = frozenset(
    "guitar guitars drum drums line lines player players clef solo note "
    "notes voice "
    "singer guitarist string strings speaker speakers part amp".split()
)
_NATIONAL = frozenset(
    "food man men woman women people language army border government president minister flag "
    "sausage zloty citizen citizens city town village family author poet composer war history "
    "immigrant immigrants parliament pope soldier soldiers jews jew resistance cavalry team".split()
)


def _read(c: _Context) -> str:
    if (
        c.left in _HAVE
        or c.left in _BE
        or c.left in ("well", "widely")
        or c.left2 in _HAVE - {"i'd"}
    ):
        return "past" if c.left not in ("to",) else "present"
    if c.left in _MODAL or c.left in _REVIEW or (c.left in ("", ",", ".", "?") and True):
        return "present"
    if c.left in ("he", "she", "it") or c.all & _PAST:
        return "past"
    if c.left in (
        "i",
        "you",
        "we",
        "they",
        "and",
        "not",
        "never",
        "who",
        "often",
        "always",
        "also",
    ):
        return "present"
    plural = c.left.endswith("s") or c.left in ("people", "children", "men", "women")
    return "present" if plural or c.left in _DETERMINERS else "past"


def _lead(c: _Context) -> str:
    metals = c.near & {
        "zinc",
        "tin",
        "copper",
        "mercury",
        "arsenic",
        "molten",
        "metal",
        "metals",
        "cadmium",
    }
    if c.right in _METAL or metals or (c.left == "of" and c.right in (",", ".", "?", "and", "or")):
        return "metal"
    return ""


def _wound(c: _Context) -> str:
    if c.right in (
        "up",
        "down",
        "around",
        "round",
        "through",
        "its",
        "back",
        "along",
        "tightly",
        "tight",
    ):
        return "turned"
    return "turned" if c.left in _PRONOUNS else "hurt"


def _bass(c: _Context) -> str:
    if c.right in _BASS_WITH:
        return "music"
    return "fish" if c.near & _FISHING else "music"


def _minute(c: _Context) -> str:
    if c.right in _MINUTE_OF or (
        c.left in _DEGREE | _BE and c.right in (",", ".", "?", "and", "but")
    ):
        return "tiny"
    return ""


def _content(c: _Context) -> str:
    if c.left in _BE | _FEEL | _DEGREE:
        return "pleased"
    return "pleased" if c.left in ("", ",", ".") and c.right in ("with", "to") else ""


def _live(c: _Context) -> str:
    if c.right in ("in", "on") and c.right2 in _STAGE:
        return "now"
    if c.left in _MODAL | {"they", "we", "you", "i", "people", "who"}:
        return "living"
    if c.right in _LIVE_WITH or c.left in _GOING:
        return "now"
    at_end = c.right in (",", ".", "?", "from")
    return "now" if at_end and c.left in ("it", "them", "him", "her", "this", "that") else ""


def _dove(c: _Context) -> str:
    into = ("in", "into", "off", "for", "down", "under", "deep", "straight", "headfirst", "back")
    return (
        "dived" if c.left in _PRONOUNS or (c.right in into and c.left not in _DETERMINERS) else ""
    )


def _resume(c: _Context) -> str:
    return "paper" if c.left in _DETERMINERS else ""


def _arithmetic(c: _Context) -> str:
    return "" if c.right in _SUMMED else "sums"


def _sow(c: _Context) -> str:
    return "pig" if c.left in _DETERMINERS | {"old", "pregnant", "big"} else "seed"


def _polish(c: _Context) -> str:
    """The nation, before what nations have."""
    return "nation" if c.right in _NATIONAL or c.left in ("in", "speak", "speaks") else ""


def _invalid(c: _Context) -> str:
    alone = c.left in _DETERMINERS and c.right in (",", ".", "?", "and", "who", "was", "is")
    return "ill" if alone or c.right in ("chair", "carriage", "mother", "father") else "void"


def _bow(c: _Context) -> str:
    return "weapon" if c.near & _STRUNG else ""


def _row(c: _Context) -> str:
    angry = c.near & {"argument", "furious", "blazing"}
    return "quarrel" if angry and c.left not in ("front", "back") else ""


_SENSES: dict[str, tuple[Callable[[_Context], str], dict[str, str]]] = {
    "read": (_read, {"past": "r eh1 d", "present": "r iy1 d"}),
    "lead": (_lead, {"metal": "l eh1 d"}),
    "wound": (_wound, {"turned": "w aw1 n d", "hurt": "w uw1 n d"}),
    "bass": (_bass, {"music": "b ey1 s", "fish": "b ae1 s"}),
    "minute": (_minute, {"tiny": "m ay n uw1 t"}),
    "content": (_content, {"pleased": "k ax n t eh1 n t"}),
    "live": (_live, {"now": "l ay1 v", "living": "l ih1 v"}),
    "dove": (_dove, {"dived": "d ow1 v"}),
    "resume": (_resume, {"paper": "r eh1 z ax m ey"}),
    "arithmetic": (_arithmetic, {"sums": "ax r ih1 th m ax t ih k"}),
    "sow": (_sow, {"pig": "s aw1", "seed": "s ow1"}),
    "polish": (_polish, {"nation": "p ow1 l ih sh"}),
    "invalid": (_invalid, {"ill": "ih1 n v ax l ax d", "void": "ih n v ae1 l ax d"}),
    "bow": (_bow, {"weapon": "b ow1"}),
    "row": (_row, {"quarrel": "r aw1"}),
}
