"""Planted neurons are recovered; dead ones are left alone; the same input gives the same labels."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from autolabel import registry
from autolabel.excerpts import Excerpts
from autolabel.explainers import Constant, Induce, Ngram, Tokens, gather, induce, ranked_words
from autolabel.patterns import syntax
from autolabel.patterns.run import run
from autolabel.protocols import Explainer, ExplainSplit
from autolabel.types import Explanation

from .planted import AFTER_VERY, ANIMALS, DEAD, HIERARCHY, ING, LIST, NOISE, NUMBERS, TOPIC, corpus, rule, split, units

MAKERS = {"tokens": Tokens(), "ngram": Ngram(), "induce": Induce(like=False), "constant": Constant()}


@pytest.fixture(scope="module")
def explain() -> ExplainSplit:
    return split()


@pytest.fixture(scope="module")
def labels(explain: ExplainSplit) -> dict[str, list[Explanation]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(induce, "_hierarchy", lambda: HIERARCHY)
        return {name: list(maker.explain(units(), explain)) for name, maker in MAKERS.items()}


def fresh_rho(label: Explanation) -> float:
    """Correlation with the rule on documents that no explainer saw."""
    excerpts = corpus(seed=99, documents=120)
    assert label.pattern is not None
    c = run([syntax.parse(label.pattern)], excerpts, vocabulary=[], hierarchy=HIERARCHY).row(0)
    a = np.concatenate([rule(text.split(" "))[:, label.unit.index] for text in excerpts.text])
    return float(np.corrcoef(a, c)[0, 1]) if c.std() else 0.


@pytest.mark.parametrize(("unit", "least"), [(LIST, .99), (NUMBERS, .95), (AFTER_VERY, .9), (ING, .95), (ANIMALS, .9), (TOPIC, .9)])
def test_induce_recovers_planted_rules(labels: dict[str, list[Explanation]], unit: int, least: float) -> None:
    assert fresh_rho(labels["induce"][unit]) > least, labels["induce"][unit].text


@pytest.mark.parametrize(("unit", "said"), [(LIST, "river"), (NUMBERS, "numbers"), (AFTER_VERY, "after very"), (ING, "-ing"),
                                            (ANIMALS, "animals"), (TOPIC, "harbour")])
def test_sentences_name_the_rule(labels: dict[str, list[Explanation]], unit: int, said: str) -> None:
    assert said in labels["induce"][unit].text


def test_lists_carry_strengths(labels: dict[str, list[Explanation]]) -> None:
    clauses = json.loads(labels["induce"][LIST].pattern or "")["any"]
    strength = {word: c.get("strength", 1.0) for c in clauses for word in c["on"]["word"]}
    assert strength["river"] == 1 and .3 < strength["stone"] < .8


def test_tokens_recovers_a_word_list(labels: dict[str, list[Explanation]]) -> None:
    (clause,) = json.loads(labels["tokens"][LIST].pattern or "")["any"]
    assert clause["on"]["word"] == ["river", "stone"][:len(clause["on"]["word"])]
    assert fresh_rho(labels["tokens"][LIST]) > .8


def test_a_word_list_cannot_do_what_a_class_does(labels: dict[str, list[Explanation]]) -> None:
    tokens = labels["tokens"][ING]
    assert tokens.pattern is None or fresh_rho(tokens) < .5


@pytest.mark.parametrize("name", ["tokens", "ngram", "induce"])
def test_dead_units_are_left_alone(labels: dict[str, list[Explanation]], name: str) -> None:
    dead = labels[name][DEAD]
    assert dead.abstained == "the unit never fires on explain" and dead.pattern is None and dead.text == ""


@pytest.mark.parametrize("name", MAKERS)
def test_every_label_is_whole(labels: dict[str, list[Explanation]], name: str) -> None:
    found = labels[name]
    assert [label.unit.index for label in found] == list(range(8))
    for label in found:
        assert label.maker.explainer == name
        assert (label.abstained is None) == bool(label.text) == (label.pattern is not None)
        if label.pattern is not None:
            parsed = syntax.parse(label.pattern)
            assert syntax.dump(parsed) == label.pattern
            assert max(clause.strength for clause in parsed.any) == 1
            assert not re.search(r"token \d|\bUNK\b|##", label.text)


def test_same_input_same_labels(labels: dict[str, list[Explanation]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(induce, "_hierarchy", lambda: HIERARCHY)
    for name, maker in MAKERS.items():
        assert list(maker.explain(units(), split(chunk=100))) == labels[name]


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_labels_do_not_depend_on_how_units_are_shared_out(labels: dict[str, list[Explanation]], monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(induce, "_hierarchy", lambda: HIERARCHY)
    monkeypatch.setattr(induce, "cores", lambda: threads)
    monkeypatch.setattr(gather, "UNITS", threads)
    assert list(MAKERS["induce"].explain(units(), split())) == labels["induce"]


def test_a_subset_of_units_gets_the_same_labels(explain: ExplainSplit, labels: dict[str, list[Explanation]]) -> None:
    some = [e for e in units() if e.unit.index in (TOPIC, LIST)][::-1]
    assert list(Tokens().explain(iter(some), explain)) == [labels["tokens"][TOPIC], labels["tokens"][LIST]]


def test_noise_gets_no_long_story(labels: dict[str, list[Explanation]]) -> None:
    label = labels["induce"][NOISE]
    assert label.pattern is None or syntax.n_words(syntax.parse(label.pattern)) <= 4


def test_ranked_words_are_nested_and_start_with_the_driver(explain: ExplainSplit) -> None:
    ranked = ranked_words(explain)
    ids = ranked.ids["0", "+"]
    assert ids.shape == (8, 20)
    assert [ranked.words[i] for i in ids[LIST, :2]] == ["river", "stone"]
    assert (ids[DEAD] == -1).all()
    assert all((row[np.argmax(row < 0):] < 0).all() for row in ids if (row < 0).any())
    assert np.array_equal(ranked_words(explain, k=5).ids["0", "+"], ids[:, :5])


def test_layers_equal_brute_force(explain: ExplainSplit) -> None:
    lexicon = gather.lexicon_of(explain, [("0", "+")])
    (layer,) = gather.layers(explain, [("0", "+")], lexicon)
    words = [w for chunk in explain.chunks() for text in chunk.text for w in text.split(" ")]
    for w in ("river", "very", ","):
        cell = [c for c in range(len(lexicon.cell_form)) if lexicon.forms[lexicon.cell_form[c]] == w]
        at = np.array([v == w for v in words])
        assert len(cell) == 1 and layer.n[cell[0]] == at.sum() == lexicon.word_count[lexicon.words.index(w)]
        assert np.allclose(layer.sums[cell[0]], layer.a[at].sum(0), rtol=1e-4)
        assert np.array_equal(layer.strong[cell[0]], (layer.a[at] > explain.stats["0", "+"].tau99.astype(np.float32)).sum(0))
    assert layer.a.max() < 10  # special positions were not read


def test_a_large_split_is_read_in_part(explain: ExplainSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MIN_TOKENS", 4_000)
    monkeypatch.setattr(gather, "MAX_TOKENS", 4_000)
    lexicon = gather.lexicon_of(explain, [("0", "+")])
    assert lexicon.n_tokens == 4_000  # whole excerpts of 40
    (layer,) = gather.layers(explain, [("0", "+")], lexicon)
    first: Excerpts = next(explain.chunks())
    assert np.array_equal(lexicon.token[:first.n_tokens], first.tokens)
    assert len(layer.a) == 4_000


def test_the_protocol_and_the_registry() -> None:
    for name, maker in MAKERS.items():
        assert isinstance(maker, Explainer)
        assert type(maker) is registry.load("explainers", name)
        assert registry.name_of(maker, "explainers") == name


def test_explainers_given_one_split_share_one_pass() -> None:
    explain = split(documents=60)
    batches = []
    object.__setattr__(explain.subject, "run", lambda tokens, sites, visit, run=explain.subject.run: (batches.append(1), run(tokens, sites, visit)))
    first = list(Tokens().explain(units(), explain))
    once = len(batches)
    assert once > 0 and ranked_words(explain).ids and list(Tokens().explain(units(), explain)) == first
    assert len(batches) == once
    list(Tokens().explain(units(), split(documents=60)))  # another split is another pass
    assert list(Tokens().explain(units(), explain)) == first and len(batches) == once
    n = gather._n_tokens(explain, list(explain.stats))
    lists = {key for key in explain.memo if key[0] == "tokens"}  # small: what `tokens` says of each layer
    assert set(explain.memo) - lists == {"half", ("lexicon", n)} and {key[1] for key in lists} == set(explain.stats)
    fewer = list(Tokens(words=3).explain(units(), explain))  # other settings are another answer
    assert fewer == list(Tokens(words=3).explain(units(), split(documents=60))) and fewer != first
