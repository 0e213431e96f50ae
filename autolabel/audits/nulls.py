"""What chance makes of it: foreign labels, labels that say nothing, and whole catalogues of which half the labels are false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.audits.bed import Bed
from autolabel.audits.paired import Finding
from autolabel.stats import Sums, correlate, p_size, rank_p
from autolabel.subjects.planted import noise_for
from autolabel.verdicts import Findings, judge

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GROUPS = 256
FALSE_DISCOVERIES, POWER = 0.05, 0.8
STRONG = 0.4  # planted rho from which power is asked for


def correlations(a: Floats, c: Floats) -> Floats:
    """[P, U] of every label c [tokens, P] with every unit a [tokens, U]; nan where one does not vary."""
    n = len(a)
    da, dc = a - a.mean(0), c - c.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.outer(dc.std(0), da.std(0))
        return np.where(scale > 0, (dc.T @ da) / n / scale, np.nan)


def foreign_p(matrix: Floats, label: Ints, unit: Ints) -> Floats:
    """p of label i on a unit that is not its own: the rank of its rho among all other units but its own. matrix [P, U], own on the diagonal."""
    out = []
    for p, u in zip(label.tolist(), unit.tolist(), strict=True):
        others = np.delete(matrix[p], [p, u])
        others = others[~np.isnan(others)]
        out.append(float(rank_p((others >= matrix[p, u]).sum(), len(others))) if not np.isnan(matrix[p, u]) else 1.0)
    return np.array(out)


def foreign(bed: Bed, seed: int = 0) -> list[Finding]:
    """Labels put on units that they do not belong to: their p-values must not be small too often (Kolmogorov-Smirnov, one-sided)."""
    from scipy.stats import kstest

    live = np.flatnonzero((bed.c > 0).any(0) & (bed.a > 0).any(0))
    if len(live) < 10:
        return [Finding("null p uniform", "rho", bed.what, "KS p >= .01", "fewer than ten units", None)]
    matrix = correlations(bed.a[:, live].astype(np.float64), bed.c[:, live].astype(np.float64))
    rng = np.random.default_rng(seed)
    shift = int(rng.integers(1, len(live)))
    order = rng.permutation(len(live))
    p = foreign_p(matrix, order, np.roll(order, shift))
    test = kstest(p, "uniform", alternative="greater")  # too many small values; ties at the top are no harm
    own = np.diag(matrix)
    foreign_rho = matrix[order, np.roll(order, shift)]
    return [Finding("null p uniform", "rho", bed.what, "KS p >= .01", f"KS p = {test.pvalue:.3f}", bool(test.pvalue >= 0.01), len(p)),
            Finding("foreign labels about 0", "rho", bed.what, "|mean| <= .03, own above",
                    f"{np.nanmean(foreign_rho):+.3f}, own {np.nanmean(own):.3f}",
                    bool(abs(np.nanmean(foreign_rho)) <= 0.03 and np.nanmean(own) > np.nanmean(foreign_rho)), len(p))]


def nothing_said(bed: Bed, seed: int = 0) -> list[Finding]:
    """Labels that say nothing of their unit: empty ones are unscored, the others are no discoveries, q >= .05.

    verbose: everything that ten other units' labels say; constant: the ten most frequent token types; hedged: half strength for the types
    that make up half of the tokens, a quarter for the rest.
    """
    live = np.flatnonzero((bed.c > 0).any(0) & (bed.a > 0).any(0))
    group, tokens = bed.block % GROUPS, bed.excerpts.tokens
    a = bed.a[:, live].astype(np.float64)
    empty = np.isnan(correlate(Sums.of(a, np.zeros((len(group), len(live))), group, GROUPS)).rho)
    rng = np.random.default_rng(seed)
    types, count = np.unique(tokens, return_counts=True)
    order = np.argsort(-count, kind="stable")
    common = types[order[:int(np.searchsorted(np.cumsum(count[order]), len(tokens) / 2)) + 1]]
    same = {"constant": np.isin(tokens, types[order[:10]]).astype(np.float64), "hedged": np.where(np.isin(tokens, common), 0.5, 0.25)}
    others = [rng.choice(live[live != u], min(10, len(live) - 1), replace=False) for u in live]
    said = {"verbose": np.stack([bed.c[:, some].max(1) for some in others], 1).astype(np.float64),
            **{name: np.repeat(c[:, None], len(live), 1) for name, c in same.items()}}
    out = [Finding("empty label", "rho", bed.what, "unscored", f"{int(empty.sum())} of {len(live)} unscored", bool(empty.all()), len(live))]
    for name, c in said.items():
        r, matrix = correlate(Sums.of(a, c, group, GROUPS)), correlations(a, c)
        rank = np.array([rank_p((np.delete(matrix[i], i) >= matrix[i, i]).sum(), len(live) - 1) for i in range(len(live))])
        q = judge(Findings(np.nan_to_num(rank, nan=1.0), p_size(r.rho, r.se, r.df), r.rho, abstained=[None] * len(live))).q
        found = int((q < 0.05).sum())
        out.append(Finding(f"{name} label", "confirmed", bed.what, "q >= .05", f"{found} of {len(live)} below", found == 0, len(live)))
    return out


def lexical(bed: Bed) -> list[Finding]:
    """Units planted without noise: the true label of a unit that only names tokens must score at least .9. Units that never fire are told apart."""
    planted = [u for u in range(len(bed)) if bed.targets and bed.targets[u] == 1.0]
    if not planted:
        return []
    live = [u for u in planted if np.ptp(bed.a[:, u]) > 0]
    silent = f"; {len(planted) - len(live)} never fire" if len(live) < len(planted) else ""
    if not live:
        return [Finding("planted lexical units", "rho", bed.what, "each >= .9", f"no value{silent}", None, 0)]
    value = [float(np.corrcoef(bed.a[:, u], bed.c[:, u])[0, 1]) if np.ptp(bed.c[:, u]) > 0 else 0.0 for u in live]  # the same of every token: says nothing
    return [Finding("planted lexical units", "rho", bed.what, "each >= .9", f"least {min(value):.3f}{silent}", min(value) >= 0.9, len(value))]


@dataclass(frozen=True)
class Pool:
    """Rules on a corpus, from which catalogues of half-false labels are made."""

    c: sp.csc_matrix  # [tokens, R] strengths of R rules
    block: Ints  # [tokens] document of each token, tokens of a document together


@dataclass(frozen=True)
class Discoveries:
    """What one catalogue's `confirmed` held."""

    confirmed: int
    false: int  # of them
    strong: int  # units with planted rho >= .4 that are no false labels
    found: int  # of them


