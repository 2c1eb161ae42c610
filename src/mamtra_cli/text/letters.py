"""Capitals: which are read as words, which letter by letter, and where one shouts.

A run of capitals is an acronym unless it is a common word, a name that is read as a word
(`NATO`), or part of a shout (`STOP RIGHT NOW`). Words that are both (`IT`, `WHO`, `US`) go by what
stands beside them.
"""

import re
from collections.abc import Callable

from mamtra_cli.text.abbreviations import BEFORE_NAMES, TITLES
from mamtra_cli.text.rules import (
    HIDDEN,
    after,
    before,
    compiled,
    said,
    show,
    word_after,
    word_before,
)

Known = Callable[[str], bool]
_SHORT_WORDS = frozenset(
    """a i am an as at be by do go he hi if in is it me my no of oh ok on or so to up us we ah eh ha
    ho ma pa ye yo the and for are but not you all any can had her was one our out day get has him
    his how man new now old see two way boy did its let put say she too use dad mom mum end far got
    big bad ask men run set try why yes yet ago air arm art bag bed bit box bus buy car cat cry cup
    cut dog dry due eat egg eye fan fat few fit fix fly fun gas god gun hat hit hot ice job joy key
    kid law lay leg lie lot low map max mix mud net nor nut odd off oil own pay pen pet pig pin pop
    pot raw red row sad sea sit six sky son sun tax tea ten tie tip toe top toy war web wet win won
    zoo add age aim bar bay bet bow cab cap cow dam den dig ear ego era fee fog fur gap gym ham hen
    hip hop hug jam jar jaw jet lab lad lap lip log mad mat mob nap nod oak pad pan pat paw pea pie
    pit pub rag ram rat ray rib rid rig rim rip rob rod rom rot rub rug sin sip ski sob sow spa spy
    sum tag tan tap tar tin ton tow tub tug van vet wax wig wit wow sim zip zen god aww huh hey lol
    who act sat dot ups ira doe add ate awe axe bee beg bug bun cop cue dip doc dye elf elm fig fin
    fir foe fox gig gum hay hid ink inn ivy kin kit lid mug mum nun owl pal peg per pro pup rap sap
    saw shy sly sub ton urn vow wed woe yam yum via thy ham led met sum duo dim dub hut jug lit nan
    bin bum cod ebb fad hub lag lax lot pug rum rye sag tot tux vat""".split()
)
_WEAK = frozenset("it who ups ira doe dot am act sat us led or add".split())
# Longer ones, and short ones that are read as words where capitals are a shout.
_SPELLED = frozenset(
    """cia fbi bbc nba nfl nhl mlb cnn nbc abc cbs html http https url usb api sql css xml php pdf
    dvd usa uk eu un uae ussr gdp hr pr tv pc ai vr ar ml nlp llm gpu cpu ssd hdd dna rna hiv mri
    ct iq id ip tcp udp ftp ssh dns vpn isp atm ceo cfo cto coo vip diy faq fyi btw eta asl aol
    ibm hp ge bmw gmc vw kgb nsa dea atf irs ssa fda cdc epa sec fcc ftc fdic faa dhs tsa usda nih
    nyc la dc nyu ucla usc mba phd md rn rsvp pbs npr mtv hbo espn ufo nyse etf ipo roi kpi ngo
    gps gmt utc est pst cst edt pdt cet bst pm ad bc bce ce ac hd lcd oled er or icu iv bp bmi std
    adhd ptsd ocd aka asap omg wtf tbd tba mph rpm iso ieee ascap aarp naacp ymca yc mc dj cd tnt
    gmo pvc rv suv sos lsd thc cbd oecd imf wto ppe pcr cv hq pa lp ep mp mps kfc atv unhcr bbq
    sms mms nsfw ms ta gpa sat gre lsat cgi ios rgb cmyk dpi fps ide sdk cli gui yaml json mit aws
    gcp kpmg pwc ubs aclu eeoc ttyl tldr imo imho irl afk aapl""".split()
) - {"yaml", "json", "sat", "or", "ms", "led", "mit"}
_WORDS = frozenset(
    "nasa nato unesco unicef opec aids laser radar scuba swat fifa uefa ram rom pin sim nasdaq "
    "covid sars "
    "mers nafta potus scotus flotus fema yolo nimby bafta gif jpeg ascii captcha taser zip asean "
    "interpol europol lego ikea radar sonar moma noaa darpa brics maga dreamers hamas saas "
    "paas iaas "
    "ansi cern esa fomo goat nascar norad osha snap ted wasp cobol basic fortran lisp pac".split()
) - {"esa"}
_DETERMINERS = frozenset(
    "the a an our my your his her their its this that every each some no".split()
)
_WORK = frozenset(
    "department team guy support services service staff manager system systems security sector "
    "industry "
    "infrastructure professional professionals jobs job specialist specialists company "
    "companies budget "
    "director skills people help equipment consultant company's consulting admin".split()
)
_AUXILIARIES = frozenset(
    "is are was were am will would can could did do does has have had else".split()
)
_JOINING = frozenset("and or in on for with is was at".split())
_TESTS = frozenset("test tests exam exams score scores prep scored".split())
_WORD_LIKE = r"(?:[bcdfghjklmnprstvwz]{0,2}[aeiouy]{1,2}){2,}[bcdfghjklmnprstvwxz]{0,2}"
_COMMON = frozenset(
    "the is are not and you to do of in it this that no my we was be have will for on with "
    "what".split()
)
LONGEST = 20  # letters of a word in capitals; a longer one (a sequence, a key) is spelled


