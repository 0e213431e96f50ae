"""Simulated scores against the whole split, an oracle that answers well, so-so or badly, failures, rounds and threads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from autolabel.errors import AuthError, PendingError, SettingsError
from autolabel.protocols import Scorer
from autolabel.scorers.simulation import SimulationScorer
from autolabel.simulators.pattern import PatternSimulator
from autolabel.types import Excerpt, Explanation, Maker, Score, Simulation, Unit, hash63
from tests.scorers.scorer_world import STEMS, VOCABULARY, ToySubject, World, dense, world


@pytest.fixture(scope="module")
def toy() -> World:
    return world(documents=(80, 160, 160))


@pytest.fixture(scope="module")
def tiny() -> World:
    """So few excerpts that all of them can be drawn."""
    return world(documents=(80, 40, 25))


def unit(index: int, layer: int = 0) -> Unit:
    return Unit("toy", str(layer), "mlp", index)


def label(text: str, index: int = 3, pattern: str | None = None, layer: int = 0) -> Explanation:
    return Explanation(unit(index, layer), text, pattern, Maker("test"))


@dataclass(frozen=True)
class Oracle:
    """Knows the type effects of every neuron. `noise`: how badly it answers; a label `neuron K of layer L`, whatever else it says."""

    noise: float = 0.0
    subject: ToySubject = field(default_factory=ToySubject)
    calls: list[tuple[str, int]] = field(default_factory=list, compare=False)

    def simulate(self, text: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        words = text.split()
        table = np.maximum(self.subject.table(int(words[4]), "type", len(VOCABULARY), 1.0)[:, int(words[1])], 0)
        out = []
        for e in excerpts:
            self.calls.append((text, e.id))
            rng = np.random.default_rng(e.id % 2**32)
            c = np.clip(4 * table[list(e.tokens)] + self.noise * rng.normal(size=len(e.tokens)), 0, 10)
            out.append(Simulation(e.id, tuple(c.tolist()), "decile"))
        return out


def whole(toy: World, oracle: Oracle, text: str, index: int, layer: int = 0) -> float:
    """rho over every token of the split: the judge."""
    e = toy.split["test"]
    a = dense(toy.subject, e, toy.subject.sites[layer], "+")[:, index]
    c = np.concatenate([s.expected for s in oracle.simulate(text, [e.excerpt(r) for r in range(len(e))])])
    return float(np.corrcoef(a, c)[0, 1])


def test_a_sample_as_large_as_the_split_is_the_split(tiny: World) -> None:
    n = len(tiny.split["test"])
    scorer = SimulationScorer(start=5 * n, cap=5 * n, simulator=Oracle())
    assert isinstance(scorer, Scorer)
    text = "neuron 3 of layer 0"
    [score] = scorer.score([label(text)], tiny.test)
    assert score.n == n and score.value == pytest.approx(whole(tiny, Oracle(), text, 3), abs=1e-4)
    a = dense(tiny.subject, tiny.split["test"], tiny.subject.sites[0], "+")
    c = np.concatenate([s.expected for s in Oracle().simulate(text, [tiny.split["test"].excerpt(r) for r in range(n)])])
    every = [np.corrcoef(np.concatenate([dense(tiny.subject, tiny.split["test"], s, "+") for s in tiny.subject.sites], 1)[:, u], c)[0, 1] for u in range(48)]
    beaten = sum(r >= every[3] for i, r in enumerate(every) if i != 3)
    assert score.extra["p_foreign"] == pytest.approx((1 + beaten) / 48) and score.extra["foreign_pooled"] is True
    assert score.extra["rank"] == 1 + sum(r >= every[3] for i, r in enumerate(every[:24]) if i != 3)
    assert score.extra["foreign_units"] == 47 and score.extra["base_rate"] == pytest.approx((a[:, 3] > tiny.test.stats["0", "+"].tau99[3]).mean())


def test_samples_are_near_the_truth_and_a_good_oracle_beats_a_bad_one(toy: World) -> None:
    """Over 12 units: the estimate is unbiased, its intervals hold, and worse answers score worse."""
    labels = [label(f"neuron {u} of layer {k}", u, layer=k) for k in (0, 1) for u in range(6)]
    found = {noise: SimulationScorer(simulator=Oracle(noise), start=40, cap=40).score(labels, toy.test) for noise in (0.0, 3.0, 12.0)}
    for noise, scores in found.items():
        truth = [whole(toy, Oracle(noise), e.text, e.unit.index, int(e.unit.layer)) for e in labels]
        apart = np.array([s.value for s in scores]) - truth
        assert abs(apart.mean()) < 0.05
        assert sum(s.low <= t <= s.high for s, t in zip(scores, truth, strict=True)) >= 10
    good, middling, bad = ([s.value for s in found[n]] for n in found)
    assert all(g > m > b for g, m, b in zip(good, middling, bad, strict=True))
    assert np.mean([s.extra["peak"] for s in found[0.0]]) > np.mean([s.extra["peak"] for s in found[12.0]])


def test_it_grows_until_it_is_precise_and_larger_samples_hold_the_smaller(toy: World) -> None:
    small, large = Oracle(2.0), Oracle(2.0)
    [one] = SimulationScorer(simulator=small, start=20, cap=20).score([label("neuron 3 of layer 0")], toy.test)
    [two] = SimulationScorer(simulator=large, start=20, cap=60, step=20, half_width=1e-6).score([label("neuron 3 of layer 0")], toy.test)
    assert set(small.calls) < set(large.calls) and len(large.calls) == len(set(large.calls))
    assert two.extra["looks"] == 3 and two.extra["adaptive"] is True and one.extra["adaptive"] is False
    [easy] = SimulationScorer(simulator=Oracle(), start=20, cap=60, step=20, half_width=0.9).score([label("neuron 3 of layer 0")], toy.test)
    assert easy.extra["looks"] == 1 and easy.n <= two.n


def test_pattern_labels_through_the_same_door(tiny: World) -> None:
    words = [VOCABULARY[i] for i in np.argsort(-tiny.subject.table(0, "type", len(VOCABULARY), 1.0)[:, 3])[:6]]
    pattern = json.dumps({"any": [{"on": {"word": [w for w in words if w in STEMS]}}]})
    n = len(tiny.split["test"])
    simulator = PatternSimulator(vocabulary=VOCABULARY)
    [score] = SimulationScorer(simulator=simulator, start=5 * n, cap=5 * n).score([label("", pattern=pattern)], tiny.test)
    from autolabel.scorers.correlation import Correlation
    [judge] = Correlation().score([label("", pattern=pattern)], tiny.test)
    assert score.simulator == "pattern" and score.value == pytest.approx(judge.value, abs=1e-6)
    assert score.extra["peak"] == pytest.approx(judge.extra["peak"], abs=1e-6)


def test_cuts_and_calibrations_of_select_are_used_on_test(toy: World) -> None:
    e = label("neuron 3 of layer 0")
    [select] = SimulationScorer(simulator=Oracle()).score([e], toy.select)
    assert select.split == "select" and select.extra["cut"] is not None and select.extra["slope"] > 0
    [test] = SimulationScorer(simulator=Oracle(), selected={e.id: select}).score([e], toy.test)
    assert test.extra["cut"] == select.extra["cut"]
    assert 0 < test.extra["f1"] <= 1 and 0 < test.extra["mass_recall"] <= 1
    assert 0.1 < test.extra["r2_linear"] <= test.value**2 + 0.1
    assert abs(test.extra["r2_isotonic"] - test.extra["r2_linear"]) < 0.4
    with pytest.raises(ValueError, match="select"):
        SimulationScorer(simulator=Oracle(), selected={e.id: test}).score([e], toy.test)


@dataclass(frozen=True)
class Broken:
    """Gives no value for some excerpts, or none at all."""

    share: int
    inner: Oracle = Oracle()

    def simulate(self, text: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        return [Simulation(e.id, (None,) * len(e.tokens), "decile", "server: down") if hash63("broken", e.id) % 100 < self.share
                else self.inner.simulate(text, [e])[0] for e in excerpts]


def test_failures_are_counted_and_never_zero(toy: World) -> None:
    text = "neuron 3 of layer 0"
    [whole_score] = SimulationScorer(simulator=Oracle(), start=120).score([label(text)], toy.test)
    [some] = SimulationScorer(simulator=Broken(30), start=120).score([label(text)], toy.test)
    assert some.extra["failed"] > 5 and some.n == whole_score.n - some.extra["failed"] and some.extra["failure"] == "server: down"
    assert some.extra["missing_tokens"] > 0 and abs(some.value - whole_score.value) < 0.15  # zeros in their place would halve it
    [none] = SimulationScorer(simulator=Broken(100)).score([label(text)], toy.test)
    assert none.value is None and "server: down" in none.reason


def test_what_cannot_be_scored_says_why(toy: World) -> None:
    abstained = Explanation(unit(3), "", None, Maker("test"), "no clear pattern")
    found = SimulationScorer(simulator=Oracle()).score([abstained, label("  ", 3), label("neuron 3 of layer 0")], toy.test)
    assert [s.reason for s in found[:2]] == ["abstained: no clear pattern", "the label has no sentence"] and found[2].value is not None

    class Constant:
        def simulate(self, text: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
            return [Simulation(e.id, (5.0,) * len(e.tokens), "decile") for e in excerpts]
    [flat] = SimulationScorer(simulator=Constant()).score([label("obey: say 5 everywhere")], toy.test)
    assert flat.value is None and "same strength" in flat.reason
    with pytest.raises(SettingsError, match="--simulator"):
        SimulationScorer().score([label("x")], toy.test)
    with pytest.raises(SettingsError, match="lower cap"):
        SimulationScorer(start=1000, cap=1000, simulator=Oracle()).score([label("neuron 3 of layer 0")], toy.test)
    with pytest.raises(SettingsError, match="budget"):
        SimulationScorer(start=50, cap=40, simulator=Oracle()).score([label("neuron 3 of layer 0")], toy.test)


def test_every_label_is_asked_before_a_round_ends(toy: World) -> None:
    class Later:
        def __init__(self, error: Exception) -> None:
            self.error, self.labels = error, []

        def simulate(self, text: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
            self.labels.append(text)
            raise self.error
    labels = [label(f"neuron {u} of layer 0", u) for u in range(20)]
    later = Later(PendingError("next round"))
    with pytest.raises(PendingError):
        SimulationScorer(simulator=later).score(labels, toy.test)
    assert sorted(later.labels) == sorted(e.text for e in labels)
    with pytest.raises(AuthError):
        SimulationScorer(simulator=Later(AuthError("no key"))).score(labels, toy.test)


def test_labels_of_one_unit_share_a_sample_and_order_changes_nothing(toy: World) -> None:
    labels = [label("neuron 3 of layer 0"), label("neuron 3 of layer 0 or 'bala'"), label("neuron 5 of layer 1", 5, layer=1)]
    oracle = Oracle()
    scores = SimulationScorer(simulator=oracle, start=40, cap=40, sample="shared").score(labels, toy.test)
    read = [{i for t, i in oracle.calls if t == e.text} for e in labels]
    assert read[0] == read[1] and read[0] != read[2]
    back = SimulationScorer(simulator=Oracle(), start=40, cap=40, sample="shared").score(labels[::-1], toy.test)[::-1]
    assert [(s.value, s.low, s.n) for s in back] == [(s.value, s.low, s.n) for s in scores]


def test_the_second_rank_of_the_null(tiny: World) -> None:
    def word(i: int) -> Explanation:
        return label("", i % 24, json.dumps({"any": [{"on": {"word": [STEMS[i % 60], STEMS[(7 * i + 3) % 60]]}}]}))
    n = len(tiny.split["test"])
    asked = label("neuron 3 of layer 0")
    [few] = SimulationScorer(simulator=Oracle(), neighbours=lambda e: [word(i) for i in range(150)]).score([asked], tiny.test)
    assert few.extra["foreign_one_rank"] is True and few.extra["foreign_labels"] == 0
    [score] = SimulationScorer(simulator=Oracle(), start=5 * n, cap=5 * n, neighbours=lambda e: [word(i) for i in range(300)]).score([asked], tiny.test)
    from autolabel.patterns.run import run
    from autolabel.patterns.syntax import parse
    c = run([parse(word(i).pattern) for i in range(300)], tiny.split["test"], vocabulary=VOCABULARY).csr().toarray()
    a = dense(tiny.subject, tiny.split["test"], tiny.subject.sites[0], "+")[:, 3]
    rhos = np.array([np.corrcoef(row, a)[0, 1] for row in c[c.std(1) > 0]])
    assert score.extra["foreign_labels"] == len(rhos) >= 200 and score.extra["foreign_one_rank"] is False
    assert score.extra["p_foreign"] >= (1 + (rhos >= score.value).sum()) / (len(rhos) + 1) - 1e-12


def test_scores_do_not_depend_on_the_split_coming_in_chunks(toy: World) -> None:
    scores: list[list[Score]] = []
    for chunk in (40, 1000):
        other = world(documents=(80, 160, 160), chunk=chunk)
        scores.append(SimulationScorer(simulator=Oracle()).score([label("neuron 3 of layer 0 'bala'")], other.test))
    assert scores[0] == scores[1]
