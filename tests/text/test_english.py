"""English text as spoken words: what the trades give together."""

import pytest

from mamtra_cli.text.english import normalise

KNOWN = {
    "the", "nasa", "not", "saint", "louis", "mrs", "example", "com", "john", "doe", "a", "i", "at",
    "us", "cat", "dot", "world", "war", "usa",
}  # fmt: skip


def said(text: str) -> str:
    return normalise(text, KNOWN.__contains__)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        pytest.param("3 and 21", "three and twenty one .", id="cardinals"),
        pytest.param("1,234,567", "one million two hundred thirty four thousand five hundred "
                     "sixty seven .", id="thousands"),
        pytest.param("the 21st, 2nd", "the twenty first , second .", id="ordinals"),
        pytest.param("in 1999, 1905, 1066, 1900, 2005 and 2024",
                     "in nineteen ninety nine , nineteen oh five , ten sixty six , nineteen "
                     "hundred , two thousand five and twenty twenty four .", id="years"),
        pytest.param("3.14 and .5 and 007", "three point one four and zero point five and "
                     "zero zero seven .", id="decimals-and-leading-zeros"),
        pytest.param("$3.50, $1, £20, €5.99, 50¢, $0.99",
                     "three dollars and fifty cents , one dollar , twenty pounds , five euros "
                     "and ninety nine cents , fifty cents , ninety nine cents .", id="money"),
        pytest.param("$2.5 million", "two point five million dollars .", id="large-money"),
        pytest.param("12.5%", "twelve point five percent .", id="percent"),
        pytest.param("10:30 am, 17:05, 6pm, 9 a.m. sharp",
                     "ten thirty ^a ^m , seventeen oh five , six ^p ^m , nine ^a ^m sharp .",
                     id="times"),
        pytest.param("Jan 5, 2024", "january fifth , twenty twenty four .", id="date-month-first"),
        pytest.param("5 March 1984", "the fifth of march , nineteen eighty four .",
        id="date-day-first"),
        pytest.param("2024-03-15 3/15/2024", "march fifteenth , twenty twenty four march "
                     "fifteenth , twenty twenty four .", id="date-numeric"),
        pytest.param("555-1234", "five five five , one two three four .", id="telephone"),
        pytest.param("the 1990s and '80s", "the nineteen nineties and eighties .", id="decades"),
        pytest.param("1/2 and 3 3/4 and 24/7", "one half and three and three quarters and "
                     "twenty four seven .", id="fractions"),
        pytest.param("3-2 and 1990–1995", "three to two and nineteen ninety to nineteen ninety "
                     "five .", id="ranges"),
        pytest.param("5 kg, 1 km, -5°C, 60 mph", "five kilograms , one kilometer , minus five "
                     "degrees celsius , sixty miles per hour .", id="units"),
        pytest.param("2 in a row", "two in a row .", id="unit-that-is-a-word"),
        pytest.param("98/100, 9am-5pm, 10 - 2 = 8", "ninety eight out of one hundred , nine ^a ^m "
                     "to five ^p ^m , ten minus two equals eight .", id="out-of-to-minus"),
        pytest.param("MP3s and a 3-year-old", "^m ^p threes and a three year old .",
                     id="numbers-in-names"),
        pytest.param("-$3, $-3 and -€0.50", "minus three dollars , minus three dollars and minus "
                     "fifty cents .", id="debt"),
        pytest.param("$20-$30 or $20-30", "twenty dollars to thirty dollars or twenty to thirty "
                     "dollars .", id="from-price-to-price"),
        pytest.param("3:1, 16:9 and 1:100", "three to one , sixteen to nine and one to one "
                     "hundred .", id="ratios"),
        pytest.param("John 3:16, 9:30-17:05", "john three sixteen , nine thirty to seventeen oh "
                     "five .", id="clocks-are-no-ratios"),
        pytest.param("1.5e-3 and 6E23", "one point five times ten to the minus three and six "
                     "times ten to the twenty three .", id="powers-of-ten"),
        pytest.param("2/3rds and 3/4ths", "two thirds and three quarters .", id="ranked-fraction"),
        pytest.param("5G but 5g", "five ^g but five grams .", id="unit-or-letter"),
        pytest.param("v2.0.1", "v two point zero point one .", id="version"),
        pytest.param("10000000000000000000", "one" + " zero" * 19 + " .", id="huge-digit-by-digit"),
    ],
)  # fmt: skip
def test_numbers_are_read(text: str, spoken: str) -> None:
    assert said(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        pytest.param("Dr. Smith met Mr. Jones on Elm St. in St. Louis.",
                     "doctor smith met mister jones on elm street in saint louis .", id="titles"),
        pytest.param("cats, etc. are, e.g. pets", "cats , et cetera are , for example , pets .",
                     id="latin"),
        pytest.param("NASA and the FBI", "nasa and the ^f ^b ^i .", id="acronyms"),
        pytest.param("the U.S. Army", "the ^u ^s army .", id="dotted-initials"),
        pytest.param("AT&T", "^a ^t and ^t .", id="ampersand-inside"),
        pytest.param("NOT NOW", "not ^n ^o ^w .", id="capitals-word-by-word"),
        pytest.param("plan B, a cat, an A.", "plan ^b , a cat , an ^a .", id="letters"),
        pytest.param("J. K. Doe took vitamin C. Then", "^j ^k doe took vitamin ^c . then .",
                     id="initials-and-letters"),
        pytest.param("CPUs", "^c ^p ^u's .", id="plural-acronym"),
        pytest.param("john.doe@example.com", "john dot doe at example dot com .", id="email"),
        pytest.param("https://www.example.com/a.", "^w ^w ^w dot example dot com slash ^a .",
                     id="url"),
        pytest.param("World War I, World War II, Henry VIII",
                     "world war one , world war two , henry the eighth .", id="roman"),
        pytest.param("Elizabeth II's dog, Super Bowl LVIII, size XL",
                     "elizabeth the second's dog , super bowl fifty eight , size ^x ^l .",
                     id="roman-with-s-and-fifty"),
        pytest.param("x^2 but ^", "x squared but caret .", id="powers"),
        pytest.param("a + b = 50% & c", "a plus b equals fifty percent and c .", id="symbols"),
        pytest.param("well-known - yes—no", "well known , yes , no .", id="hyphens-and-dashes"),
        pytest.param("“Curly” ‘quotes’ don’t", "curly , quotes don't .", id="curly-quotes"),
        pytest.param("café naïve Æsop ﬁne", "cafe naive aesop fine .", id="accents"),
        pytest.param("**bold** _it_", "bold it .", id="emphasis"),
        pytest.param("Is it? No! Yes...", "is it ? no . yes .", id="sentence-ends"),
        pytest.param("zero\u200bwidth\tand\nlines", "zerowidth and lines .", id="spaces"),
    ],
)  # fmt: skip
def test_words_are_read(text: str, spoken: str) -> None:
    assert said(text) == spoken


@pytest.mark.parametrize("text", ["", "  \n", "...", "?!", "--", "''"], ids=repr)
def test_text_without_words_is_empty(text: str) -> None:
    assert said(text) == ""
