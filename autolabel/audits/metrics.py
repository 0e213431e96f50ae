"""Every metric by which labels are compared in the literature, as one function each, so that all can be put to the same test.

A metric takes one label on one unit and returns a number, larger for a better label, or nan. Positive: a > tau99. The label
fires where c > 0. Weights are 1/pi of a sample, or 1 on a whole split. The tests that tell good metrics from bad ones are
those of Oikarinen, Yan and Weng 2025 (arXiv 2506.05774): take half of the label's positives away, add as many false ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.stats import average_precision
from autolabel.stats.levels import Levels

Floats = NDArray[np.float64]
EXCERPTS = 20  # active excerpts, and as many others, of detection and fuzzing
FEW = 5  # the same of top-and-random: what Bills et al. 2023 score on


@dataclass(frozen=True)
class Sight:
    """One label on one unit. Arrays are [tokens]."""

    a: Floats  # activation
    c: Floats  # strength
    weight: Floats
    positive: NDArray[np.bool_]  # a > tau99
    excerpt: NDArray[np.int64]  # number of the excerpt, ascending
    whole: bool  # all of a split, in which case weights are 1

    @property
    def fires(self) -> NDArray[np.bool_]:
        """c > 0."""
        return self.c > 0


Metric = Callable[[Sight], float]


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0 else float("nan")


def pearson(x: Floats, y: Floats, w: Floats) -> float:
    """Weighted correlation; nan where one does not vary."""
    n = w.sum()
    dx, dy = x - (w * x).sum() / n, y - (w * y).sum() / n
    vx, vy = float((w * dx * dx).sum()), float((w * dy * dy).sum())
    if not (vx > 1e-12 * (w * x * x).sum() and vy > 1e-12 * (w * y * y).sum()):
        return float("nan")
    return float((w * dx * dy).sum() / np.sqrt(vx * vy))


def precision_curve(score: Floats, truth: NDArray[np.bool_], w: Floats) -> float:
    """Average precision, tied scores as one step; nan where nothing is true."""
    value, at = np.unique(-score, return_inverse=True)
    levels = Levels(-value, np.array([0, len(value)]))
    return float(average_precision(levels, np.bincount(at, w).astype(np.float64), np.bincount(at, w * truth).astype(np.float64))[0])


def roc(score: Floats, truth: NDArray[np.bool_], w: Floats) -> float:
    """Weighted area under the ROC curve, ties counting half; nan where all or nothing is true."""
    _, at = np.unique(score, return_inverse=True)
    yes, no = np.bincount(at, w * truth), np.bincount(at, w * ~truth)
    return _ratio(float((yes * (np.cumsum(no) - no / 2)).sum()), float(yes.sum() * no.sum()))


def rho(s: Sight) -> float:
    """Weighted Pearson: the corpus correlation."""
    return pearson(s.a, s.c, s.weight)


def peak(s: Sight) -> float:
    """Average precision of the label for the tokens where the unit fires strongly."""
    return precision_curve(s.c, s.positive, s.weight)


def auprc(s: Sight) -> float:
    """Average precision of the activation for the tokens where the label fires (the direction of arXiv 2506.05774)."""
    return precision_curve(s.a, s.fires, s.weight)


def cosine(s: Sight) -> float:
    """Of a and c, not centred: a constant shift of the activations ruins it."""
    return _ratio(float((s.weight * s.a * s.c).sum()), float(np.sqrt((s.weight * s.a**2).sum() * (s.weight * s.c**2).sum())))


def _table(s: Sight) -> tuple[float, float, float, float]:
    """Weights of (hits, false alarms, misses, correct rejections)."""
    y, f, w = s.positive, s.fires, s.weight
    return float(w[y & f].sum()), float(w[~y & f].sum()), float(w[y & ~f].sum()), float(w[~y & ~f].sum())


def f1(s: Sight) -> float:
    """Harmonic mean of precision and recall."""
    hit, alarm, miss, _ = _table(s)
    return _ratio(2 * hit, 2 * hit + alarm + miss)


def iou(s: Sight) -> float:
    """Hits over everything that is active or claimed."""
    hit, alarm, miss, _ = _table(s)
    return _ratio(hit, hit + alarm + miss)


def recall(s: Sight) -> float:
    """Share of active tokens on which the label fires."""
    hit, _, miss, _ = _table(s)
    return _ratio(hit, hit + miss)


def precision(s: Sight) -> float:
    """Share of the label's tokens that are active."""
    hit, alarm, _, _ = _table(s)
    return _ratio(hit, hit + alarm)


