"""The states behind the two letters of American addresses."""

import re

from mamtra_cli.text.rules import Rule, said

_STATES = """AL alabama,AK alaska,AZ arizona,AR arkansas,CA california,CO colorado,CT connecticut,
DE delaware,DC ^d ^c,FL florida,GA georgia,HI hawaii,ID idaho,IL illinois,IN indiana,IA iowa,
KS kansas,KY kentucky,LA louisiana,ME maine,MD maryland,MA massachusetts,MI michigan,MN minnesota,
MS mississippi,MO missouri,MT montana,NE nebraska,NV nevada,NH new hampshire,NJ new jersey,
NM new mexico,NY new york,NC north carolina,ND north dakota,OH ohio,OK oklahoma,OR oregon,
PA pennsylvania,RI rhode island,SC south carolina,SD south dakota,TN tennessee,TX texas,UT utah,
VT vermont,VA virginia,WA washington,WV west virginia,WI wisconsin,WY wyoming"""
_NAMES = dict(entry.strip().split(" ", 1) for entry in _STATES.replace("\n", " ").split(","))


def state(letters: str) -> str | None:
    """Name a state, `CA` as `california`; `None` for other letters."""
    return _NAMES.get(letters)


def _in_state(match: re.Match[str]) -> str | None:
    name = state(match["state"])
    return None if name is None else f"{match['place']}, {said(name)}"


STATES = (Rule(r"(?P<place>\b[A-Z][a-z]+),\s(?P<state>[A-Z]{2})(?=[\s.,;:!?)]|$)", _in_state, ","),)
