"""Reading, checking and writing patterns."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import PatternError
from autolabel.patterns import Atom, Clause, Pattern, classes, dump, n_words, notes, parse, requires, syntax
from autolabel.patterns.reader import MAX_BYTES, read
from autolabel.patterns.segment import is_one_word

words = st.one_of(st.text("abcxyzABC0189éßЖяשل\u0301", min_size=1, max_size=6), st.sampled_from(["don't", "日", "👩‍👩‍👧", ".", '"', "\\", "🇫🇷"])).filter(is_one_word)
share = st.floats(min_value=1e-300, max_value=1.0)
atom = st.one_of(
    st.builds(Atom, st.just("word"), st.lists(words, min_size=1, max_size=5).map(tuple), st.booleans()),
    st.builds(Atom, st.just("stem"), st.lists(words, min_size=1, max_size=5).map(tuple)),
    st.builds(Atom, st.just("token"), st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5), min_size=1, max_size=5).map(tuple)),
    st.builds(Atom, st.just("class"), st.sampled_from(classes.CLASSES).map(lambda c: (c,))),
    st.builds(Atom, st.just("regex"), st.sampled_from([r"\pL+", "a|b", r"\"x\\"]).map(lambda r: (r,))),
    st.builds(Atom, st.just("concept"), words.map(lambda w: (w,))),
    st.builds(Atom, st.sampled_from(["like", "about"]), words.map(lambda w: (w,)), st.just(False), share),
)
atoms = st.lists(atom, max_size=3).map(tuple)
patterns = st.builds(Pattern, st.lists(st.builds(
    Clause, atoms, atoms, atoms, atoms, st.one_of(st.integers(1, 8), st.just("excerpt")), st.one_of(st.none(), atom), share,
), min_size=1, max_size=4).map(tuple))


@settings(max_examples=100, deadline=None)
@given(patterns)
def test_what_is_written_is_read_back(p: Pattern) -> None:
    text = dump(p)
    assert parse(text) == p and dump(parse(text)) == text
    assert parse(json.dumps(json.loads(text), indent=3)) == p


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers(-10**20, 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"])),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3), max_leaves=8),
       st.sampled_from([None, 1]))
def test_the_reader_reads_json(value: object, indent: int | None) -> None:
    def plain(node: object) -> object:
        v = node.value  # type: ignore[attr-defined]
        return {k: plain(n) for k, n in v.items()} if isinstance(v, dict) else [plain(n) for n in v] if isinstance(v, list) else v
    assert plain(read(json.dumps(value, indent=indent))) == value


@settings(max_examples=200, deadline=None)
@given(patterns, st.data())
def test_the_fast_reader_takes_what_was_written_and_nothing_that_is_wrong(p: Pattern, data: st.DataObject) -> None:
    assert syntax._canonical(dump(p)) == p
    value = json.loads(dump(p))
    root = place = {"": value}
    key = ""
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(st.sampled_from([None, True, 0, 1, 9, 0.5, 1.0, 1.5, "", "a", "a b", "digit", "excerpt", "\ud800", "(", "x" * 201, [], ["a"], {}, {"word": ["a"]},
                                            {"word": "a"}, {"word": []}, {"class": ["digit"]}, {"like": "a"}, {"word": ["a"], "above": 0.5}]))
    text = json.dumps(root[""], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    fast = syntax._canonical(text)
    if fast is not None:
        assert fast == syntax._Parser(text).pattern()


@settings(max_examples=120, deadline=None)
@given(patterns, st.data())
def test_a_damaged_text_is_refused_or_read_never_anything_else(p: Pattern, data: st.DataObject) -> None:
    text = dump(p)
    a = data.draw(st.integers(0, len(text)))
    b = data.draw(st.integers(a, min(len(text), a + 3)))
    damaged = text[:a] + data.draw(st.sampled_from(["", "{", "]", '"', ",", "null", "x", "\\", "-1", "\n"])) + text[b:]
    try:
        parse(damaged)
    except PatternError as error:
        assert 0 <= error.position <= len(damaged)
        before = damaged[:error.position].split("\n")
        assert (error.line, error.column) == (len(before), len(before[-1]) + 1)


# `^` stands before the character that the error must point at
@pytest.mark.parametrize(("source", "message"), [
    ('^', "ends"), ('  ^', "ends"), ('^x', "does not begin"), ('^[]', "an object"), ('^{}', '"any" is missing'), ('{"any":[{}]} ^x', "follows"),
    ('{"any":^[]}', "empty"), ('{"any":^3}', "a list"), ('{"any":[^3]}', "an object, not a number"), ('{^"all":[]}', "knows any"),
    ('{"any":[{}],^"any":[{}]}', "second time"), ('{"any":[{^"of":1}]}', "on, before, after, near, within, unless, strength"),
    ('{"any":[{"on":^"x"}]}', "an object, not a string"), ('{"any":[{"on":^[]}]}', "empty"), ('{"any":[{"on":^{}}]}', "one of word, stem"),
    ('{"any":[{"on":{^"wrod":["a"]}}]}', "knows word, stem"), ('{"any":[{"on":{"word":^[]}}]}', "empty"), ('{"any":[{"on":{"word":^"a"}}]}', "a list"),
    ('{"any":[{"on":{"word":["a",^3]}}]}', "strings, not a number"), ('{"any":[{"on":{"word":["a",^""]}}]}', "empty string"),
    ('{"any":[{"on":{"word":[^"new york"]}}]}', "2 words"), ('{"any":[{"on":{"word":["a"],^"stem":["b"]}}]}', "one thing"),
    ('{"any":[{"on":{"stem":["a"],^"case":true}}]}', "case belongs to word"), ('{"any":[{"on":{"word":["a"],"case":^1}}]}', "true or false"),
    ('{"any":[{"on":{"word":["a"],^"above":0.5}}]}', "above belongs"), ('{"any":[{"on":^{"like":"a"}}]}', "needs above"),
    ('{"any":[{"on":{"like":"a","above":^0}}]}', "above 0"), ('{"any":[{"on":{"like":"a","above":^1.5}}]}', "at most 1"),
    ('{"any":[{"on":{"like":"a","above":^true}}]}', "a number"), ('{"any":[{"on":{"class":^"digits"}}]}', "any, word, digit"),
    ('{"any":[{"on":{"regex":^"(?=a)"}}]}', "look-around"), ('{"any":[{"on":{"regex":^"("}}]}', r"\\pL"), ('{"any":[{"on":{"regex":^"(a{1,30}){1,30}"}}]}', "instructions"),
    ('{"any":[{"on":{"regex":^""}}]}', "empty"), ('{"any":[{"within":^9}]}', "1 to 8"), ('{"any":[{"within":^0}]}', "1 to 8"), ('{"any":[{"within":^2.0}]}', "1 to 8"),
    ('{"any":[{"within":^"text"}]}', "excerpt"), ('{"any":[{"within":^true}]}', "1 to 8"), ('{"any":[{"strength":^0}]}', "strength"), ('{"any":[{"strength":^"1"}]}', "strength"),
    ('{"any":[{"strength":^1e999}]}', "strength"), ('{"any":[{"strength":^NaN}]}', "does not begin"), ('{"any":[{"before":^{"word":["a"]}}]}', "before is a list"),
    ('{"any":[{"unless":^[{"word":["a"]}]}]}', "an object"), ('{"any":[{"near":[{"word":["a"]},^4]}]}', "an object"), ('{"any":[{}^', "comma or ]"), ('{"any" ^[{}]}', "colon"),
    ('{"any":[{},^]}', "does not begin"), ("{^'any':[]}", "double quotes"), ('{"any":[[[[[[[^[1]]]]]]]]}', "deep"),
    ('{\n "any": [\n  {"on": {"class": ^"x"}}]}', "no class"), ('{"any":[{"on":{"word":[^"\\ud800"]}}]}', "surrogate"), ('{"any":[{"on":{"word":["a^\n"]}}]}', "control"),
    ('{"any":[{"strength":^01}]}', "does not begin"), ('{"any":[{"on":{"word":[' + '"a",' * 2000 + '^"a"]}}]}', "2,000"), ('{"any":[' + "{}," * 64 + "^{}]}", "64"),
    ('{"any":[{"on":{"word":[^"' + "a" * 201 + '"]}}]}', "201"), ('^{"any":[{}]}' + " " * MAX_BYTES, "65,536 bytes"),
], ids=lambda value: value[:40])
def test_errors_point_at_the_offending_value(source: str, message: str) -> None:
    text, position = source.replace("^", "", 1), source.index("^")
    with pytest.raises(PatternError, match=message) as caught:
        parse(text)
    assert caught.value.position == position
    assert caught.value.line == text.count("\n", 0, position) + 1
    assert caught.value.column == position - text.rfind("\n", 0, position)


def test_the_total_of_terms_is_capped() -> None:
    clause = '{"on":{"word":[' + ",".join(['"a"'] * 1001) + "]}}"
    with pytest.raises(PatternError, match="2,000") as caught:
        parse('{"any":[' + clause + "," + clause + "]}")
    assert caught.value.position == len('{"any":[' + clause + "," + '{"on":{"word":')


def test_defaults_are_filled_in_and_left_out() -> None:
    p = parse('{"any":[{"on":[{"word":["a"],"case":false}],"strength":1.0,"near":[{"class":"digit"}]}]}')
    assert p.any[0] == Clause((Atom("word", ("a",)),), near=(Atom("class", ("digit",)),), within=4)
    assert dump(p) == '{"any":[{"near":[{"class":"digit"}],"on":{"word":["a"]},"within":4}]}'


def test_size_needs_and_notes() -> None:
    p = parse(r'{"any":[{"on":{"word":["a","b"]},"before":[{"stem":["run"]},{"class":"digit"}],"unless":{"concept":"x"}},'
              r'{"on":[{"regex":"\\b\\w+"},{"about":"sport","above":0.3}]}]}')
    assert n_words(p) == 7
    assert requires(p) == {"hierarchy", "embedder"} and requires(parse('{"any":[{}]}')) == set()
    assert any(r"\pL" in n for n in notes(p)) and any("every excerpt" in n for n in notes(p)) and notes(parse('{"any":[{}]}')) == []
