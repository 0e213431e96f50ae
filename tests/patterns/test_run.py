"""The fast runner against a slow, literal reading of the definition, written independently."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autolabel.errors import SetupError
from autolabel.excerpts import Excerpts
from autolabel.hierarchy import Hierarchy
from autolabel.patterns import Atom, Clause, Pattern, classes, dump, parse
from autolabel.patterns.run import run
from autolabel.patterns.segment import stem
from autolabel.patterns.words import WordTable

HIERARCHY = Hierarchy.parse("thing\t\tthings\t\nanimal\tthing\tanimals\tcat|dog|polar bear\nplace\tthing\tplaces\tnew york|river\n")


class Letters:
    """A stand-in embedding model: counts of letters, so that cosines are known by hand."""

    hash = "letters"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed(self, texts: list[str]) -> np.ndarray:
        self.seen += texts
        out = np.array([[text.count(chr(97 + i)) + 0.01 for i in range(26)] for text in texts], np.float32)
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def build(texts: list[str], tokens: list[list[tuple[int, int, int]]]) -> Excerpts:
    """tokens[i]: (id, from, to) of text i."""
    n = range(len(texts))
    part = [np.array(t, np.int64).reshape(-1, 3) for t in tokens]
    return Excerpts.build(n, n, n, n, [p[:, 0] for p in part], [p[:, 1] for p in part], [p[:, 2] for p in part], texts)


def by_pieces(texts: list[str], size: int = 3) -> tuple[Excerpts, list[str]]:
    """Tokens of at most `size` characters, words cut like WordPiece, white space left out."""
    vocabulary: dict[str, int] = {}
    rows = []
    for text in texts:
        row = []
        for m in regex.finditer(r"\w+|[^\w\s]", text):
            for a in range(m.start(), m.end(), size):
                b = min(a + size, m.end())
                piece = ("" if a == m.start() else "##") + text[a:b]
                row.append((vocabulary.setdefault(piece, len(vocabulary)), a, b))
        rows.append(row)
    return build(texts, rows), list(vocabulary)


# ---------------------------------------------------------------- the definition, read literally, one token at a time


def uax_words(text: str) -> list[tuple[int, int]]:
    cuts = [m.start() for m in regex.finditer(r"(?V1)(?w)\b", text)]
    return [(a, b) for a, b in itertools.pairwise(cuts) if not text[a:b].isspace()]


class Literal:
    def __init__(self, excerpts: Excerpts, vocabulary: list[str]) -> None:
        self.x, self.vocabulary = excerpts, vocabulary

    def c(self, pattern: Pattern) -> np.ndarray:
        out = np.zeros(self.x.n_tokens)
        for row in range(len(self.x)):
            self.load(row)
            for t in range(len(self.tokens)):
                held = [clause.strength for clause in pattern.any if self.clause(clause, t)]
                out[self.x.offset[row] + t] = max(held, default=0.0)
        return out

    def load(self, row: int) -> None:
        e = self.x.excerpt(row)
        self.text, self.tokens, self.spans = e.text, e.tokens, e.offsets
        self.words = uax_words(e.text)
        self.on_words = [[w for w, (a, b) in enumerate(self.words) if a < te and b > ts] for ts, te in self.spans]
        self.gap = [sum(b <= ts for _, b in self.words) for ts, _ in self.spans]  # words wholly before

    def clause(self, clause: Clause, t: int) -> bool:
        k = len(self.words) + 1 if clause.within == "excerpt" else clause.within
        mine = self.on_words[t]
        first, last = (mine[0], mine[-1]) if mine else (self.gap[t], self.gap[t] - 1)
        before, after = range(first - k, first), range(last + 1, last + 1 + k)

        def in_words(atom: Atom, where: range) -> bool:
            return any(self.at_word(atom, w) for w in where if 0 <= w < len(self.words))

        def beside(atom: Atom, side: str) -> bool:
            if in_words(atom, before if side == "before" else after):
                return True
            # white-space tokens lie between words: they are reached when the words on their far side count as within
            for u, own in enumerate(self.on_words):
                if own or not self.at_token(atom, u):
                    continue
                g = self.gap[u]
                if side == "before" and first - k < g <= first and (mine or g < first):
                    return True
                if side == "after" and last + 1 <= g <= last + k and (mine or g > last + 1):
                    return True
            return False

        def near(atom: Atom) -> bool:
            return beside(atom, "before") or beside(atom, "after")

        return (all(self.at_token(a, t) for a in clause.on)
                and all(beside(a, "before") for a in clause.before)
                and all(beside(a, "after") for a in clause.after)
                and all(near(a) for a in clause.near)
                and not (clause.unless and (self.at_token(clause.unless, t) or near(clause.unless))))

    def at_word(self, atom: Atom, w: int) -> bool:
        a, b = self.words[w]
        word, kind = self.text[a:b], atom.kind
        if kind == "word":
            return word in atom.values if atom.case else word.casefold() in {v.casefold() for v in atom.values}
        if kind == "stem":
            return stem(word.casefold()) in {v.casefold() for v in atom.values} | {stem(v.casefold()) for v in atom.values}
        if kind == "like":
            e = Letters().embed([word.casefold(), atom.values[0].casefold()])
            return bool(np.float32(e[0] @ e[1]) >= atom.above)
        if kind == "concept":
            return w in self.concept(atom.values[0])
        if kind == "class" and atom.values[0] in ("start", "end"):
            return w == (0 if atom.values[0] == "start" else len(self.words) - 1)
        if kind == "class" and atom.values[0] in (*classes.WORDWISE, *classes.SCRIPTS):
            return classes.holds(atom.values[0], [word])[0]
        return any(self.at_token(atom, t) for t in range(len(self.tokens)) if w in self.on_words[t])

    def at_token(self, atom: Atom, t: int) -> bool:
        (a, b), kind, value = self.spans[t], atom.kind, atom.values[0]
        if kind == "token":
            return any(self.vocabulary[self.tokens[t]] in (v, "##" + v) for v in atom.values)
        if kind == "regex":
            found = regex.finditer(value, self.text)  # only patterns that mean the same in both engines
            return any(m.start() < b and m.end() > a and m.end() > m.start() for m in found)
        if kind == "about":
            e = Letters().embed([self.text, value])
            return bool(np.float32(e[0] @ e[1]) >= atom.above)
        if kind == "class" and value == "any":
            return True
        if kind == "class" and value == "space":
            return b > a and self.text[a:b].isspace() and not self.on_words[t]
        return any(self.at_word(atom, w) for w in self.on_words[t])

    def concept(self, name: str) -> set[int]:
        folded = [self.text[a:b].casefold() for a, b in self.words]
        lists = {"animal": [["cat"], ["cats"], ["dog"], ["dogs"], ["polar", "bear"], ["polar", "bears"]],
                 "place": [["new", "york"], ["river"], ["rivers"]]}
        out: set[int] = set()
        for term in lists["animal"] + lists["place"] if name == "thing" else lists[name]:
            for w in range(len(folded)):
                if folded[w:w + len(term)] == term:
                    out |= set(range(w, w + len(term)))
        return out


# ---------------------------------------------------------------- random patterns, random excerpts

WORDS = ["he", "He", "the", "river", "rivers", "bank", "banks", "NASA", "iPhone", "7", "1,000", "polar", "bear", "bears", "new", "York",
         "dogs", "cat", "don't", ".", ",", "?", "日本", "カタカナ", "река", "שלום", "👩‍👩‍👧", "🇫🇷", "e\u0301te", "ß", "STRASSE", "Straße"]
word = st.sampled_from(WORDS)
single = st.sampled_from([w for w in WORDS if w != "日本"] + ["日"])
text = st.lists(st.tuples(word, st.sampled_from([" ", " ", " ", "", "  ", "\n"])), max_size=14).map(lambda p: "".join(a + b for a, b in p))
above = st.sampled_from([0.2, 0.5, 0.9])
atom = st.one_of(
    st.builds(Atom, st.just("word"), st.lists(single, min_size=1, max_size=4).map(tuple), st.booleans()),
    st.builds(Atom, st.just("stem"), st.lists(single, min_size=1, max_size=3).map(tuple)),
    st.builds(Atom, st.just("token"), st.lists(st.sampled_from(["he", "riv", "er", "##er", "s", "7", "."]), min_size=1, max_size=3).map(tuple)),
    st.builds(Atom, st.just("class"), st.sampled_from([("any",), ("word",), ("digit",), ("punct",), ("upper",), ("title",), ("mixed",), ("space",),
                                                       ("emoji",), ("start",), ("end",), ("latin",), ("han",), ("cyrillic",), ("hebrew",)])),
    st.builds(Atom, st.just("regex"), st.sampled_from([("an",), ("e.",), ("[a-c]+",), ("r$",), ("^.",), ("к",), ("s b",), ("x*",), ("👩",)])),
    st.builds(Atom, st.just("concept"), st.sampled_from([("animal",), ("place",), ("thing",)])),
    st.builds(Atom, st.just("like"), st.sampled_from([("bank",), ("River",)]), st.just(False), above),
    st.builds(Atom, st.just("about"), st.sampled_from([("dogs and bears",)]), st.just(False), above),
)
atoms = st.one_of(st.just(()), st.lists(atom, min_size=1, max_size=2).map(tuple))
full_clause = st.builds(Clause, atoms, atoms, atoms, atoms, st.one_of(st.integers(1, 8), st.just("excerpt")), st.one_of(st.none(), atom),
                        st.sampled_from([1.0, 0.5, 0.25]))
word_list = st.builds(Atom, st.just("word"), st.lists(single, min_size=1, max_size=4).map(tuple))
list_in_reach = st.builds(lambda atom, side, within, strength: Clause(**{side: (atom,)}, within=within, strength=strength), word_list,
                          st.sampled_from(["on", "before", "after", "near"]), st.one_of(st.integers(1, 8), st.just("excerpt")), st.sampled_from([1.0, 0.5, 0.25]))
clause = st.one_of(full_clause, list_in_reach)  # those that are one list of words are run another way
pattern = st.builds(Pattern, st.lists(clause, min_size=1, max_size=4).map(tuple))


@st.composite
def tokenised(draw: st.DrawFn) -> tuple[Excerpts, list[str]]:
    """Texts cut anywhere: tokens may cover parts of words, several words, white space, or nothing at all, in any order."""
    texts = draw(st.lists(text, min_size=1, max_size=3))
    vocabulary: dict[str, int] = {"": 0}
    rows = []
    for t in texts:
        cuts = sorted([*draw(st.lists(st.integers(0, len(t)), max_size=12)), 0, len(t)])
        spans = [(a, b) for a, b in itertools.pairwise(cuts) if a < b or draw(st.booleans())]
        spans = draw(st.permutations(spans)) if draw(st.booleans()) else spans
        rows.append([(vocabulary.setdefault(t[a:b], len(vocabulary)), a, b) for a, b in spans])
    return build(texts, rows), list(vocabulary)


def check(excerpts: Excerpts, vocabulary: list[str], patterns: list[Pattern]) -> None:
    s = run(patterns, excerpts, vocabulary=vocabulary, embedder=Letters(), hierarchy=HIERARCHY)
    full = s.csr().toarray()
    literal = Literal(excerpts, vocabulary)
    for i, p in enumerate(patterns):
        want = literal.c(p)
        assert np.array_equal(full[i], want), (dump(p), excerpts.text, full[i], want)
        assert np.array_equal(s.row(i), want)
        free = np.array(s.cells[i].todense())[0] if s.cells.shape[1] else np.zeros(0)
        assert (free >= 0).all() and (s.extra[i].data > 0).all()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(pattern, min_size=1, max_size=4), st.lists(text, min_size=1, max_size=4))
def test_random_patterns_on_pieces(patterns: list[Pattern], texts: list[str]) -> None:
    check(*by_pieces(texts), patterns)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(pattern, min_size=1, max_size=4), tokenised())
def test_random_patterns_on_any_tokens(patterns: list[Pattern], made: tuple[Excerpts, list[str]]) -> None:
    check(*made, patterns)


def test_every_direction_and_distance_with_white_space_tokens() -> None:
    """Small enough to try all: the corners that random patterns seldom meet."""
    text = "he  the. bank\nriver he"
    spans = [(0, 2), (2, 4), (4, 6), (6, 9), (9, 13), (13, 14), (14, 14), (14, 19), (19, 20), (20, 22), (22, 22)]
    excerpts = build([text, "he river"], [[(i, a, b) for i, (a, b) in enumerate(spans)], [(0, 0, 2), (1, 2, 3), (2, 3, 8)]])
    kinds = [Atom("class", ("space",)), Atom("class", ("any",)), Atom("word", ("he",)), Atom("token", ("t5",)), Atom("word", (".",))]
    patterns = [Pattern((Clause(**{side: atom if side == "unless" else (atom,)}, within=k),))  # type: ignore[arg-type]  # keys are fields
                for side in ("before", "after", "near", "unless") for atom in kinds for k in (1, 2, 3, 8, "excerpt")]
    check(excerpts, [f"t{i}" for i in range(len(spans))], patterns)


def strengths(text: str, source: str, size: int = 3) -> list[float]:
    """c of the tokens of one text."""
    excerpts, vocabulary = by_pieces([text], size)
    return run([parse(source)], excerpts, vocabulary=vocabulary, hierarchy=HIERARCHY).row(0).tolist()


def test_a_word_marks_all_its_subword_tokens() -> None:
    assert strengths("Unbelievable news", '{"any":[{"on":{"word":["unbelievable"]}}]}') == [1, 1, 1, 1, 0, 0]


def test_the_word_after_a_pronoun() -> None:
    assert strengths("She ran. They sat, he", '{"any":[{"before":[{"word":["she","they"]}],"within":1}]}') == [0, 1, 0, 0, 0, 1, 0, 0]


def test_distance_counts_words_and_stops_at_the_edge() -> None:
    source = '{"any":[{"on":{"word":["bank"]},"near":[{"word":["river"]}],"within":2}]}'
    excerpts, vocabulary = by_pieces(["river of bank", "river of the bank", "bank", "river"], 20)
    found = run([parse(source)], excerpts, vocabulary=vocabulary).row(0)
    hits = {excerpts.text[e] for e in excerpts.excerpt_of_token[found > 0]}
    assert hits == {"river of bank"}


def test_unless_looks_at_the_token_and_both_sides() -> None:
    source = '{"any":[{"on":{"class":"word"},"unless":{"word":["not"]},"within":1}]}'
    assert strengths("yes not now then", source, 9) == [0, 0, 0, 1]


def test_several_clauses_give_the_largest() -> None:
    source = ('{"any":[{"on":{"word":["a"]},"strength":0.25},{"on":{"word":["a"]},"before":[{"word":["b"]}],"strength":0.75},'
              '{"on":{"word":["a"]},"after":[{"word":["c"]}],"within":1,"strength":0.5}]}')
    assert strengths("a x x x x x b a c", source) == [0.25, 0, 0, 0, 0, 0, 0, 0.75, 0]
    assert strengths("a c", source) == [0.5, 0]


@pytest.mark.parametrize(("name", "text", "want"), [
    ("url", "see https://example.org/a?b=1 now", "https://example.org/a?b=1"), ("email", "to jo.do@mail.example.org today", "jo.do@mail.example.org"),
    ("code", "call read_file(x) now", "read_file("), ("name", "Then Maria met I Ann. Bob left", "Maria Ann"), ("cyrillic", "the река", "река"),
    ("han", "the 日本 x", "日本"), ("hebrew", "the שלום x", "שלום"), ("arabic", "the مرحبا x", "مرحبا"), ("emoji", "ok 👩‍👩‍👧 🇫🇷 x", "👩‍👩‍👧 🇫🇷"),
])
def test_classes(name: str, text: str, want: str) -> None:
    excerpts, vocabulary = by_pieces([text], 40)
    found = np.flatnonzero(run([Pattern((Clause((Atom("class", (name,)),)),))], excerpts, vocabulary=vocabulary).row(0))
    got = "".join(text[excerpts.char_start[t]:excerpts.char_end[t]] for t in found)
    assert got == want.replace(" ", "")


def test_tokens_match_what_they_stand_for() -> None:
    vocabulary = ["Ġthe", "the", "##the", "▁the", "Ġcaf", "Ã©", "x"]
    excerpts = build(["abcdefg"], [[(i, i, i + 1) for i in range(7)]])
    def hits(*values: str) -> list[int]:
        return np.flatnonzero(run([Pattern((Clause((Atom("token", values),)),))], excerpts, vocabulary=vocabulary).row(0)).tolist()
    assert hits("the") == [0, 1, 2, 3]
    assert hits(" the") == [0, 3]
    assert hits("##the") == [2] and hits("Ġthe") == [0]
    assert hits("é") == [5] and hits("nothing") == []


def test_what_is_missing_is_said() -> None:
    excerpts, vocabulary = by_pieces(["a b"])
    for source, what in (('{"on":{"like":"a","above":0.5}}', "embedding"), ('{"on":{"concept":"animal"}}', "hierarchy"),
                         ('{"on":{"word":["zzz"]},"near":[{"about":"a","above":0.5}]}', "embedding")):
        with pytest.raises(SetupError, match=what):
            run([parse('{"any":[' + source + ']}')], excerpts, vocabulary=vocabulary)


def test_each_word_type_is_embedded_once() -> None:
    excerpts, vocabulary = by_pieces(["zyzzy Zyzzy quux", "quux zyzzy"])
    embedder = Letters()
    p = [parse('{"any":[{"on":{"like":"zyz","above":0.9}},{"on":{"like":"qu","above":0.3}}]}')]
    for _ in range(2):
        run(p, excerpts, vocabulary=vocabulary, embedder=embedder)
    assert all(embedder.seen.count(w) <= 1 for w in ("zyzzy", "quux", "zyz")) and "Zyzzy" not in embedder.seen


def test_nothing_to_run_on() -> None:
    empty = build([], [])
    s = run([parse('{"any":[{}]}'), parse('{"any":[{"near":[{"word":["a"]}]}]}')], empty, vocabulary=[])
    assert s.csr().shape == (2, 0)
    excerpts, vocabulary = by_pieces(["a b"])
    assert run([], excerpts, vocabulary=vocabulary).csr().shape == (0, 2)


REDOS = [r"(a+)+$", r"(a|aa)+$", r"(a|a?)+$", r"([a-zA-Z]+)*$", r"(.*)*x", r"(.*a){12}!x", r"(x+x+)+y", r"^(([a-z])+.)+[A-Z]([a-z])+$",
         r"(a?){50}a{50}b", r".*.*.*=.*"]


@pytest.mark.parametrize("source", REDOS)
def test_no_regular_expression_hangs(source: str) -> None:
    text = "a" * 100_000 + "!"
    excerpts = build([text], [[(0, i, min(i + 50, len(text))) for i in range(0, len(text), 50)]])
    table = WordTable.build(excerpts)
    p = [parse(dump(Pattern((Clause((Atom("regex", (source,)),)),))))]
    best = 1e9
    for _ in range(3):
        start = time.perf_counter()
        run(p, excerpts, vocabulary=["a"], table=table)
        best = min(best, time.perf_counter() - start)
    assert best < 0.1


def test_thousands_of_patterns_are_run_together() -> None:
    rng = np.random.default_rng(0)
    types = np.array([f"w{i}" for i in range(4000)])
    ranks = np.minimum(rng.zipf(1.3, 20_000) - 1, 3999)
    texts = [" ".join(types[ranks[i:i + 40]]) for i in range(0, 20_000, 40)]
    excerpts, vocabulary = by_pieces(texts, 9)
    start = time.perf_counter()
    table = WordTable.build(excerpts)
    built = time.perf_counter() - start
    def words(n: int) -> Atom:
        return Atom("word", tuple(types[rng.integers(0, 4000, n)]))
    patterns = [Pattern((Clause((words(8),)), Clause((words(8),), before=(words(6),)), Clause(near=(words(4),), within="excerpt", strength=0.4),
                         Clause(after=(words(6),), within=2, strength=0.7))) for _ in range(2000)]
    start = time.perf_counter()
    s = run(patterns, excerpts, vocabulary=vocabulary, table=table)
    took = time.perf_counter() - start
    assert s.cells.shape[0] == 2000 and built < 3 and took < 5  # a pattern at a time takes minutes; the machine may be busy
    literal = Literal(Excerpts.build(range(20), range(20), range(20), range(20),
                                     *[[a[excerpts.offset[i]:excerpts.offset[i + 1]] for i in range(20)]
                                       for a in (excerpts.tokens, excerpts.char_start, excerpts.char_end)],
                                     list(excerpts.text[:20])), vocabulary)
    order = np.concatenate([np.arange(excerpts.offset[j], excerpts.offset[j + 1]) for j in literal.x.id])
    for i in (0, 7, 1999):
        assert np.array_equal(s.row(i)[order], literal.c(patterns[i]))
