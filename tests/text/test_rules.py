"""Rules of reading: what is said stays said, and patterns wait until a text needs them."""

import re

from mamtra_cli.text.rules import Rule, apply, before, said, show, word_after, word_before


def test_said_words_are_not_read_again() -> None:
    first = Rule(r"\d", lambda m: said("march"), "0")
    second = Rule(r"march", lambda m: "?", "")
    assert show(apply((first, second), "3 march")) == " march  ?"


def test_a_rule_may_leave_a_match_to_later_ones() -> None:
    assert apply((Rule(r"a", lambda m: None), Rule(r"a", lambda m: "b")), "aa") == "bb"


def test_a_pattern_is_compiled_only_for_a_text_that_needs_it() -> None:
    never = Rule("(", lambda m: "", "0#")
    assert apply((never,), "no figures") == "no figures"


def test_neighbours_are_seen_through_said_words() -> None:
    match = re.search("x", f"two{said('red cats')}x, y")
    assert match is not None
    assert before(match) == ["two", "red", "cats"]
    assert (word_before(match), word_after(match)) == ("cats", "")
