"""Corpus correlation from sums, with the influence-function interval over documents.

Every figure is a function of six sums per group of documents: weighted tokens n = sum w_i L_i, and the weighted sums of a,
a^2, c, c^2 and a*c. The same formulas serve a whole split (w = 1, documents hashed into groups) and a sample (w_i = 1/pi_i,
one group per document).

    m(x) = sum_i w_i sum_t x_it / sum_i w_i L_i
    rho  = [m(ac) - m(a) m(c)] / sqrt([m(a^2) - m(a)^2] [m(c^2) - m(c)^2])
    G_d  = sum over i in d of w_i sum_t [u v - rho (u^2 + v^2)/2] / sum_j w_j L_j,   u, v the standardised a, c
    SE^2 = S2 D/(D - 1),  df = 2 S2^2 / (S4 - S2^2/D) within [1, D - 1],  S2 = sum G_d^2, S4 = sum G_d^4, D = #{G_d != 0}
    CI   = tanh(atanh(rho) +- t_df SE/(1 - rho^2)),  |rho| clipped at 1 - 1e-6

Sources: self-normalised (Hajek) ratio estimators and their linearisation, Sarndal, Swensson and Wretman 1992, section 5.5;
the influence function of a correlation, Devlin, Gnanadesikan and Kettenring 1975; degrees of freedom, Satterthwaite 1946;
the scale of the interval, Fisher 1921.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from autolabel.threads import each, stretches

Floats = NDArray[np.float64]
COLUMNS = 512  # taken at a time: what is in between stays in the cache
CLIP = 1e-6  # |rho| is kept this far from 1 on the atanh scale
FLAT = 1e-12  # a variance below this share of the second moment is zero: sums of float64 say no more


@dataclass(frozen=True)
class Sums:
    """Six sums by group of documents: `n` is [G] or [G, P], the others [G, P]; P labels (or units)."""

    n: Floats  # weighted tokens
    a: Floats  # weighted sum of the activation
    a2: Floats  # of its square
    c: Floats  # of the predicted strength
    c2: Floats  # of its square
    ac: Floats  # of the product

    def columns(self, some: slice) -> Sums:
        """Some of the labels."""
        return Sums(self.n if self.n.ndim == 1 else self.n[:, some], *(x[:, some] for x in (self.a, self.a2, self.c, self.c2, self.ac)))

    @classmethod
    def of(cls, a: Floats, c: Floats, group: NDArray[np.int64], n_groups: int, weight: Floats | None = None) -> Sums:
        """From dense columns: a, c [tokens] or [tokens, P]; group [tokens]; weight [tokens], 1 where left out."""
        a, c = (np.asarray(x, np.float64).reshape(len(group), -1) for x in (a, c))
        w = np.ones(len(group)) if weight is None else np.asarray(weight, np.float64)

        def add(x: Floats) -> Floats:
            out = np.zeros((n_groups, x.shape[1]))
            np.add.at(out, group, x * w[:, None])
            return out

        return cls(add(np.ones((len(group), 1))), add(a), add(a * a), add(c), add(c * c), add(a * c))


@dataclass(frozen=True)
class Correlation:
    """P correlations with 95 % (or other) intervals. Every array is [P]; nan where the figure does not exist."""

    rho: Floats  # [-1, 1]; nan where a or c does not vary
    low: Floats
    high: Floats
    se: Floats  # standard error of rho on its own scale
    df: Floats  # Satterthwaite degrees of freedom
    groups: Floats  # D: groups with G_d != 0
    flat_a: NDArray[np.bool_]  # a has zero variance
    flat_c: NDArray[np.bool_]  # c has zero variance

    def of(self, p: int) -> Correlation:
        """That of one label, [1]."""
        return Correlation(*(getattr(self, f.name)[[p]] for f in fields(self)))


def moments(s: Sums) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Total n, means of a and c, variances of a and c over all groups: each [P]; a variance of exactly 0 where it vanishes."""
    n = np.broadcast_to(_column(s.n), s.c.shape).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ma, mc, ma2, mc2 = (x.sum(0) / n for x in (s.a, s.c, s.a2, s.c2))
    va, vc = ma2 - ma * ma, mc2 - mc * mc
    return n, ma, mc, np.where(va > FLAT * ma2, va, 0.0), np.where(vc > FLAT * mc2, vc, 0.0)


