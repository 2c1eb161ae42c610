"""Markdown, HTML and list marks: what a page shows is read, what makes it look so is not.

Works on a piece of text as it was written; unbalanced marks are taken away too, because a
sentence is often cut out of its mark.
"""

import re

from mamtra_cli.text.rules import compiled

_TAGS = (
    "a|abbr|article|aside|b|big|blockquote|body|br|button|caption|center|cite|code|col|dd|del|"
    "details|div|dl|dt|em|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|"
    "img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|option|p|pre|q|s|samp|section|select|"
    "small|source|span|strong|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|"
    "var|video|wbr"
)
_BLOCK = "p|br|div|li|tr|td|th|h[1-6]|hr|blockquote|section|article|table|ul|ol|title|dd|dt"
_ITEM = (
    r"(?:[-*+•]\s+(?:\[[ xX]?\]\s+)?|\(?([a-zA-Z]|\d{1,2}|i{2,3}|iv|vi{1,3})\)\s+"
    r"|(\d{1,3}|(?:[a-i]|i{2,3}|iv|vi{0,3})(?=\.\s+\D))\.\s+(?=\S))"
)
LIST_MARK = rf"[ \t]*(?:>\s*)*(?:{_ITEM}|#{{1,6}}\s+|[•·‣◦▪●]\s*)"


def plain(text: str) -> str:
    """Take away the marks of Markdown and HTML; entities become their characters."""
    if "<" in text:
        text = compiled(r"(?s)<!--.*?-->").sub(" ", text)
        text = compiled(rf"(?i)</?(?:{_BLOCK})(?:\s[^<>]*)?/?>").sub("\n", text)
        text = compiled(rf"(?i)</?(?:{_TAGS})(?:\s[^<>]*)?/?>").sub("", text)
    if "&" in text and ";" in text:
        text = compiled(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,30});").sub(_entity, text)
    if any(sign in text for sign in "[]`~|#>*_=•-+)0123456789."):
        text = "\n".join(_line(line) for line in text.split("\n"))
    return text


def _entity(match: re.Match[str]) -> str:
    import html  # its table of two thousand names is needed by few texts

    text = html.unescape(match[0])
    return match[0] if text == match[0] else text


def _line(line: str) -> str:
    border = "-" in line and "|" in line and not line.strip(" \t|:+-")
    if border or compiled(r"\s*(?:```|~~~)\w*\s*|\s*(?:[-*_=][ \t]*){3,}").fullmatch(line):
        return ""  # a fence, a rule, the border of a table
    line = compiled(r"^\s*(?:>(?=[\sA-Za-z\"'*_>#]|$)\s*)+").sub("", line)
    line = compiled(r"^\s*#{1,6}\s+(.*?)\s*#*$").sub(r"\1", line)
    line = compiled(rf"^\s*{_ITEM}").sub(_mark, line)
    if line.count("|") >= 2 and line.strip().startswith("|"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        line = ", ".join(cell for cell in cells if cell)
    line = compiled(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s\"[^\"]*\")?\)|\[[^\]]*\])").sub(
        r"\1", line
    )
    line = compiled(r"~~(?=\S)|(?<=\S)~~").sub("", line)
    line = compiled(r"`+").sub("", line)
    # Emphasis: marks at the edges of words, balanced or cut apart.
    line = compiled(r"(?<![\w*])(\*{1,3}|_{1,3})(?=[^\s*_])(?![)])").sub("", line)
    return compiled(r"(?<=[^\s*_(])(\*{1,3}|_{1,3})(?![\w*(])").sub("", line)


def _mark(match: re.Match[str]) -> str:
    mark = match[1] or match[2]
    if not mark:
        return ""
    return f"{mark.upper() if mark.isalpha() else mark}, "
