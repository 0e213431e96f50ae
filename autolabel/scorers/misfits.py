"""Labels that should not fit a unit, scored on it beside its own, on the same documents: the nulls that are harder than chance.

* nearest unit: of the 5 units of the layer whose activation correlates most with this one's on *select*, the label that does best on
  this unit there
* nearest label: the same of the 5 labels whose sentences are nearest by embedding
* random unit: the label of another unit, by seed
* same length: the word list with at most as many words (`baseline`)
* constant: the most common words of *explain*, as many as the label has, the same for all units
* verbose: as many words, drawn from what the labels of ten other units list
* hedged: half strength for every word, a quarter for punctuation: it is never quite wrong

Compared by rho (stats/correlation.py) with the paired 97.5 % interval of the difference (stats/paired.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.patterns.syntax import Pattern, n_words, parse
from autolabel.patterns.words import WordTable
from autolabel.protocols import Subject
from autolabel.scorers.foreign import correlation_matrix
from autolabel.scorers.labels import Layer, word_list
from autolabel.scorers.predicted import Sources
from autolabel.scorers.walk import GROUPS, cut
from autolabel.stats import Correlation, Difference, Sums, correlate, influence, paired_rho

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KINDS = ("nearest unit", "nearest label", "random unit", "same length", "constant", "verbose", "hedged")
OWN = "own"
NEAREST = 5
TALKERS = 10  # units whose labels a verbose one is made of
HEDGED = parse('{"any":[{"on":{"class":"word"},"strength":0.5},{"on":{"class":"punct"},"strength":0.25}]}')


@dataclass(frozen=True)
class Near:
    """What select says of P labels and their units. Both [P, P]; nan where one of the two does not vary."""

    units: Floats  # correlation of the activations of two units
    rho: Floats  # of label p on unit u


@dataclass(frozen=True)
class Compared:
    """One kind of label on P units, beside their own."""

    rho: Correlation  # of the labels of this kind
    better: Difference  # own minus this


def near(subject: Subject, layer: Layer, column: Ints, own: Sources, select: Excerpts, batch_size: int = 32) -> Near:
    """One pass over select. own: one source, the labels themselves; column [P]: the unit of each."""
    (source,), p = own.values(), len(column)
    n, a1, a2, c1, c2, aa, ca = 0, *(np.zeros(p) for _ in range(4)), np.zeros((p, p)), np.zeros((p, p))
    for piece, _ in cut(select):
        read = source.read(piece)
        for batch in piece.batches(batch_size):
            a, c = activations(subject, layer, column, batch.tokens), read(batch.span).astype(np.float32)
            n += len(a)
            a1 += a.sum(0, dtype=np.float64)
            c1 += c.sum(0, dtype=np.float64)
            a2 += np.einsum("tp,tp->p", a, a, dtype=np.float64)
            c2 += np.einsum("tp,tp->p", c, c, dtype=np.float64)
            aa += a.T @ a
            ca += c.T @ a
    n = max(n, 1)
    return Near(correlation_matrix(aa / n, a1 / n, a2 / n, a1 / n, a2 / n), correlation_matrix(ca / n, c1 / n, c2 / n, a1 / n, a2 / n))


def hardest(likeness: Floats, rho: Floats, k: int = NEAREST) -> Ints:
    """[P] of the k others that are most alike [P, P] to each unit, the one whose label does best on it; -1 where there is no other."""
    p = len(likeness)
    if p < 2:
        return np.full(p, -1, np.int64)
    alike = np.nan_to_num(likeness, nan=-2.0)
    np.fill_diagonal(alike, -3.0)
    k = min(k, p - 1)
    some = np.argpartition(-alike, k - 1, axis=1)[:, :k]
    merit = np.nan_to_num(np.take_along_axis(rho.T, some, 1), nan=-2.0)  # rho.T[u, p]: label p on unit u
    found: Ints = some[np.arange(p), merit.argmax(1)].astype(np.int64)
    return found


def compare(subject: Subject, layer: Layer, column: Ints, sources: Sources, test: Excerpts, batch_size: int = 32) -> dict[str, Compared]:
    """Every source but `own` beside it on test. A label that never fires is compared as rho 0 without error."""
    p, kept = len(column), ("c", "c2", "ac")
    n, a, a2 = np.zeros(GROUPS), np.zeros((GROUPS, p)), np.zeros((GROUPS, p))
    total = {name: {k: np.zeros((GROUPS, p)) for k in kept} for name in sources}
    for piece, _ in cut(test):
        read = {name: source.read(piece) for name, source in sources.items()}
        for batch in piece.batches(batch_size):
            group, shape = piece.block[batch.rows] % GROUPS, (*batch.tokens.shape, p)
            x = activations(subject, layer, column, batch.tokens).astype(np.float64).reshape(shape)
            np.add.at(n, group, shape[1])
            np.add.at(a, group, x.sum(1))
            np.add.at(a2, group, np.square(x).sum(1))
            for name, sums in total.items():
                c = read[name](batch.span).reshape(shape)
                for key, values in zip(kept, (c, c * c, c * x), strict=True):
                    np.add.at(sums[key], group, values.sum(1))
    found = {name: Sums(n, a, a2, **sums) for name, sums in total.items()}
    own = influence(found[OWN])
    return {name: Compared(correlate(sums), paired_rho(own, _silent(influence(sums), found[OWN]))) for name, sums in found.items()}


def _silent(x: tuple[Floats, Floats], own: Sums) -> tuple[Floats, Floats]:
    """Where this label does not vary, but the unit does, it predicts nothing: rho 0."""
    gone = np.isnan(x[0]) & ~np.isnan(influence(own)[0])
    return np.where(gone, 0.0, x[0]), np.where(gone, 0.0, x[1])


def activations(subject: Subject, layer: Layer, column: Ints, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """a [B * T, P] of these units (columns of the layer) on windows [B, T]."""
    sign = np.array([1.0 if side == "+" else -1.0 for side in layer.sides], np.float32)[column // layer.site.width]
    x = subject.activations(tokens, layer.site).reshape(-1, layer.site.width)[:, column % layer.site.width].numpy()
    out: NDArray[np.float32] = np.maximum(x * sign, 0)
    return out


def common_words(explain: Excerpts) -> tuple[str, ...]:
    """The words of letters of these excerpts, case-folded, the most frequent first."""
    table = WordTable.build(explain)
    words = list(table.folded_index)
    count = np.bincount(table.folded_of_surface[table.surface], minlength=len(words))
    return tuple(words[i] for i in np.argsort(-count, kind="stable").tolist() if words[i].isalpha())


def constant(patterns: Sequence[Pattern], common: Sequence[str], most: int) -> list[Pattern]:
    """As many of the most common words as each pattern has, at most `most`."""
    return [word_list(tuple(common[:min(most, n_words(p))])) for p in patterns]


def verbose(patterns: Sequence[Pattern], rng: np.random.Generator, most: int) -> list[Pattern | None]:
    """As many words as each pattern has, at most `most`, drawn from those that ten others list; None where these list none."""
    lists = [sorted({v for atom in p.atoms() if atom.kind == "word" for v in atom.values}) for p in patterns]
    found: list[Pattern | None] = []
    for i, p in enumerate(patterns):
        others = rng.choice(len(patterns) - 1, min(TALKERS, len(patterns) - 1), replace=False) if len(patterns) > 1 else np.zeros(0, np.int64)
        words = sorted({w for j in others.tolist() for w in lists[j + (j >= i)]} - set(lists[i]))
        drawn = rng.permutation(len(words))[:min(most, n_words(p))]
        found.append(word_list(tuple(words[k] for k in sorted(drawn.tolist()))) if words else None)
    return found