def accuracy(s: Sight) -> float:
    """Share of tokens on which both agree."""
    hit, alarm, miss, rest = _table(s)
    return _ratio(hit + rest, hit + alarm + miss + rest)


def balanced_accuracy(s: Sight) -> float:
    """Mean of recall and specificity."""
    hit, alarm, miss, rest = _table(s)
    return (_ratio(hit, hit + miss) + _ratio(rest, rest + alarm)) / 2


def auc(s: Sight) -> float:
    """ROC area of the activation for the tokens where the label fires."""
    return roc(s.a, s.fires, s.weight)


def inverse_auc(s: Sight) -> float:
    """ROC area of the label for the active tokens."""
    return roc(s.c, s.positive, s.weight)


def spearman(s: Sight) -> float:
    """Correlation of (weighted, tied) ranks."""
    return pearson(_ranks(s.a, s.weight), _ranks(s.c, s.weight), s.weight)


def _ranks(x: Floats, w: Floats) -> Floats:
    _, at = np.unique(x, return_inverse=True)
    mass = np.bincount(at, w)
    out: Floats = (np.cumsum(mass) - mass / 2)[at]
    return out


def _chosen(s: Sight, n: int = EXCERPTS) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The most active excerpts, and as many others spread evenly over the rest: what the field scores on."""
    number, first = np.unique(s.excerpt, return_index=True)
    order = np.argsort(-np.maximum.reduceat(s.a, first), kind="stable")
    top, rest = order[:n], np.sort(order[n:])
    return number[top], number[rest[np.linspace(0, len(rest) - 1, min(n, len(rest))).astype(int)]] if len(rest) else number[:0]


def top_and_random(s: Sight) -> float:
    """Correlation over the most active and as many random excerpts (Bills et al. 2023): no estimate of the corpus correlation. Whole splits only."""
    if not s.whole:
        return float("nan")
    rows = np.isin(s.excerpt, np.concatenate(_chosen(s, FEW)))
    return pearson(s.a[rows], s.c[rows], np.ones(int(rows.sum())))


def detection(s: Sight) -> float:
    """Accuracy of "does the label occur in this excerpt" over active and other excerpts (Paulo et al. 2024), the judge being perfect. Whole splits only."""
    if not s.whole:
        return float("nan")
    top, other = _chosen(s)
    found = np.unique(s.excerpt[s.fires])
    return float((np.isin(top, found).sum() + (~np.isin(other, found)).sum()) / max(1, len(top) + len(other)))


def fuzzing(s: Sight) -> float:
    """Accuracy of "are the marked tokens right" over true marks and as many false ones (Paulo et al. 2024), the judge being perfect. Whole splits only."""
    if not s.whole:
        return float("nan")
    right, total = 0.0, 0
    for e in _chosen(s)[0]:
        rows = np.flatnonzero(s.excerpt == e)
        yes, no = rows[s.positive[rows]], rows[~s.positive[rows]]
        if len(yes) and len(no):
            false = no[np.linspace(0, len(no) - 1, min(len(yes), len(no))).astype(int)]
            right += float(s.fires[yes].mean() >= 0.5) + float(s.fires[false].mean() < 0.5)
            total += 2
    return _ratio(right, total)


GATED: tuple[str, ...] = ("rho", "peak", "rho_context", "rho_new")  # not printed where they fail
METRICS: Mapping[str, Metric] = {
    "rho": rho, "peak": peak, "cosine": cosine, "auprc": auprc, "f1": f1, "iou": iou, "recall": recall, "precision": precision,
    "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "auc": auc, "inverse_auc": inverse_auc, "spearman": spearman,
    "top_and_random": top_and_random, "detection": detection, "fuzzing": fuzzing,
}
OF_THE_STRONG = frozenset({"peak", "f1", "iou", "recall", "precision", "accuracy", "balanced_accuracy", "inverse_auc", "detection", "fuzzing"})
# These ask what happens where a > tau99: of them nothing can be asked on a unit whose strong tokens are not what its label is about.
KNOWN_TO_FAIL: Mapping[str, str] = {  # metric -> the corruption that it does not notice
    "accuracy": "missing half", "auc": "missing half", "inverse_auc": "extra", "recall": "extra", "precision": "missing half",
    "balanced_accuracy": "extra", "detection": "extra", "fuzzing": "extra", "top_and_random": "extra",
}
