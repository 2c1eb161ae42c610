"""Built-in English sentences: a template grammar, seeded, free of rights.

`closed(seed, n)` draws from a fixed vocabulary; `open_vocabulary(seed, n, lexicon)` fills three
quarters of the content words from a word list; `word_strings` are one to six random words. No
sentence is stored: a seed is the corpus. `mini` was trained on other seeds of the same grammar.
"""

import random
from collections.abc import Iterator, Sequence


def _words(text: str) -> list[str]:
    return text.split()


PEOPLE = _words("""
anna ben carla david emma frank grace henry irene jack karen leo maria nathan olivia
peter rachel simon tina victor wendy adam betty charles diana eric helen george laura martin
nora oscar paula robert sarah thomas alice walter julia kevin""")
PLACES = _words("""
london paris boston chicago dublin berlin rome madrid texas canada mexico denver
oslo vienna egypt india japan kenya norway florida""")
NOUNS = _words("""
dog cat horse bird fish garden river mountain house window door table chair kitchen
engine train station bridge road street market shop school teacher student doctor nurse farmer
driver pilot sailor captain soldier artist painter singer writer reader letter book paper
pencil picture mirror clock watch phone computer camera radio music song story poem lesson
question answer problem number color shape circle square corner line point island ocean beach
forest tree flower leaf branch root seed fruit apple orange lemon cherry banana bread butter
cheese sugar coffee water milk juice dinner breakfast morning evening summer winter autumn
spring weather storm cloud rain snow wind sun moon star planet rocket machine hammer button
bottle basket blanket pillow jacket shirt shoe hat glove ring coin dollar price ticket
passenger journey village city country border language word sentence page chapter title
office manager worker meeting project report message signal light shadow candle fire smoke
stone metal silver gold copper glass wood plastic rope knife fork spoon plate cup bowl
child baby brother sister mother father uncle cousin friend neighbor stranger guest king
queen castle tower wall roof floor ceiling stairs elevator basement attic""")
PLURALS = _words("""
dogs horses birds gardens rivers mountains houses windows doors tables chairs
engines trains stations bridges roads markets schools teachers students doctors farmers pilots
letters books pictures clocks phones songs stories lessons questions answers problems numbers
islands forests trees flowers apples oranges lemons storms clouds stars planets machines bottles
baskets jackets shirts tickets villages cities words pages offices workers reports messages
lights shadows stones children brothers sisters friends neighbors guests castles towers""")
ADJECTIVES = _words("""
old new young small large little big quiet loud bright dark heavy light warm cold
cool dry wet clean dirty soft hard smooth rough sharp round flat narrow wide deep shallow high
low fast slow early late strong weak happy sad angry calm gentle brave clever curious famous
foreign golden green red blue yellow purple white black brown gray empty full broken modern
simple strange wonderful terrible important local public private perfect""")
VERBS = _words("""
found lost opened closed painted washed carried followed watched noticed remembered
forgot described ordered bought sold moved pushed pulled lifted dropped cleaned repaired built
designed measured counted borrowed returned visited crossed passed reached touched held kept
covered filled emptied shared hid showed wanted needed liked loved feared admired""")
BASE_VERBS = _words("""
find lose open close paint wash carry follow watch notice remember forget
describe order buy sell move push pull lift drop clean repair build design measure count borrow
return visit cross pass reach touch hold keep cover fill share hide show""")
MOVES = _words("""
walked ran drove sailed traveled hurried returned wandered climbed rode""")
ADVERBS = _words("""
quickly slowly quietly carefully suddenly always never often sometimes again today
yesterday finally almost together alone early outside nearly politely""")
PREPOSITIONS = _words("""
in on under near behind beside above below between against around inside across
beyond toward without""")
NUMBERS = _words("""
one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty
ninety""")
ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth last next")
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
MONTHS = _words("""
january february march april may june july august september october november
december""")
DETERMINERS = ["the", "the", "the", "a", "this", "that", "my", "your", "his", "her", "our", "their"]
PLURAL_DETERMINERS = ["the", "these", "those", "some", "many", "most", "my", "your", "all"]
CONJUNCTIONS = ["and", "but", "because", "while", "so", "when", "before", "after", "although"]


