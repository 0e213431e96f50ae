"""`nulls`: labels that should not fit a unit, scored on it beside its own (scorers/misfits.py), layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autolabel.audited import failed, veil_rows
from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.baselines import read_baselines
from autolabel.pipeline.labels import embedder, runner
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.layers import chosen_labels, count_looks, sample
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.session import ModelRow, dicts, model_row, recorded, subject_of
from autolabel.types import Explanation, digest, hash63

if TYPE_CHECKING:
    from autolabel.excerpts import Excerpts
    from autolabel.patterns.syntax import Pattern
    from autolabel.scorers.entries import Run
    from autolabel.scorers.labels import Layer
    from autolabel.scorers.misfits import Compared, Near

MAX_TOKENS = 20_000  # of each split
MOST_LABELS = 8_192  # of a layer: matrices of labels x units are held
COLUMNS = ("label on the unit", "units", "mean score", "mean null", "null low", "null high", "own higher", "shown higher", "shown lower")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Nulls:
    """What a call did, and what there is for these layers."""

    done: int  # layers compared now
    before: int  # layers that were compared before, with the same labels and settings
    left_out: int  # chosen labels that take no part: no pattern, or no score
    rows: Sequence[tuple[Any, ...]]  # of COLUMNS: kind by kind over all units
    identified: str  # rank and bits in words


def nulls(catalogue: Catalogue, *, units: str | Iterable[str] | None = None, max_tokens: int = MAX_TOKENS, model: str = "", hierarchy: str = "",
          seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0, redo: bool = False,
          progress: Progress = silent) -> Nulls:
    """Score on each unit, beside its own label, the labels of its nearest units and others that should not fit it, and store the comparison.

    units: which chosen labels take part; neighbours are looked for among them. Labels need a pattern and a score on test. max_tokens: of
    explain (common words), select (neighbours) and test (scores) that are read, in hash order, so a random sample. One look at test is
    counted for each label. Raises SettingsError.
    """
    from autolabel.splits import explain_split, select_evidence, test_evidence

    if not 0 < max_tokens <= 1_000_000:
        raise SettingsError(f"max_tokens = {max_tokens} is out of range: 1 to 1,000,000")
    row, used = model_row(catalogue, model), concepts(hierarchy)
    if row.is_control:
        raise SettingsError(f"{row.name} is a control, which stands in the leaderboard alone: choose another model with --model")
    chosen, left_out, layers = chosen_labels(catalogue, row, units, seed, used)
    if many := [layer for layer, es in chosen.items() if len(es) > MOST_LABELS]:
        raise SettingsError(f"layer {many[0]} has {len(chosen[many[0]]):,} labels, more than {MOST_LABELS:,}: choose some with --units sample:N")
    settings = {"max_tokens": max_tokens, "seed": seed, "hierarchy": used.hash}
    basis = {layer: digest(row.hash, settings, [e.id for e in es]) for layer, es in chosen.items()}
    known = dict(catalogue.read("SELECT DISTINCT layer, basis FROM t_nulls WHERE model = ?", [row.name]))
    todo = [layer for layer in chosen if redo or known.get(layer) != basis[layer]]
    if todo:
        from autolabel.scorers.labels import layers_of
        from autolabel.scorers.misfits import common_words

        subject = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
        test = test_evidence(catalogue, subject)
        views = (explain_split(catalogue, subject), select_evidence(catalogue, subject), test)
        explain, *samples = (sample(view, max_tokens) for view in views)
        common, run_patterns = common_words(explain), runner(subject, used)
        with recorded(catalogue, "nulls", {**settings, "units": units}, model=row.name, model_hash=row.hash, corpus=row.corpus_id, seed=seed) as run:
            for done, layer in enumerate(todo):
                progress("scoring nulls", done, len(todo))
                place = next(x for x in layers_of(test) if x.site.layer == layer)
                columns = _layer(catalogue, row, subject, place, chosen[layer], common, run_patterns, samples, seed, batch_size)
                _store(catalogue, row, place, chosen[layer], columns | {"basis": basis[layer], "run": run})
            progress("scoring nulls", len(todo), len(todo))
    return Nulls(len(todo), len(chosen) - len(todo), left_out, *_summary(catalogue, row.name, layers))


def _layer(catalogue: Catalogue, row: ModelRow, subject: Any, layer: Layer, labels: Sequence[Explanation], common: Sequence[str], run: Run,
           samples: Sequence[Excerpts], seed: int, batch_size: int) -> dict[str, Any]:
    """Columns of t_nulls for one layer."""
    from autolabel.patterns.syntax import n_words
    from autolabel.scorers import misfits
    from autolabel.scorers.labels import read_patterns
    from autolabel.scorers.predicted import PatternSource, Source
    from autolabel.scorers.report import MAX_LIST

    patterns = [p for p in read_patterns(labels)[0] if p is not None]
    column = np.array([layer.column(e.unit) for e in labels], np.int64)
    own = PatternSource(patterns, run)
    near = misfits.near(subject, layer, column, {misfits.OWN: own}, samples[0], batch_size)
    rng = np.random.default_rng(hash63(seed, row.name, layer.site.layer, "nulls"))
    taken = _others(labels, near, rng)
    lists: dict[str, Sequence[Pattern | None]] = {kind: [patterns[i] if i >= 0 else None for i in which] for kind, (which, _) in taken.items()}
    if (baselines := read_baselines(catalogue, row.name)) is not None:
        lists["same length"] = [baselines.pattern(e.unit, min(MAX_LIST, n_words(p))) for e, p in zip(labels, patterns, strict=True)]
    lists |= {"constant": misfits.constant(patterns, common, MAX_LIST), "verbose": misfits.verbose(patterns, rng, MAX_LIST),
              "hedged": [misfits.HEDGED] * len(patterns)}
    sources: dict[str, Source] = {misfits.OWN: own, **{kind: PatternSource(some, run) for kind, some in lists.items()}}
    found = misfits.compare(subject, layer, column, sources, samples[1], batch_size)
    return _columns(labels, found, lists, taken, samples[1])


def _others(labels: Sequence[Explanation], near: Near, rng: np.random.Generator) -> dict[str, tuple[NDArray[np.int64], Floats]]:
    """Kind -> (whose label [P], -1 where there is none; likeness [P])."""
    from autolabel.patterns.embedded import vectors
    from autolabel.scorers.misfits import hardest

    p, model = len(labels), embedder()
    alike = {"nearest unit": near.units}
    if model is not None:  # without the package there is no such kind: the table has no row of it
        v = vectors(model, [e.text for e in labels])
        alike["nearest label"] = (v @ v.T).astype(np.float64)
    found = {}
    for kind, matrix in alike.items():
        which = hardest(matrix.copy(), near.rho)
        found[kind] = which, np.where(which >= 0, matrix[np.arange(p), np.maximum(which, 0)], np.nan)
    shift = rng.permutation(p)
    dealt = np.full(p, -1, np.int64)
    if p > 1:
        dealt[shift] = np.roll(shift, 1)
    return found | {"random unit": (dealt, np.where(dealt >= 0, near.units[np.arange(p), np.maximum(dealt, 0)], np.nan))}


def _columns(labels: Sequence[Explanation], found: Mapping[str, Compared], lists: Mapping[str, Sequence[Pattern | None]],
             taken: Mapping[str, tuple[NDArray[np.int64], Floats]], test: Excerpts) -> dict[str, Any]:
    from autolabel.scorers.misfits import OWN

    p, parts = len(labels), []
    for kind, compared in found.items():
        if kind == OWN:
            continue
        which, likeness = taken.get(kind, (np.full(p, -1), np.full(p, np.nan)))
        there = np.array([x is not None for x in lists[kind]])
        other = [str(labels[i].unit) if i >= 0 else _words(x) for i, x in zip(which.tolist(), lists[kind], strict=True)]
        figures = (found[OWN].rho.rho, compared.rho.rho, compared.better.low, compared.better.high)
        score, null_score, low, high = (np.where(there | (k == 0), x, np.nan) for k, x in enumerate(figures))
        null_score = np.where(there & np.isnan(null_score) & ~np.isnan(score), 0.0, null_score)  # it never fires: it predicts nothing
        parts.append({"neuron": [e.unit.index for e in labels], "side": [e.unit.side for e in labels], "kind": [kind] * p, "other": other,
                      "likeness": likeness, "score": score, "null_score": null_score, "better_low": low, "better_high": high})
    columns: dict[str, Any] = {name: np.concatenate([np.asarray(part[name], object if name in ("side", "kind", "other") else None) for part in parts])
                               for name in parts[0]}
    return columns | {"n_tokens": test.n_tokens, "n_documents": len(np.unique(test.block))}


def _words(pattern: Pattern | None) -> str | None:
    return None if pattern is None else ", ".join(v for atom in pattern.atoms() for v in atom.values)


def _store(catalogue: Catalogue, row: ModelRow, layer: Layer, labels: Sequence[Explanation], columns: dict[str, Any]) -> None:
    """One layer, in one transaction; and a look at test for each of its labels."""
    site = layer.site
    with catalogue.writer() as writer:
        def replace_it(connection: Any) -> None:
            writer.delete("t_nulls", "model = ? AND layer = ? AND site = ?", [row.name, site.layer, site.name])
            writer.insert("t_nulls", {"model": row.name, "layer": site.layer, "layer_order": site.order, "site": site.name, **columns,
                                      "created": [datetime.now(UTC).replace(tzinfo=None)] * len(columns["neuron"])})
            count_looks(connection, row.name, labels)
        writer.write(replace_it)


def _summary(catalogue: Catalogue, model: str, layers: Sequence[str]) -> tuple[list[tuple[Any, ...]], str]:
    """Rows of COLUMNS in the order of KINDS, and how well labels tell their units apart."""
    from autolabel.scorers.misfits import KINDS

    where = "WHERE model = ? AND layer IN (SELECT unnest(?::VARCHAR[]))"
    rows = catalogue.read(
        "WITH r AS (SELECT kind, count(*) AS n, avg(score) AS own, avg(null_score) AS m, "
        "1.959964 * stddev_samp(null_score) / sqrt(count(*)) AS half, avg((score > null_score)::INT) AS higher, "
        "avg(coalesce(better_low > 0, false)::INT) AS above, avg(coalesce(better_high < 0, false)::INT) AS below "
        f"FROM nulls {where} AND score IS NOT NULL AND null_score IS NOT NULL GROUP BY kind) "
        "SELECT kind, n, own, m, m - half, m + half, higher, above, below FROM r", [model, list(layers)])
    found = sorted(rows, key=lambda r: KINDS.index(r[0]))
    told = dicts(catalogue, "SELECT count(*) AS n, median(rank) AS rank, avg(bits) AS bits, avg((rank = 1)::INT) AS first, max(n_tokens) AS tokens, "
                            "max(n_documents) AS documents FROM (SELECT DISTINCT unit, rank, bits, n_tokens, n_documents FROM nulls "
                            f"{where} AND rank IS NOT NULL)", [model, list(layers)])[0]
    if not told["n"]:
        return list(veil_rows(COLUMNS, found, failed(catalogue, model))), "no label has a rank"
    words = (f"{told['n']:,} labels tell their own unit from the others of its layer by {told['bits']:.1f} bits on average; "
             f"median rank {told['rank']:.0f}, first in {told['first']:.1%}; {told['tokens']:,} tokens of {told['documents']:,} test documents")
    return list(veil_rows(COLUMNS, found, failed(catalogue, model))), words
