"""Planted truth: a perfect label, what corrupts it, labels of other units, and candidates that cannot be scored."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from autolabel.errors import UnitError
from autolabel.scorers import choose, score_select, score_test, select_pass
from autolabel.scorers.correlation import Correlation
from autolabel.types import Explanation, Maker, Score, Unit
from autolabel.verdicts import Findings, judge
from tests.scorers.scorer_world import STEMS, VOCABULARY, ToySubject, world

LISTS = [[int(i) for i in np.random.default_rng(u).choice(30, 8, replace=False)] for u in range(8)]


@dataclass(frozen=True)
class Planted(ToySubject):
    """Units 0 to 7 fire on the words of LISTS, each with its own scale, on a floor; unit 8 is dead; the rest are as before."""

    scale: float = 1.0
    floor: float = 0.0

    def x(self, tokens: np.ndarray, layer: int) -> np.ndarray:
        out = super().x(tokens, layer)
        for u, words in enumerate(LISTS):
            out[..., u] = self.floor + self.scale * (1 + u) * np.isin(tokens, [VOCABULARY.index(STEMS[w]) for w in words])
        out[..., 8] = -1.0
        return out


def label(u: int, words: list[int], text: str = "", maker: str = "made") -> Explanation:
    pattern = json.dumps({"any": [{"on": {"token": [STEMS[w] for w in words]}}]})
    return Explanation(Unit("toy", "0", "mlp", u), text or str(words), pattern, Maker(maker))


@pytest.fixture(scope="module")
def planted():
    return world(Planted(layers=1), documents=(60, 60, 120))


def test_corrupted_labels_score_lower(planted) -> None:
    own = [label(u, w) for u, w in enumerate(LISTS)]
    half = [label(u, w[:4]) for u, w in enumerate(LISTS)]
    extra = [label(u, [*w, *[i for i in range(30) if i not in w][:8]]) for u, w in enumerate(LISTS)]
    swapped = [label(u, LISTS[(u + 1) % 8]) for u in range(8)]
    a, b, c, d = (score_test(x, [], planted.test, kinds=False) for x in (own, half, extra, swapped))
    np.testing.assert_allclose(a.score, 1, atol=1e-6)
    for worse in (b, c, d):
        assert (worse.score < a.score - 0.05).all()
    assert (a.mass_recall > 0.999).all() and (b.mass_recall < 0.999).all()


def test_foreign_labels_are_not_confirmed() -> None:
    w = world(Planted(layers=1, width=260), documents=(60, 10, 120))
    own = [label(u, x) for u, x in enumerate(LISTS)]
    rng = np.random.default_rng(0)
    foreign = [label(int(u), LISTS[int(rng.integers(8))]) for u in rng.choice(np.arange(9, 260), 40, replace=False)]
    result = score_test([*own, *foreign], [], w.test, kinds=False)
    found = judge(Findings(result.p_foreign, result.p_size, result.score, [None] * 48, unscored=list(result.unscored),
                           imprecise=list(result.imprecise)))
    assert (found.verdict[:8] == "confirmed").all()
    assert (result.rank[:8] == 1).all()
    assert not (found.verdict[8:] == "confirmed").any()


def test_scale_and_shift_of_the_unit_do_not_matter() -> None:
    own = [label(u, w[:5]) for u, w in enumerate(LISTS)]
    one, two = (score_test(own, [], world(Planted(layers=1, scale=s, floor=f), documents=(60, 10, 120)).test, kinds=False)
                for s, f in ((1.0, 0.0), (7.0, 3.0)))
    for name in ("score", "ci_low", "ci_high", "peak", "baseline"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=2e-5)


def test_what_cannot_be_scored_says_why(planted) -> None:
    unit = Unit("toy", "0", "mlp", 3)
    chosen = [
        label(8, LISTS[0]),
        Explanation(unit, "nothing", json.dumps({"any": [{"on": {"word": ["zzz"]}}]}), Maker("a")),
        Explanation(unit, "a sentence", None, Maker("b")),
        Explanation(unit, "", None, Maker("c"), abstained="nothing stands out"),
        Explanation(unit, "broken", '{"any": [', Maker("d")),
    ]
    result = score_test(chosen, [], planted.test, planted.explain)
    for reason, words in zip(result.unscored, ("does not vary", "same strength", "no simulator", "abstained: nothing", "does not parse"), strict=True):
        assert words in reason
    assert np.isnan(result.score).all() and (result.p == 1).all() and (result.rank == -1).all()
    assert all(s.value is None and s.reason for s in score_select(chosen, planted.select))
    assert [s.value for s in Correlation().score(chosen, planted.select)] == [None] * 5
    assert len(score_test([], [], planted.test)) == 0
    with pytest.raises(UnitError, match="neurons 0 to 23"):
        score_test([label(99, LISTS[0])], [], planted.test)


def test_choose_takes_both_scores_and_select_alone(planted) -> None:
    candidates = [label(0, LISTS[1]), label(0, LISTS[0]), label(0, LISTS[0][:2]), Explanation(Unit("toy", "0", "mlp", 5), "s", None, Maker("m"))]
    scores = select_pass(candidates, planted.select).scores
    assert choose(candidates, scores) == [candidates[1], candidates[3]]
    with pytest.raises(ValueError, match="select"):
        choose(candidates[:1], [Score(candidates[0].id, "correlation", "pattern", "test", 0.5)])


def test_an_explanation_in_both_lists_is_scored_once(planted) -> None:
    own = [label(u, w) for u, w in enumerate(LISTS)]
    result = score_test(own[:3], own, planted.test, kinds=False)
    assert result.explanation.tolist() == [e.id for e in own] and result.chosen.tolist() == [True] * 3 + [False] * 5
    assert next(result.rows())["rho_new"] is None