def influence(s: Sums) -> tuple[Floats, Floats]:
    """rho [P] and the influence sums G_d [G, P] (the share of each group in the error of rho); nan where undefined."""
    return _influence(s, *moments(s))


def _influence(s: Sums, n: Floats, ma: Floats, mc: Floats, va: Floats, vc: Floats) -> tuple[Floats, Floats]:
    """G_d = (uv - rho (u2 + v2) / 2) / n, u and v standardised a and c, as what it is: a sum of the six sums of the group with weights of the label's."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(va * vc)
        rho = np.where(scale > 0, (s.ac.sum(0) / n - ma * mc) / scale, np.nan)
        half = rho / 2
        g = s.ac * (1 / (n * scale))
        for x, weight in ((s.a, 2 * half * ma / va - mc / scale), (s.c, 2 * half * mc / vc - ma / scale), (s.a2, -half / va), (s.c2, -half / vc),
                          (_column(s.n), ma * mc / scale - half * (ma * ma / va + mc * mc / vc))):
            g += x * (weight / n)
    return np.clip(rho, -1.0, 1.0), g


def error(g: Floats) -> tuple[Floats, Floats, Floats]:
    """Standard error, Satterthwaite df and number of non-zero groups from influence sums [G, P]: each [P].

    nan (and df nan) where fewer than two groups say anything.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        square = g * g
        s2, s4, d = square.sum(0), np.einsum("gp,gp->p", square, square), np.count_nonzero(square > 0, axis=0).astype(np.float64)
        se = np.sqrt(s2 * d / (d - 1))
        spread = s4 - s2**2 / d
        df = np.where(spread > 0, 2 * s2**2 / spread, np.inf)
        few = d < 2
        return np.where(few, np.nan, se), np.where(few | np.isnan(s2), np.nan, np.clip(df, 1.0, np.maximum(d - 1, 1))), d


def correlate(s: Sums, confidence: float = 0.95) -> Correlation:
    """rho with its interval for every column of the sums."""
    from scipy.stats import t as student

    def some(columns: slice) -> tuple[Floats, ...]:
        part = s.columns(columns)
        n, ma, mc, va, vc = moments(part)
        rho, g = _influence(part, n, ma, mc, va, vc)
        live = np.broadcast_to((_column(part.n) > 0).sum(0), rho.shape)
        return rho, *error(g), va, vc, live

    rho, se, df, d, va, vc, live = (np.concatenate(x) for x in zip(*each(some, stretches(s.c.shape[1], COLUMNS)), strict=True))
    # a perfect correlation: every G_d is 0 but for rounding, whose df would mean nothing; all groups with tokens agree
    perfect = (np.abs(rho) > 1 - CLIP) & (live > 1)
    df, se = np.where(perfect, live - 1.0, df), np.where(perfect, np.nan_to_num(se), se)
    z, half = fisher(rho, se)
    half = half * student.ppf(0.5 + confidence / 2, df)
    return Correlation(rho, np.tanh(z - half), np.tanh(z + half), se, df, d, ~(va > 0), ~(vc > 0))


def fisher(rho: Floats, se: Floats) -> tuple[Floats, Floats]:
    """atanh(rho), and the standard error on that scale, SE/(1 - rho^2); |rho| clipped at 1 - 1e-6."""
    r = np.clip(rho, -1 + CLIP, 1 - CLIP)
    return np.arctanh(r), se / (1 - r * r)


def p_size(rho: Floats, se: Floats, df: Floats, bar: float = 0.2, *, adaptive: bool = False) -> Floats:
    """One-sided t test of rho <= `bar` on the atanh scale, with the same SE and df as the interval: [P], 1 where it cannot be run.

    `adaptive`: the sample grew until the interval was short; p is then taken times 5/3.
    """
    from scipy.stats import t as student

    z, scale = fisher(rho, se)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = student.sf((z - np.arctanh(bar)) / scale, df)
    p = np.where(np.isnan(p), 1.0, p)
    return np.minimum(1.0, p * (5 / 3 if adaptive else 1.0))


def _column(n: Floats) -> Floats:
    return n[:, None] if n.ndim == 1 else n
