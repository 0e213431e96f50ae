"""Labels that should not fit, against brute force on a world where every activation is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from autolabel.patterns.run import run
from autolabel.patterns.syntax import Pattern, n_words, parse
from autolabel.scorers.labels import layers_of, word_list
from autolabel.scorers.misfits import HEDGED, OWN, common_words, compare, constant, hardest, near, verbose
from autolabel.scorers.predicted import PatternSource
from autolabel.scorers.walk import GROUPS
from autolabel.stats import Sums, correlate, influence, paired_rho
from tests.scorers.scorer_world import STEMS, VOCABULARY, ToySubject, dense, world


@pytest.fixture(scope="module")
def here():  # type: ignore[no-untyped-def]  # a world, its layer, units, labels
    w = world(ToySubject(two_sided=True), sides="+-")
    layer = layers_of(w.test)[1]
    rng = np.random.default_rng(0)
    column = np.sort(rng.choice(layer.width, 12, replace=False))
    patterns = [word_list(tuple(rng.choice(STEMS[:30], 3, replace=False).tolist())) for _ in column]
    return w, layer, column, patterns


def source(patterns: list[Pattern | None]) -> PatternSource:
    return PatternSource(patterns, lambda ps, e: run(ps, e, vocabulary=VOCABULARY))


def both(w, layer, column, patterns, split):  # type: ignore[no-untyped-def]  # a [tokens, P], c [tokens, P]
    e = w.split[split]
    a = np.concatenate([dense(w.subject, e, layer.site, side) for side in layer.sides], 1)[:, column]
    return a, run(patterns, e, vocabulary=VOCABULARY).csr().toarray().T, e


def test_select_says_which_are_near(here) -> None:  # type: ignore[no-untyped-def]  # the fixture
    w, layer, column, patterns = here
    a, c, e = both(w, layer, column, patterns, "select")
    found = near(w.subject, layer, column, {OWN: source(patterns)}, e, 16)
    p = len(column)
    whole = np.corrcoef(a.T, c.T)
    np.testing.assert_allclose(found.units, whole[:p, :p], atol=1e-5)
    np.testing.assert_allclose(found.rho, whole[p:, :p], atol=1e-5)
    which = hardest(found.units, found.rho, 3)
    for u in range(p):
        alike = [v for v in np.argsort(-whole[u, :p]) if v != u][:3]
        assert which[u] == max(alike, key=lambda v: whole[p + v, u])
    assert hardest(np.ones((1, 1)), np.ones((1, 1))).tolist() == [-1]


def test_comparison_is_the_paired_one_on_test(here) -> None:  # type: ignore[no-untyped-def]  # the fixture
    w, layer, column, patterns = here
    a, c, e = both(w, layer, column, patterns, "test")
    shifted = [*patterns[1:], patterns[0]]
    never = [word_list(("never",)), *[None] * 11]
    found = compare(w.subject, layer, column, {OWN: source(patterns), "other": source(shifted), "never": source(never)}, e, 16)
    group = e.block[e.excerpt_of_token] % GROUPS
    own, other = (Sums.of(a, x, group, GROUPS) for x in (c, np.roll(c, -1, 1)))
    np.testing.assert_allclose(found["other"].rho.rho, correlate(other).rho, atol=1e-5)
    np.testing.assert_allclose(found[OWN].rho.rho, correlate(own).rho, atol=1e-5)
    wanted = paired_rho(influence(own), influence(other))
    np.testing.assert_allclose(found["other"].better.low, wanted.low, atol=1e-4)
    assert (found[OWN].better.low == 0).all() and (found[OWN].better.high == 0).all()
    np.testing.assert_allclose(found["never"].better.value, found[OWN].rho.rho)  # it predicts nothing: rho 0


def test_what_says_nothing_has_the_length_of_what_says_something(here) -> None:  # type: ignore[no-untyped-def]  # the fixture
    w, _, _, patterns = here
    common = common_words(w.split["explain"])
    counts = Counter(" ".join(w.split["explain"].text).casefold().split())
    assert [counts[word] for word in common[:20]] == [n for _, n in counts.most_common(20)]
    long = parse('{"any":[{"on":{"word":["a","b","c","d","e","f"]}},{"on":{"class":"digit"}}]}')
    mine = [*patterns, long]
    assert [n_words(p) for p in constant(mine, common, 5)] == [*[3] * 12, 5]
    talk = verbose(mine, np.random.default_rng(0), 20)
    for own, other in zip(mine, talk, strict=True):
        assert other is not None and n_words(other) == n_words(own)
        assert not set(other.any[0].on[0].values) & {v for atom in own.atoms() for v in atom.values}
    assert verbose([HEDGED, HEDGED], np.random.default_rng(0), 20) == [None, None] and verbose([long], np.random.default_rng(0), 5) == [None]