def spell(letters: str) -> str:
    """Mark letters to be said by name, `FBI` as `^f ^b ^i`."""
    return " ".join(f"^{letter}" if letter.isalpha() else letter for letter in letters.lower())


def read_initials(text: str) -> str:
    """Say dotted initials: `U.S.`, `J. K. Rowling`, `AT&T`, `plan B.`"""
    text = compiled(r"\b(?:[A-Za-z]\.){2,}(?:[A-Za-z]\b)?").sub(_initials, text)
    text = compiled(r"(?<=\s)([A-HJ-Z])\.(?=\s)").sub(_initial, " " + text)
    text = compiled(r"\b([A-Z]{1,2}(?:&[A-Z]{1,2})+)(s?)\b").sub(
        lambda m: said(" and ".join(map(spell, m[1].split("&"))) + ("'s" if m[2] else "")), text
    )
    return compiled(r"(?i)(?<=[a-z])\s?'n'\s?(?=[a-z])").sub(lambda m: said("and"), text)


def _initial(match: re.Match[str]) -> str:
    """Drop the stop of the initial of a name, keep it after `plan B.`"""
    words, rest = before(match), after(match).lstrip()
    named = (
        not words
        or words[-1][0].isupper()
        or words[-1] in BEFORE_NAMES | {*TITLES.values()}
        or compiled(r"[A-Z]\.\s[A-Z]").match(rest) is not None
    )
    return said(spell(match[1])) + ("" if named or not rest[:1].isupper() else ".")


def _initials(match: re.Match[str]) -> str:
    rest = after(match).lstrip()
    ends = match[0].endswith(".") and not rest
    return said(spell(match[0].replace(".", ""))) + ("." if ends else " ")


def read_capitals(text: str, known: Known) -> str:
    """Write every word of a text in small letters, acronyms as letters.

    Args:
        text: folded text, with the words that rules have said.
        known: whether a word stands in the lexicon.
    """
    bare = compiled(r"\^[a-z]").sub("", text)
    several = len(compiled(r"[A-Z]{2,}").findall(bare)) > 1
    shouting = several and not compiled(r"[a-z]").search(bare) and not _only_acronyms(bare, known)
    # Mid-sentence a capital A is the letter, unless a headline goes on: `plan A`, `7A`.
    text = compiled(
        rf"(?<=[\w,{HIDDEN}])(\s+|(?<=\d))A\b(?!'|\s[A-Z][a-z])(?:-(?=[a-z]))?|\bA(?=\s*[+=*/<>])"
    ).sub(lambda m: f"{m[1] or ''} {said('^a')}" if not shouting else m[0], text)

    def cased(match: re.Match[str]) -> str:
        return _cased(match[0], known, shouting or _in_shout(match), match)

    return compiled(r"[A-Za-z^][A-Za-z^']*").sub(cased, text)


