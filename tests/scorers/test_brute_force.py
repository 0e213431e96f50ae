"""The fast pass against a dense recomputation in float64, figure by figure."""

from __future__ import annotations

import json

import numpy as np
import pytest

from autolabel.patterns.run import run as run_patterns
from autolabel.patterns.syntax import parse
from autolabel.scorers import score_select, score_test, select_pass
from autolabel.scorers.baseline import objective
from autolabel.stats import Sums, correlate
from autolabel.types import Explanation, Maker, Unit
from tests.scorers.scorer_world import STEMS, ToySubject, World, cut, dense, world

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def random_pattern(rng: np.random.Generator) -> str:
    def words(n: int) -> dict:
        return {"word": rng.choice(STEMS, n, replace=False).tolist()}
    clauses: list[dict] = [{"on": words(int(rng.integers(1, 9))), "strength": float(rng.choice([1.0, 0.6, 0.3]))} for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.6:
        clauses.append({"before": [words(6)], "within": int(rng.integers(1, 3)), "strength": float(rng.choice([0.9, 0.5, 0.2]))})
    if rng.random() < 0.3:
        clauses.append({"on": {"class": "upper"}, "strength": 0.8})
    return json.dumps({"any": clauses})


def candidates(w: World, seed: int, per_unit: int = 1, maker: str = "some", side: str = "+") -> list[Explanation]:
    rng = np.random.default_rng(seed)
    return [Explanation(Unit("toy", s.layer, "mlp", u, side), f"{maker} {u} {k}", random_pattern(rng), Maker(maker))
            for s in w.subject.sites for u in range(s.width) for k in range(per_unit)]


def whole(e):
    """The excerpts as one chunk, and the strengths of patterns on it."""
    return next(iter(cut(e, len(e))))


def strengths(w: World, e, texts: list[str]) -> np.ndarray:
    """[P, tokens], rounded: the two parts of a strength add up to it but for an ulp, and ties matter to AUPRC."""
    return np.asarray(run_patterns([parse(t) for t in texts], e, vocabulary=w.subject.vocabulary).csr().todense(), np.float64).round(9)


def activations(w: World, e, explanations) -> np.ndarray:
    """[tokens, P] of each explanation's own unit."""
    layers = {(s.layer, side): dense(w.subject, e, s, side) for s in w.subject.sites for side in {x.unit.side for x in explanations}}
    return np.stack([layers[x.unit.layer, x.unit.side][:, x.unit.index] for x in explanations], axis=1)


def groups(e, n: int = 256) -> np.ndarray:
    return np.repeat(e.block % n, e.lengths)


@pytest.fixture(scope="module")
def toy() -> World:
    return world()


@pytest.fixture(scope="module")
def scored(toy: World):
    chosen, others = candidates(toy, 1), candidates(toy, 2, maker="other")
    selected = {s.explanation: s for s in score_select([*chosen, *others], toy.select)}
    return chosen, others, selected, score_test(chosen, others, toy.test, toy.explain, selected=selected)


def test_rho_and_interval(toy: World, scored) -> None:
    chosen, others, _, result = scored
    everything, e = [*chosen, *others], whole(toy.split["test"])
    a, c = activations(toy, e, everything), strengths(toy, e, [x.pattern for x in everything]).T
    want = correlate(Sums.of(a, c, groups(e), 256))
    live = (a.std(0) > 0) & (c.std(0) > 0)
    assert live.sum() > 60
    assert np.array_equal(np.isnan(result.score), ~live)
    np.testing.assert_allclose(result.score[live], [np.corrcoef(a[:, p], c[:, p])[0, 1] for p in np.flatnonzero(live)], atol=1e-6)
    for have, what in ((result.ci_low, want.low), (result.ci_high, want.high), (result.df, want.df), (result.se, want.se)):
        np.testing.assert_allclose(have[live], what[live], rtol=2e-4, atol=1e-6)
    documents = [len(np.unique(np.repeat(e.block, e.lengths)[c[:, p] > 0])) for p in range(c.shape[1])]
    assert np.array_equal(np.minimum(documents, 20), np.minimum(result.n_documents, 20))
    for p, n in enumerate(documents):
        if live[p]:
            assert (result.imprecise[p] is not None) == (n < 20 or result.df[p] < 6)
    assert (result.n == len(e)).all()


def test_peak(toy: World, scored) -> None:
    chosen, others, _, result = scored
    everything, e = [*chosen, *others], whole(toy.split["test"])
    a, c = activations(toy, e, everything), strengths(toy, e, [x.pattern for x in everything])
    for p in np.flatnonzero(~np.isnan(result.score)):
        unit = everything[p].unit
        tau99 = toy.test.stats[unit.layer, unit.side].tau99.astype(np.float32)[unit.index]
        strong = a[:, p] > tau99
        assert result.base_rate[p] == pytest.approx(strong.mean())
        if strong.any():
            assert result.peak[p] == pytest.approx(sklearn_metrics.average_precision_score(strong, c[p]), abs=1e-9)
        else:
            assert np.isnan(result.peak[p])


def test_mass_recall(toy: World, scored) -> None:
    chosen, others, _, result = scored
    everything, e = [*chosen, *others], whole(toy.split["test"])
    a, c = activations(toy, e, everything), strengths(toy, e, [x.pattern for x in everything])
    for p in np.flatnonzero(~np.isnan(result.score)):
        stats = toy.test.stats[everything[p].unit.layer, "+"]
        u = everything[p].unit.index
        mass = np.where(a[:, p] > np.float32(stats.tau[u]), a[:, p], 0)
        top = np.repeat(np.maximum.reduceat(a[:, p], e.offset[:-1]), e.lengths)
        stratum = np.minimum((10 * top / stats.max[u]).astype(int), 9)
        assert result.mass_recall[p] == pytest.approx(mass[c[p] > 0].sum() / mass.sum(), rel=1e-5)
        for k in range(2, 10):
            whole_mass = mass[stratum == k].sum()
            if whole_mass:
                assert result.mass_recall_strata[p, k] == pytest.approx(mass[(stratum == k) & (c[p] > 0)].sum() / whole_mass, rel=1e-3, abs=1e-3)


def test_ceiling(toy: World, scored) -> None:
    chosen, others, _, result = scored
    e = whole(toy.split["test"])
    for p, x in enumerate([*chosen, *others]):
        if np.isnan(result.score[p]):
            continue
        table, stats = toy.explain.type_means(x.unit.layer, "+"), toy.test.stats[x.unit.layer, "+"]
        u = x.unit.index
        mean = dict(zip(table.types.tolist(), table.mean[:, u].tolist(), strict=True))
        lookup = np.array([mean.get(t, stats.mean[u]) for t in e.tokens.tolist()])
        a = dense(toy.subject, e, toy.subject.sites[int(x.unit.layer)])[:, u]
        assert result.ceiling[p] == pytest.approx(np.corrcoef(lookup, a)[0, 1], abs=1e-5)


def foreign_rho(w: World, e, everything) -> tuple[np.ndarray, list]:
    """[P, units of all layers] and the unit of each column."""
    a = np.concatenate([dense(w.subject, e, s) for s in w.subject.sites], axis=1)
    c = strengths(w, e, [x.pattern for x in everything]).T
    units = [(s.layer, u) for s in w.subject.sites for u in range(s.width)]
    a, c = a - a.mean(0), c - c.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (c.T @ a) / np.sqrt(np.outer((c**2).sum(0), (a**2).sum(0))), units


def check_null(w: World, chosen, others, result, pooled: bool) -> None:
    everything, e = [*chosen, *others], whole(w.split["test"])
    rho, units = foreign_rho(w, e, everything)
    mine = np.array([units.index((x.unit.layer, x.unit.index)) for x in everything])
    for p in np.flatnonzero(~np.isnan(result.score)):
        layer = everything[p].unit.layer
        here = np.array([pooled or u[0] == layer for u in units])
        here[mine[p]] = False
        own = rho[p, mine[p]]
        first = (1 + (rho[p, here & ~np.isnan(rho[p])] >= own - 1e-9).sum()) / (1 + (here & ~np.isnan(rho[p])).sum())
        on = np.array([(pooled or x.unit.layer == layer) and mine[q] != mine[p] for q, x in enumerate(everything)])
        column = rho[:, mine[p]]
        on &= ~np.isnan(column)
        second = (1 + (column[on] >= own - 1e-9).sum()) / (1 + on.sum()) if on.sum() >= 200 else 0.0
        assert result.p_foreign[p] == pytest.approx(max(first, second), abs=2.1 / (1 + here.sum()) if own < 1e-3 else 1e-9)
        same = np.array([u[0] == layer for u in units]) & here
        assert result.rank[p] == 1 + (rho[p, same] >= own - 1e-9).sum()
        assert result.foreign_one_rank[p] == (on.sum() < 200)
        assert result.foreign_pooled[p] == pooled


def test_foreign_null_pooled(toy: World, scored) -> None:
    chosen, others, _, result = scored
    check_null(toy, chosen, others, result, pooled=True)


def test_foreign_null_of_wide_layers_and_rare_cells() -> None:
    w = world(ToySubject(width=205, layers=1), documents=(25, 5, 25))
    chosen, others = candidates(w, 3)[:150], candidates(w, 4, maker="other")
    result = score_test(chosen, others, w.test, kinds=False)
    check_null(w, chosen, others, result, pooled=False)
    tight = score_test(chosen, others, w.test, kinds=False, table_bytes=1)  # most cells have no row in the table
    np.testing.assert_allclose(tight.p_foreign, result.p_foreign)
    np.testing.assert_allclose(tight.rank, result.rank)


def effects(x: np.ndarray, types: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Backfitting in the open: type first, then position, until nothing moves."""
    alpha, beta = np.zeros(types.max() + 1), np.zeros(position.max() + 1)
    n_type, n_position = np.bincount(types), np.maximum(np.bincount(position), 1)
    for _ in range(500):
        alpha = np.bincount(types, x - beta[position]) / np.maximum(n_type, 1)
        new = np.bincount(position, x - alpha[types]) / n_position
        moved, beta = np.abs(new - beta).max(), new
        if moved < 1e-6:
            break
    alpha = np.bincount(types, x - beta[position]) / np.maximum(n_type, 1)
    return alpha, beta


def test_rho_context(toy: World, scored) -> None:
    chosen, _, _, result = scored
    x, e = whole(toy.split["explain"]), whole(toy.split["test"])
    ids, count = np.unique(x.tokens, return_counts=True)
    eligible = ids[count >= 5]
    ux, ue = np.isin(x.tokens, eligible), np.isin(e.tokens, eligible)
    ue &= e.position <= x.position.max()
    tx, te = np.searchsorted(eligible, x.tokens[ux]), np.searchsorted(eligible, e.tokens[ue])
    ax, ae = activations(toy, x, chosen)[ux], activations(toy, e, chosen)[ue]
    texts = [c.pattern for c in chosen]
    cx, ce = strengths(toy, x, texts).T[ux], strengths(toy, e, texts).T[ue]
    seen = 0
    for p in range(len(chosen)):
        rest = []
        for fit, value in ((ax[:, p], ae[:, p]), (cx[:, p], ce[:, p])):
            alpha, beta = effects(fit, tx, x.position[ux])
            rest.append(value - alpha[te] - beta[e.position[ue]])
        if ce[:, p].var() > 0 and rest[1].var() < 0.9e-4 * ce[:, p].var():
            assert result.rho_context[p] in (0.0,) or np.isnan(result.rho_context[p])
            continue
        if np.isnan(result.rho_context[p]):
            documents = len(np.unique(np.repeat(e.block, e.lengths)[ue][ce[:, p] > 0]))
            assert documents < 20 or not correlate(Sums.of(rest[0], rest[1], groups(e)[ue], 256)).df[0] >= 6
            continue
        want = correlate(Sums.of(rest[0], rest[1], groups(e)[ue], 256))
        assert result.rho_context[p] == pytest.approx(want.rho[0], abs=1e-3)
        assert result.rho_context_low[p] == pytest.approx(want.low[0], abs=3e-3)
        assert result.rho_context_high[p] == pytest.approx(want.high[0], abs=3e-3)
        assert result.contextual[p] == (result.rho_context_low[p] > 0.05)
        seen += 1
    assert seen > 15
    assert (result.rho_context_left_out[:len(chosen)] == (~ue).sum()).all()
    assert np.isnan(result.rho_context[len(chosen):]).all()  # not asked about the others


def test_rho_new(toy: World, scored) -> None:
    chosen, _, _, result = scored
    x, e = whole(toy.split["explain"]), whole(toy.split["test"])
    known = {word.casefold() for text in x.text for word in text.split()}
    fresh = np.zeros(e.n_tokens, bool)
    for i, text in enumerate(e.text):
        for t in range(int(e.offset[i]), int(e.offset[i + 1])):
            start = text.rfind(" ", 0, int(e.char_start[t]) + 1) + 1
            end = text.find(" ", start)
            fresh[t] = text[start:end if end >= 0 else None].casefold() not in known
    by_word = int(fresh.sum())
    fresh &= ~np.isin(e.tokens, x.tokens)
    fresh &= (np.bincount(e.excerpt_of_token, fresh, len(e)) > 1)[e.excerpt_of_token]
    assert 0.02 < fresh.mean() < 0.9 and fresh.sum() < by_word
    a, c = activations(toy, e, chosen)[fresh], strengths(toy, e, [p.pattern for p in chosen]).T[fresh].copy()
    fired = c > 0
    excerpt = e.excerpt_of_token[fresh]
    for row in np.unique(excerpt):  # the means of an excerpt's new tokens
        here = excerpt == row
        a[here] -= a[here].mean(0)
        c[here] = (c[here] - c[here].mean(0)).round(12)
    sums = Sums.of(a.round(12), c, groups(e)[fresh], 256)
    zero = np.zeros_like(sums.c)  # but for rounding, which would make silent groups count
    want = correlate(Sums(sums.n, zero, sums.a2, zero, sums.c2, sums.ac))
    for p in range(len(chosen)):
        documents = len(np.unique(np.repeat(e.block, e.lengths)[fresh][fired[:, p]]))
        if documents < 20 or not want.df[p] >= 6:
            assert np.isnan(result.rho_new[p]) and result.carries_over[p] is None
        else:
            assert result.rho_new[p] == pytest.approx(want.rho[p], abs=1e-5)
            assert result.rho_new_low[p] == pytest.approx(want.low[p], abs=1e-4)
            assert result.carries_over[p] == (result.rho_new_low[p] > 0.05)
    assert (~np.isnan(result.rho_new[:len(chosen)])).sum() > 5
    assert (result.n_new[:len(chosen)] == fresh.sum()).all()


def test_calibration_is_fitted_on_select(toy: World, scored) -> None:
    from sklearn.isotonic import IsotonicRegression

    chosen, _, selected, result = scored
    s, e = whole(toy.split["select"]), whole(toy.split["test"])
    texts = [c.pattern for c in chosen]
    a_s, a_e, c_s, c_e = activations(toy, s, chosen), activations(toy, e, chosen), strengths(toy, s, texts).T, strengths(toy, e, texts).T
    for p, x in enumerate(chosen):
        score = selected[x.id]
        if score.value is None or np.isnan(result.score[p]):
            continue
        assert score.value == pytest.approx(np.corrcoef(a_s[:, p], c_s[:, p])[0, 1], abs=1e-6)
        slope, intercept = np.polyfit(c_s[:, p], a_s[:, p], 1)
        assert result.r2_linear[p] == pytest.approx(sklearn_metrics.r2_score(a_e[:, p], intercept + slope * c_e[:, p]), abs=1e-4)
        fitted = IsotonicRegression(out_of_bounds="clip").fit(c_s[:, p], a_s[:, p])
        if set(np.unique(c_e[:, p])) <= set(np.unique(c_s[:, p])):
            assert result.r2_isotonic[p] == pytest.approx(sklearn_metrics.r2_score(a_e[:, p], fitted.predict(c_e[:, p])), abs=1e-4)
        tau99 = toy.test.stats[x.unit.layer, "+"].tau99.astype(np.float32)[x.unit.index]
        if score.extra["cut"] is not None and (a_e[:, p] > tau99).any():
            want = sklearn_metrics.f1_score(a_e[:, p] > tau99, c_e[:, p] >= score.extra["cut"] - 1e-9)
            assert result.f1[p] == pytest.approx(want, abs=1e-9)


class Ranked:
    def __init__(self, w: World, seed: int, k: int = 6) -> None:
        rng = np.random.default_rng(seed)
        self.words = tuple(STEMS)
        self.ids = {(s.layer, "+"): np.stack([rng.choice(len(STEMS), k, replace=False) for _ in range(s.width)]) for s in w.subject.sites}
        self.ids["0", "+"][0, 3:] = -1
        self.ids["0", "+"][1, :] = -1


def test_baselines_are_the_best_nested_lists(toy: World) -> None:
    ranked = Ranked(toy, 9)
    chosen = candidates(toy, 1)
    result = select_pass(chosen, toy.select, ranked=ranked)
    assert [s.value for s in result.scores] == [s.value for s in score_select(chosen, toy.select)]
    best, s = result.baselines, whole(toy.split["select"])
    site = toy.subject.sites[0]
    a = dense(toy.subject, s, site)
    assert best.list(Unit("toy", "0", "mlp", 1), 5) == () and best.pattern(Unit("toy", "0", "mlp", 1), 5) is None
    for u in (0, 2, 3, 4, 5, 6):
        tau99 = toy.test.stats["0", "+"].tau99.astype(np.float32)[u]
        values = []
        for k in range(1, 1 + int((ranked.ids["0", "+"][u] >= 0).sum())):
            words = [STEMS[i] for i in ranked.ids["0", "+"][u, :k]]
            c = strengths(toy, s, [json.dumps({"any": [{"on": {"word": words}}]})])[0]
            rho = np.corrcoef(a[:, u], c)[0, 1]
            values.append(float(objective(np.array(rho), np.array(sklearn_metrics.average_precision_score(a[:, u] > tau99, c)))))
        for size in range(1, 7):
            got = best.list(Unit("toy", "0", "mlp", u), size)
            assert len(got) <= size
            assert values[len(got) - 1] == pytest.approx(max(values[:size]), abs=1e-6)


def test_informative_is_a_paired_interval(toy: World) -> None:
    chosen = candidates(toy, 1)
    best = select_pass(chosen, toy.select, ranked=Ranked(toy, 9)).baselines
    result = score_test(chosen, [], toy.test, baselines=best, kinds=False)
    e = whole(toy.split["test"])
    from scipy.stats import t as student

    from autolabel.patterns.syntax import dump, n_words
    from autolabel.stats import error, influence
    checked = 0
    for p, x in enumerate(chosen):
        base = best.pattern(x.unit, min(20, n_words(parse(x.pattern))))
        if base is None:
            assert result.informative[p] is None and np.isnan(result.baseline[p])
            continue
        a = activations(toy, e, [x])
        c, b = strengths(toy, e, [x.pattern, dump(base)])
        if np.isnan(result.score[p]) or b.std() == 0:
            continue
        assert result.baseline[p] == pytest.approx(np.corrcoef(a[:, 0], b)[0, 1], abs=1e-6)
        (r1, g1), (r2, g2) = (influence(Sums.of(a, y, groups(e), 256)) for y in (c, b))
        se, df, _ = error(g1 - g2)
        low = (r1 - r2 - student.ppf(0.9875, df) * se)[0]
        assert result.rho_over_baseline_low[p] == pytest.approx(low, abs=1e-4)
        assert result.informative[p] == (low > 0 or result.peak_over_baseline_low[p] > 0)
        checked += 1
    assert checked > 30


def test_two_sides() -> None:
    w = world(ToySubject(two_sided=True, layers=1), documents=(25, 5, 25), sides="+-")
    chosen = [*candidates(w, 1), *candidates(w, 2, side="-")]
    result = score_test(chosen, [], w.test, w.explain)
    e = whole(w.split["test"])
    a, c = activations(w, e, chosen), strengths(w, e, [x.pattern for x in chosen]).T
    live = ~np.isnan(result.score)
    assert live.sum() > 30
    np.testing.assert_allclose(result.score[live], [np.corrcoef(a[:, p], c[:, p])[0, 1] for p in np.flatnonzero(live)], atol=1e-6)
