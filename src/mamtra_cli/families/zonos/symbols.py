"""What the model reads: 189 rows of phone symbols and 109 language codes, in published order.

Data alone; how a text becomes phones is in `phones.py`. The tables are those of Zyphra/Zonos,
zonos/conditioning.py: one row a character, and the apostrophe has two, of which the first is dead.
"""

PAD, UNKNOWN, BEGIN, END = range(4)
PUNCTUATION = ';:,.!?¡¿—…"«»“”() *~-/\\&'
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
IPA = (
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃ"
    "ˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'\u0329'ᵻ"
)
ROWS = {symbol: row for row, symbol in enumerate(PUNCTUATION + LETTERS + IPA, start=4)}
TABLE_ROWS = 4 + len(PUNCTUATION + LETTERS + IPA)

LANGUAGES = tuple(
    "af am an ar as az ba bg bn bpy bs ca cmn cs cy da de el en-029 en-gb en-gb-scotland "
    "en-gb-x-gbclan en-gb-x-gbcwmd en-gb-x-rp en-us eo es es-419 et eu fa fa-latn fi fr-be fr-ch "
    "fr-fr ga gd gn grc gu hak hi hr ht hu hy hyw ia id is it ja jbo ka kk kl kn ko kok ku ky la "
    "lfn lt lv mi mk ml mr ms mt my nb nci ne nl om or pa pap pl pt pt-br py quc ro ru ru-lv sd "
    "shn si sk sl sq sr sv sw ta te tn tr tt ur uz vi vi-vn-x-central vi-vn-x-south yue".split()
)


def phone_ids(phones: str) -> list[int]:
    """Rows of a phone string, one a character, between begin and end."""
    return [BEGIN, *(ROWS.get(symbol, UNKNOWN) for symbol in phones), END]
