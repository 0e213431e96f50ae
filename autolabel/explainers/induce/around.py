"""Which contexts drive a unit: per family the best list of words, or a group of words that does as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.explainers.excess import top
from autolabel.explainers.gather import Layer
from autolabel.explainers.induce.contexts import FAMILIES, SPARSE, Contexts, residual

BAR = 3.5  # z of a context word; the largest of 2,000 normal deviates is below this in 63 % of units, the gain on all tokens decides then
MAX_LIST = 8


@dataclass(frozen=True)
class Around:
    """The best context of every unit in one family."""

    family: str
    pick: NDArray[np.int64]  # [U, MAX_LIST] rows of `Contexts.words`, -1: none; all -1 where a group is used
    group: NDArray[np.int64]  # [U] row of `Contexts.groups`, -1: none
    rho: NDArray[np.float32]  # [U] estimated correlation with the residual, words discounted by one standard error


def search(layer: Layer, where: Contexts) -> list[Around]:
    """One `Around` per family."""
    left = residual(layer, where)
    n = max(int(where.eligible.sum()), 1)
    std = np.sqrt(np.einsum("tu,tu->u", left, left) / n)
    alive = std > 1e-6 * (layer.std + layer.mean)  # below, only rounding is left
    std = np.where(alive, std, 1).astype(np.float32)
    left[:, ~alive] = 0
    by_excerpt = np.asarray(where.excerpts @ left)
    # within an excerpt residuals move together: a word that marks whole excerpts is judged by excerpts
    lump = np.sqrt(np.mean(by_excerpt ** 2, 0))
    lump = np.where(lump > 0, lump, 1).astype(np.float32)
    out = []
    for family in FAMILIES:
        if family == "excerpt":
            sums, group = np.asarray(where.present @ by_excerpt), np.asarray(where.group_present @ by_excerpt)
            error = np.sqrt(where.n_excerpts)[:, None] * lump
            group_error = np.sqrt(where.n_group_excerpts)[:, None] * lump
        else:
            sums, group = np.asarray(where.at[family] @ left), np.asarray(where.groups_at[family] @ left)
            error = np.sqrt(where.spread[family])[:, None] * std
            group_error = np.sqrt(where.group_spread[family])[:, None] * std
        out.append(_best(family, sums, np.maximum(error, 1e-9), where.spread[family], group, np.maximum(group_error, 1e-9),
                         where.group_spread[family], std * np.float32(np.sqrt(n))))
    return out


def _best(family: str, sums: NDArray[np.float32], error: NDArray[np.float32], spread: NDArray[np.float32], group: NDArray[np.float32],
          group_error: NDArray[np.float32], group_spread: NDArray[np.float32], unit: NDArray[np.float32]) -> Around:
    n_units = sums.shape[1]
    z = np.where(spread[:, None] >= 8, sums / error, -np.inf).astype(np.float32)
    pick = top(z, MAX_LIST)
    fine = np.take_along_axis(z, pick, 0) > BAR
    gain = np.where(fine, np.take_along_axis(sums - error, pick, 0), 0).cumsum(0)
    room = np.where(fine, spread[pick], 0).cumsum(0)
    rho = gain / np.sqrt(np.maximum(room, 1e-9)) / unit
    if len(rho):
        best = rho.argmax(0)
        value = np.take_along_axis(rho, best[None], 0)[0]
        kept = fine & (np.arange(len(pick))[:, None] <= best)
    else:
        value, kept = np.zeros(n_units, np.float32), fine
    words = np.full((n_units, MAX_LIST), -1, np.int64)
    words[:, :len(pick)] = np.where(kept, pick, -1).T
    which = np.full(n_units, -1, np.int64)
    if len(group):
        fine = (group > BAR * group_error) & (group_spread[:, None] >= 20)
        tall = np.where(fine, (group - group_error) / np.sqrt(np.maximum(group_spread, 1e-9))[:, None] / unit, 0)
        top_group = tall.argmax(0)
        tall = tall[top_group, np.arange(n_units)]
        # a group with a name reads better than a list: it wins unless the list is clearly ahead
        wins = tall > .85 * value
        which, value = np.where(wins & (tall > 0), top_group, -1), np.where(wins, tall, value)
        words[which >= 0] = -1
    return Around(family, words, which, value.astype(np.float32))


def rows_of(around: Around, where: Contexts, units: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Entries (unit, token) where the context of each of `units` holds, in no order, each once; and how many tokens each stands for."""
    k, g = len(where.words), len(where.groups)
    words, group = around.pick[units], around.group[units]
    row, place = np.nonzero(words >= 0)
    listed = sp.csr_matrix((np.ones(len(row), np.float32), (row, words[row, place])), shape=(len(units), k))
    named = np.flatnonzero(group >= 0)
    grouped = sp.csr_matrix((np.ones(len(named), np.float32), (named, group[named])), shape=(len(units), g))
    if around.family == "excerpt":
        holds = sp.csr_matrix(listed @ where.present + grouped @ where.group_present)
        holds.data[:] = 1
        found = sp.csr_matrix(holds @ where.probed["excerpt"][0]).tocoo()
    else:
        words_at, groups_at = where.probed[around.family]
        found = sp.csr_matrix(listed @ words_at + grouped @ groups_at).tocoo()
    weight = 1.0 if around.family in SPARSE else len(where.probes) / max(int(where.probes.sum()), 1)
    return units[found.row], found.col.astype(np.int64), weight