class _Drawer:
    """Draws words; three quarters of the content words come from `lexicon` when it is given."""

    def __init__(self, seed: int, lexicon: Sequence[str] = ()) -> None:
        self.random = random.Random(seed)
        self.lexicon = lexicon

    def content(self, words: Sequence[str]) -> str:
        if self.lexicon and self.random.random() < 0.75:
            return self.random.choice(self.lexicon)
        return self.random.choice(words)

    def pick(self, words: Sequence[str]) -> str:
        return self.random.choice(words)

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def noun_phrase(self) -> str:
        if self.chance(0.12):
            return self.pick(PEOPLE)
        if self.chance(0.25):
            words = [self.pick(PLURAL_DETERMINERS)]
            if self.chance(0.3):
                words = [self.pick(NUMBERS)] if self.chance(0.6) else ["the", self.pick(NUMBERS)]
            if self.chance(0.4):
                words.append(self.content(ADJECTIVES))
            words.append(self.content(PLURALS))
            return " ".join(words)
        words = [self.pick(DETERMINERS)]
        if self.chance(0.1):
            words[0] = "the"
            words.append(self.pick(ORDINALS))
        if self.chance(0.45):
            words.append(self.content(ADJECTIVES))
        words.append(self.content(NOUNS))
        if words[0] == "a" and words[1][0] in "aeiou":
            words[0] = "an"
        return " ".join(words)

    def place(self) -> str:
        if self.chance(0.2):
            return "in " + self.pick(PLACES)
        return f"{self.pick(PREPOSITIONS)} {self.noun_phrase()}"

    def time(self) -> str:
        kind = self.random.randrange(4)
        if kind == 0:
            return "on " + self.pick(DAYS)
        if kind == 1:
            return "in " + self.pick(MONTHS)
        if kind == 2:
            return f"at {self.pick(NUMBERS[:12])} o'clock"
        return self.pick(["this morning", "last night", "tomorrow", "every day", "last week"])

    def clause(self) -> str:
        kind = self.random.randrange(7)
        subject = self.noun_phrase()
        if kind <= 2:
            words = [subject, self.content(VERBS), self.noun_phrase()]
        elif kind == 3:
            words = [subject, self.pick(MOVES), self.place()]
        elif kind == 4:
            copula = self.pick(["was", "is", "seems", "looks", "became"])
            words = [subject, copula, self.pick(["very", "not", "quite", "so"])]
            words.append(self.content(ADJECTIVES))
        elif kind == 5:
            words = [self.pick(["i", "we", "you", "they", "she", "he"])]
            words += [self.pick(["can", "will", "should", "could", "did not", "may", "must"])]
            words += [self.content(BASE_VERBS), self.noun_phrase()]
        else:
            words = ["there", self.pick(["was", "is"]), self.noun_phrase(), self.place()]
        if self.chance(0.2):
            words.append(self.pick(ADVERBS))
        if self.chance(0.2):
            words.append(self.place())
        if self.chance(0.15):
            words.append(self.time())
        return " ".join(words)

    def sentence(self) -> str:
        kind = self.random.randrange(10)
        if kind == 0:
            text = f"{self.pick(['did', 'can', 'will', 'should'])} {self.noun_phrase()} "
            return text + f"{self.content(BASE_VERBS)} {self.noun_phrase()}?"
        if kind == 1:
            opener = self.pick(["where is", "who saw", "what about", "how old is", "why is"])
            end = " " + self.place() if self.chance(0.4) else ""
            return f"{opener} {self.noun_phrase()}{end}?"
        if kind == 2:
            comma = "," if self.chance(0.7) else ""
            return f"{self.clause()}{comma} {self.pick(CONJUNCTIONS)} {self.clause()}."
        if kind == 3:
            return f"{self.time()}, {self.clause()}."
        return self.clause() + "."


def _distinct(draw: Iterator[str], n: int, longest: int = 18) -> list[str]:
    seen: dict[str, None] = {}
    for text in draw:
        if 3 <= len(text.split()) <= longest:
            seen.setdefault(text[0].upper() + text[1:])
        if len(seen) == n:
            break
    return list(seen)


def closed(seed: int, n: int) -> list[str]:
    """Return n distinct sentences of the fixed vocabulary."""
    drawer = _Drawer(seed)
    return _distinct(iter(drawer.sentence, None), n)


def open_vocabulary(seed: int, n: int, lexicon: Sequence[str]) -> list[str]:
    """Return n distinct sentences with three quarters of the content words from `lexicon`."""
    drawer = _Drawer(seed, lexicon)
    return _distinct(iter(drawer.sentence, None), n)


def word_strings(seed: int, n: int, lexicon: Sequence[str]) -> list[str]:
    """Return n strings of one to six random words of `lexicon`."""
    rng = random.Random(seed)
    texts = []
    for _ in range(n):
        words = [rng.choice(lexicon) for _ in range(rng.randint(1, 6))]
        texts.append(" ".join(words).capitalize() + rng.choice("...?"))
    return texts


def reading(text: str) -> list[str]:
    """Return the words of a text as a recogniser would write them."""
    kept = (letter if letter.isalnum() or letter == "'" else " " for letter in text.lower())
    return "".join(kept).split()