def catalogue(pool: Pool, rng: np.random.Generator, units: int, ratio: int) -> Discoveries:
    """One planted catalogue: labels drawn from another unit (a quarter), true ones of rho .1 to .2 (a quarter), of .25 to .9 (half).

    Its documents are 1/ratio as many as the corpus has, drawn with replacement; rho is that of the corpus.
    """
    documents, first = np.unique(pool.block, return_index=True)
    order = np.argsort(first)
    ends = np.append(first[order][1:], len(pool.block))
    draw = rng.integers(0, len(documents), max(20, len(documents) // ratio))
    length = (ends - first[order])[draw]
    rows = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length) + np.repeat(first[order][draw], length)
    group = np.repeat(np.arange(len(draw)), length) % GROUPS
    rule = rng.permutation(pool.c.shape[1])[:units] if pool.c.shape[1] >= units else rng.integers(0, pool.c.shape[1], units)
    quarter = units // 4
    rho = np.r_[rng.uniform(0.25, 0.9, quarter), rng.uniform(0.1, 0.2, quarter), rng.uniform(0.25, 0.9, units - 2 * quarter)]
    label = np.r_[np.roll(rule[:quarter], 1), rule[quarter:]]
    false = (np.arange(units) < 2 * quarter) & ~((np.arange(units) < quarter) & (label == rule))
    c_all = sp.csr_matrix(pool.c)[rows].tocsc()
    a = _units(pool, c_all, rule, rho, rng)
    c = sp.csc_matrix(c_all[:, label])
    return _judged(a, c, group, rho, false)


def _units(pool: Pool, c: sp.csc_matrix, rule: Ints, rho: Floats, rng: np.random.Generator) -> sp.csc_matrix:
    """a [tokens, units]: the rule with jitter, and noise that brings it to rho on the corpus."""
    n, big = c.shape[0], pool.c.shape[0]
    columns = []
    for r, target in zip(rule.tolist(), rho.tolist(), strict=True):
        whole = pool.c.data[pool.c.indptr[r]:pool.c.indptr[r + 1]]
        noise = noise_for(target, np.r_[whole, np.zeros(big - len(whole))])
        at, value = c.indices[c.indptr[r]:c.indptr[r + 1]], c.data[c.indptr[r]:c.indptr[r + 1]]
        value = value * (1 + noise.jitter * np.sqrt(12) * (rng.random(len(value)) - 0.5))
        where = np.flatnonzero(rng.random(n) < noise.share)
        extra = sp.csc_matrix((rng.exponential(noise.scale, len(where)), (where, np.zeros(len(where), int))), shape=(n, 1))
        columns.append(sp.csc_matrix((value, (at, np.zeros(len(at), int))), shape=(n, 1)) + extra)
    return sp.csc_matrix(sp.hstack(columns))


def _judged(a: sp.csc_matrix, c: sp.csc_matrix, group: Ints, rho: Floats, false: NDArray[np.bool_]) -> Discoveries:
    n, units = a.shape
    spread = sp.csr_matrix((np.ones(n), (group, np.arange(n))), shape=(GROUPS, n))

    def by_group(x: sp.csc_matrix) -> Floats:
        return np.asarray((spread @ x).todense(), np.float64)

    s = Sums(np.bincount(group, minlength=GROUPS).astype(float), by_group(a), by_group(a.multiply(a).tocsc()), by_group(c),
             by_group(c.multiply(c).tocsc()), by_group(a.multiply(c).tocsc()))
    r = correlate(s)
    product = np.asarray((c.T @ a).todense(), np.float64) / n
    mc, ma, mc2, ma2 = (x.sum(0) / n for x in (s.c, s.a, s.c2, s.a2))
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = (product - np.outer(mc, ma)) / np.sqrt(np.outer(mc2 - mc**2, ma2 - ma**2))
    own = np.diag(matrix)
    beaten_units = (matrix >= own[:, None]).sum(1) - 1  # this label on the other units
    beaten_labels = (matrix >= own[None, :]).sum(0) - 1  # the other labels on this unit
    p_foreign = np.maximum(rank_p(beaten_units, units - 1), rank_p(beaten_labels, units - 1))
    documents = (s.c > 0).sum(0)
    why: Sequence[str | None] = ["rests on too little" if d < 20 or not df >= 6 else None for d, df in zip(documents, r.df, strict=True)]
    unscored: Sequence[str | None] = ["does not vary" if np.isnan(x) else None for x in r.rho]
    verdict = judge(Findings(np.nan_to_num(p_foreign, nan=1.0), p_size(r.rho, r.se, r.df), r.rho, abstained=[None] * units, unscored=unscored,
                             imprecise=why)).verdict
    sure = verdict == "confirmed"
    strong = ~false & (rho >= STRONG)
    return Discoveries(int(sure.sum()), int((sure & false).sum()), int(strong.sum()), int((sure & strong).sum()))


def false_discoveries(pool: Pool, seeds: int, units: int, ratio: int, first_seed: int = 0) -> list[Finding]:
    """Realised false-discovery rate of `confirmed` and power, over planted catalogues."""
    got = [catalogue(pool, np.random.default_rng([first_seed, k]), units, ratio) for k in range(seeds)]
    rate = np.array([d.false / max(1, d.confirmed) for d in got])
    upper = float(rate.mean() + 1.645 * rate.std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else float("nan")
    power = sum(d.found for d in got) / max(1, sum(d.strong for d in got))
    on = f"{seeds} planted catalogues of {units} units"
    return [Finding("realised false-discovery rate", "confirmed", on, f"<= {FALSE_DISCOVERIES:.0%}", f"{rate.mean():.2%} (95 % upper limit {upper:.2%})",
                    bool(rate.mean() <= FALSE_DISCOVERIES), seeds),
            Finding("power at planted rho >= .4", "confirmed", on, f">= {POWER:.0%}", f"{power:.1%}", power >= POWER, sum(d.strong for d in got))]