def _only_acronyms(text: str, known: Known) -> bool:
    """Whether one or two runs of capitals are all there is, and none of them a word."""
    words = compiled(r"[A-Z]+").findall(text)
    return len(words) <= 2 and all(
        word.lower() in _SPELLED or not (known(word.lower()) or len(word) > 5) for word in words
    )


def _in_shout(match: re.Match[str]) -> bool:
    """Whether capitals stand beside capitals that no acronym would stand beside."""
    if not match[0].isupper():
        return False
    text = match.string
    left = compiled(r"(?:[A-Z']{2,}|I|A)(?:[\s,]+(?:[A-Z']{2,}|I|A))*[\s,]+$").search(
        text[max(0, match.start() - 60) : match.start()]
    )
    right = compiled(r"[\s,]+(?:[A-Z']{2,}|I|A)(?:[\s,]+(?:[A-Z']{2,}|I|A))*\b").match(
        text[match.end() : match.end() + 60]
    )
    run = f"{left[0] if left else ''} {match[0]} {right[0] if right else ''}".lower().split()
    if len(run) < 2:
        return False
    return any(word in _COMMON for word in run) and sum(len(word) > 1 for word in run) > 1


def _cased(word: str, known: Known, shouting: bool, match: re.Match[str] | None = None) -> str:
    if word[0] == "^" or word.islower():
        return word
    if re.fullmatch(r"[A-Z]'s", word):
        return f"^{word.lower()}"
    low = word.lower()
    stem = re.sub(r"'?s$", "", word) if len(word) > 2 else word
    if stem.isupper() and len(stem) > 1 and stem.isalpha():
        plural = word[len(stem) :].lower()
        if _is_word(stem.lower(), known, shouting, match):
            return low
        return spell(stem) + ("'s" if plural else "")
    if len(word) == 2 and word[0].islower():
        return spell(word)
    tailed = re.search(r"[a-z][A-Z]{2,}$", word) is not None  # `iOS`
    if (known(low) and not tailed) or word.istitle() or not stem.isalpha():
        return low if len(word) > 1 or word in "AI" else spell(word)
    # CamelCase: each part by its own case.
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z']+", word)
    if len(parts) < 2:
        return low
    return " ".join(_cased(part, known, False) if len(part) > 1 else spell(part) for part in parts)


def _is_word(low: str, known: Known, shouting: bool, match: re.Match[str] | None) -> bool:
    """Whether a word in capitals is read as a word."""
    if len(low) > LONGEST:
        return False
    if low in _WORDS:
        return True
    if low in _WEAK and not shouting and match is not None:
        return not _is_name(low, match)
    if low in _SPELLED:
        return False
    if not re.search(r"[aeiouy]", low):
        return low in ("hmm", "shh", "psst", "tsk")
    if known(low):
        return shouting or len(low) > 3 or low in _SHORT_WORDS
    return (shouting and len(low) > 3) or (
        len(low) > 3 and re.fullmatch(_WORD_LIKE, low) is not None
    )


def _is_name(low: str, match: re.Match[str]) -> bool:
    """Whether `IT`, `WHO`, `US` and their like stand for a name."""
    previous, following = word_before(match), word_after(match)
    given = previous in _DETERMINERS
    if low in ("us", "ups", "ira", "doe"):
        return True
    if low == "it":
        in_it = (
            previous in ("in", "for", "of", "and", "from", "to", "by", "with")
            and not following.islower()
        )
        return given or following.lower() in _WORK or in_it
    if low == "who":
        return given or (following != "" and following not in _AUXILIARIES and following.islower())
    if low == "am":
        return (
            following.lower() in ("radio", "station", "fm", "broadcast") or previous[-1:].isdigit()
        )
    if low == "led":
        return given or following.lower() in ("tv", "light", "lights", "display", "screen", "lamp")
    if low in ("act", "sat"):
        bare = following == "" or following in _JOINING
        return following.lower() in _TESTS or (previous == "the" and bare)
    return given


def tokens_shown(text: str) -> str:
    """The text with the words that rules have said brought back."""
    return re.sub(r"(?<=[a-z])\s+'s\b", "'s", show(text))
