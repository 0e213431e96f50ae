"""Patterns as a person would write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from autolabel.patterns import FUNCTION_CLASSES, Pattern, english, parse
from autolabel.patterns.segment import is_one_word
from autolabel.patterns.wordclasses import name_of
from tests.patterns.test_syntax import patterns


@pytest.mark.parametrize(("clause", "text"), [
    ('{"on":{"word":["timeout","monday","day"]}}', "words: timeout, monday, day"),
    ('{"before":[{"word":["he","she","they"]}],"within":1}', "the word after a personal pronoun (he, she, they)"),
    ('{"before":[{"word":["he","she","they","banana"]}],"within":1}', "the word after a personal pronoun (he, she, they, ...)"),
    ('{"before":[{"word":["apple","banana"]}],"within":1}', "the word after 'apple' or 'banana'"),
    ('{"after":[{"word":["of"]}],"within":1}', "the word before 'of'"),
    ('{"on":{"class":"digit"}}', "numbers"), ('{"on":{"class":"punct"}}', "punctuation"), ('{"on":{"class":"cyrillic"}}', "words in Cyrillic script"),
    ('{"on":{"like":"sports","above":0.4}}', "words like 'sports'"), ('{"on":{"word":["bank"]}}', "the word 'bank'"),
    ('{"on":{"word":["bank"]},"near":[{"word":["river","water"]}]}', "'bank' near 'river' or 'water'"),
    ('{"on":{"word":["bank"]},"unless":{"word":["money"]}}', "'bank', but not near 'money'"),
    ('{"on":{"word":["cup"]},"before":[{"class":"digit"}],"after":[{"word":["of"]}],"within":1}', "'cup' after a number and before 'of'"),
    ('{"on":{"word":["he","she","it"]}}', "personal pronouns (he, she, it)"), ('{"on":{"class":"digit"},"strength":0.3}', "weakly: numbers"),
    ('{"on":{"word":["court"]},"near":[{"about":"law","above":0.3}],"within":"excerpt"}', "'court' in text about law"),
    ('{"on":[{"class":"title"},{"word":["may"]}]}', "'may' as capitalised words"), ("{}", "every token"),
])
def test_labels(clause: str, text: str) -> None:
    assert english(parse('{"any":[' + clause + ']}')) == text


def test_a_topic_is_said_where_it_is_known() -> None:
    p = parse('{"any":[{"on":{"word":["timeout","monday","day"]}}]}')
    assert english(p, topic="time spans") == "words for time spans: timeout, monday, day"
    assert english(parse('{"any":[{"on":{"concept":"a.n"}}]}'), concepts=lambda name: "animals") == "words for animals"


@settings(max_examples=80, deadline=None)
@given(patterns)
def test_every_pattern_can_be_said_in_one_short_line(p: Pattern) -> None:
    text = english(p)
    assert text and len(text) <= 130 and len(text.splitlines()) == 1


def test_function_classes_are_words() -> None:
    for name, members in FUNCTION_CLASSES.items():
        assert len(members) >= 3 and all(w == w.casefold() and is_one_word(w) for w in members), name
        assert name_of(members) == name
    assert name_of(frozenset(["he", "banana", "apple"])) is None and name_of(frozenset(["he"])) is None
