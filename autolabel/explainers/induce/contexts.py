"""Words around a token, as 0/1 rows over tokens, and how units respond to them beyond the token's own type and position.

Four families: the `previous` word, the `next` word, `near` (within 4 words on either side), anywhere in the `excerpt`. A
context is searched on the residual of the activation after the additive effects of token type and position,
fitted by backfitting on their sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.explainers.gather import Layer, indicator
from autolabel.explainers.lexicon import Lexicon
from autolabel.patterns.syntax import Atom

FAMILIES = ("previous", "next", "near", "excerpt")
SPARSE = ("previous", "next")  # families that hold at few tokens
NEAR = 4  # words
MIN_SPREAD, MAX_WORDS = 8, 1_500  # document groups that a context word must occur in; words per family at most
MIN_TYPE = 5  # occurrences of a token type below which its effect is not fitted
BLOCK = 128  # tokens whose rows of all neurons stay in a core's cache
PROBES = 12_000  # tokens on which a context that holds at many tokens is tried
ROUNDS = 4  # of backfitting; the first two bring all but .001 of the change


@dataclass(frozen=True)
class Group:
    """Words that a context names together."""

    atom: Atom  # as a pattern says it
    text: str  # as a sentence says it: `a personal pronoun`
    forms: NDArray[np.int64]  # forms of the lexicon


@dataclass(frozen=True)
class Contexts:
    """K context words, and where each holds."""

    words: NDArray[np.int64]  # [K] word numbers of the lexicon
    at: dict[str, sp.csr_matrix]  # family -> [K, N] 0/1 float32
    eligible: NDArray[np.bool_]  # [N] tokens whose type occurs often enough
    type_of: NDArray[np.int64]  # [N] row of the token's type
    by_type: sp.csr_matrix  # [types, N] 0/1, eligible tokens only
    by_position: sp.csr_matrix  # [positions, N] 0/1, eligible tokens only
    spread: dict[str, NDArray[np.float32]]  # family -> [K] variance left of each row after type and position: sum over tokens
    excerpts: sp.csr_matrix  # [E, N] 0/1
    present: sp.csr_matrix  # [K, E] 0/1: the words of each excerpt
    n_excerpts: NDArray[np.float32]  # [K] excerpts with each word
    groups: tuple[Group, ...]  # G groups
    groups_at: dict[str, sp.csr_matrix]  # family -> [G, N] 0/1, but for the family `excerpt` (see group_present)
    group_spread: dict[str, NDArray[np.float32]]  # family -> [G], as `spread`
    group_present: sp.csr_matrix  # [G, E] 0/1
    n_group_excerpts: NDArray[np.float32]  # [G]
    probes: NDArray[np.bool_]  # [N] whole excerpts, evenly drawn: where the families `near` and `excerpt` are tried

    @cached_property
    def probed(self) -> dict[str, tuple[sp.csr_matrix, sp.csr_matrix]]:
        """family -> the rows of words and of groups over tokens where they are tried; of `excerpt`: [E, N], twice."""
        whole = {f: (self.at[f], self.groups_at[f]) for f in SPARSE}
        excerpts = _only(self.excerpts, self.probes)
        return whole | {"near": (_only(self.at["near"], self.probes), _only(self.groups_at["near"], self.probes)), "excerpt": (excerpts, excerpts)}


def contexts(lexicon: Lexicon, groups: Sequence[Group]) -> Contexts:
    """The context words of a lexicon, and the groups."""
    wide = np.flatnonzero(lexicon.word_spread >= MIN_SPREAD)
    words = np.sort(wide[np.argsort(-lexicon.word_spread[wide], kind="stable")][:MAX_WORDS])
    # which rows (words, then groups) each form belongs to
    word_row, n_forms = np.full(len(lexicon.words), -1, np.int64), len(lexicon.forms)
    word_row[words] = np.arange(len(words))
    kept = np.flatnonzero(word_row[lexicon.form_word] >= 0)
    row = [word_row[lexicon.form_word[kept]], *(np.full(len(g.forms), len(words) + i) for i, g in enumerate(groups))]
    of_form = indicator(np.concatenate(row), len(words) + len(groups), np.concatenate([kept, *(g.forms for g in groups)]), n_forms)
    excerpts = indicator(lexicon.excerpt, int(lexicon.excerpt.max(initial=-1)) + 1)
    runs = indicator(lexicon.run_form, n_forms)  # [forms, runs]
    in_word = np.flatnonzero(lexicon.run_of_token >= 0)
    of_run, n, cut = lexicon.run_of_token[in_word], lexicon.n_tokens, len(words)
    def around(steps: Sequence[int]) -> sp.csr_matrix:
        """[rows, N] where the row holds for a word so many steps away, within the excerpt."""
        there, token = [], []
        for step in steps:
            at = of_run + step
            fine = (at >= 0) & (at < len(lexicon.run_form))
            fine[fine] = lexicon.run_excerpt[at[fine]] == lexicon.run_excerpt[of_run[fine]]
            there.append(at[fine])
            token.append(in_word[fine])
        reach = indicator(np.concatenate(there), len(lexicon.run_form), np.concatenate(token), n)
        rows = sp.csr_matrix(of_form @ (runs @ reach))
        rows.data[:] = 1
        return rows
    rows = {"previous": around([-1]), "next": around([1]), "near": around([s for s in range(-NEAR, NEAR + 1) if s])}
    present = sp.csr_matrix(of_form @ (runs @ indicator(lexicon.run_excerpt, excerpts.shape[0]).T))
    present.data[:] = 1
    _, type_of, count = np.unique(lexicon.token, return_inverse=True, return_counts=True)
    eligible = count[type_of] >= MIN_TYPE
    live = np.flatnonzero(eligible)
    by_type = indicator(type_of[live], len(count), live, n)
    by_position = indicator(lexicon.position[live], int(lexicon.position.max(initial=-1)) + 1, live, n)
    n_type = np.maximum(np.asarray(by_type.sum(1)).ravel(), 1).astype(np.float32)
    spread = {family: _spread(sp.csr_matrix(m @ by_type.T), n_type) for family, m in rows.items()}
    spread["excerpt"] = _spread(sp.csr_matrix(present @ (excerpts @ by_type.T)), n_type)
    n_excerpts = np.asarray(present.sum(1)).ravel()
    return Contexts(words, {f: m[:cut] for f, m in rows.items()}, eligible, type_of, by_type, by_position,
                    {f: v[:cut] for f, v in spread.items()}, excerpts, present[:cut], n_excerpts[:cut], tuple(groups),
                    {f: m[cut:] for f, m in rows.items()}, {f: v[cut:] for f, v in spread.items()}, present[cut:], n_excerpts[cut:],
                    lexicon.excerpt % max(1, -(-n // PROBES)) == 0)


def _only(rows: sp.csr_matrix, columns: NDArray[np.bool_]) -> sp.csr_matrix:
    """The same rows, 0 outside `columns`."""
    kept = sp.csr_matrix(rows.multiply(columns[None, :].astype(np.float32)))
    kept.eliminate_zeros()
    return kept


def _spread(per_type: sp.csr_matrix, n_type: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows] sum over types of n p (1 - p): what is left of the variance of a 0/1 row within token types."""
    total = np.asarray(per_type.sum(1)).ravel()
    return np.asarray(total - per_type.power(2) @ (1 / n_type), np.float32)


def residual(layer: Layer, where: Contexts) -> NDArray[np.float32]:
    """[N, U] a minus its type and position effects; 0 at tokens that are not eligible."""
    n_type = np.maximum(np.asarray(where.by_type.sum(1)), 1).astype(np.float32)
    n_position = np.maximum(np.asarray(where.by_position.sum(1)), 1).astype(np.float32)
    type_sums, position_sums = np.asarray(where.by_type @ layer.a), np.asarray(where.by_position @ layer.a)
    cross = sp.csr_matrix(where.by_type @ where.by_position.T)
    position = np.zeros_like(position_sums)
    types = type_sums / n_type
    for _ in range(ROUNDS):
        types = (type_sums - cross @ position) / n_type
        position = (position_sums - cross.T @ types) / n_position
    at = np.asarray(where.by_position.T @ np.arange(len(n_position), dtype=np.float32)).astype(np.int64)
    left = np.empty_like(layer.a)
    for first in range(0, len(left), BLOCK):
        rows = slice(first, first + BLOCK)
        np.subtract(layer.a[rows], types[where.type_of[rows]], out=left[rows])
        left[rows] -= position[at[rows]]
    left[~where.eligible] = 0
    return left
