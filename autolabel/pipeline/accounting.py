"""`account`: how much of what a layer does for its model its labels account for (scorers/accounting.py), layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.errors import CatalogueError, SettingsError
from autolabel.pipeline.baselines import read_baselines
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import runner
from autolabel.pipeline.layers import chosen_labels, count_looks, sample
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.session import ModelRow, dicts, model_row, recorded
from autolabel.types import Explanation, digest, hash63

if TYPE_CHECKING:
    from autolabel.protocols import ExplainSplit
    from autolabel.scorers.accounting import Account
    from autolabel.scorers.entries import Run
    from autolabel.scorers.labels import Layer
    from autolabel.scorers.predicted import Source

PREDICTORS = ("labels", "ceiling", "baseline", "permuted", "constant")
MAX_TOKENS = 10_000  # of test
FIT = 4  # times as many of select: a token costs one pass there, and one per predictor and scope on test
MOST = 1_000_000  # both are held at once
COLUMNS = ("layer", "scope", "labels", "neurons", "L original", "L mean", "L labels", "share", "low", "high", *PREDICTORS[1:],
           "reason")


@dataclass(frozen=True, slots=True)
class Accounted:
    """What a call did."""

    done: int  # layers accounted now
    before: int  # layers that were accounted before, with the same labels and settings
    left_out: int  # chosen labels that take no part: no pattern, or no score
    rows: Sequence[Mapping[str, Any]]  # of the view, of these layers

    def words(self) -> str:
        """What was read, in a line."""
        done = f"{self.done} layers accounted now, {self.before} before; {self.left_out} chosen labels take no part (no pattern, or no score)"
        if not self.rows:
            return done
        r = self.rows[0]
        what = f"loss: {r['measure']}" + (f" of the embedding ({r['pooling']})" if r["pooling"] else "")
        return f"{what}; {r['n_tokens']:,} tokens of {r['n_documents']:,} test documents, predictions fitted on {r['fit_tokens']:,} of select; {done}"


def account(catalogue: Catalogue, *, units: str | Iterable[str] | None = None, max_tokens: int = MAX_TOKENS, model: str = "", hierarchy: str = "",
            seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0, redo: bool = False,
            progress: Progress = silent) -> Accounted:
    """Replace the neurons of each layer by their chosen labels' predictions, and store what share of the loss is kept.

    units: the layers that are accounted, and which of their labels take part. Labels with a pattern and a score on test take part;
    sentences are not read again. Beside them, on the same neurons: the token lookup table (`ceiling`), the word lists of the same
    length (`baseline`), the labels dealt out anew among these neurons (`permuted`, by seed), and one list of common words
    (`constant`). max_tokens: of test, and FIT times as many of select, from which the predictions are fitted; in hash order, so a
    random sample.

    One look at test is counted for each label that takes part. Raises SettingsError, SubjectError, CatalogueError.
    """
    from autolabel.splits import explain_split, select_evidence, test_evidence
    from autolabel.subjects.whole import open_whole

    if not 0 < max_tokens <= MOST:
        raise SettingsError(f"max_tokens = {max_tokens} is out of range: 1 to {MOST:,}")
    row = model_row(catalogue, model)
    if row.is_control:
        raise SettingsError(f"{row.name} is read in part only: there is no account of a control's layers")
    chosen, left_out, layers = chosen_labels(catalogue, row, units, seed, concepts(hierarchy))
    settings = {"max_tokens": max_tokens, "seed": seed, "hierarchy": concepts(hierarchy).hash}
    basis = {layer: digest(row.hash, settings, [e.id for e in es]) for layer, es in chosen.items()}
    known = dict(catalogue.read("SELECT DISTINCT layer, basis FROM t_accounting WHERE model = ?", [row.name]))
    todo = [layer for layer in chosen if redo or known.get(layer) != basis[layer]]
    if todo:
        whole = open_whole(row.subject, revision=row.options.get("revision"), device=device, dtype=dtype, threads=threads)
        subject = whole.subject
        if subject.hash != row.hash:
            raise CatalogueError(f"{row.subject} has changed since {row.name} was extracted (hash {subject.hash}, then {row.hash}): "
                                 "restore the weights")
        explain, test = explain_split(catalogue, subject), test_evidence(catalogue, subject)
        samples = sample(select_evidence(catalogue, subject), FIT * max_tokens), sample(test, max_tokens)
        with recorded(catalogue, "account", {**settings, "units": units}, model=row.name, model_hash=row.hash, corpus=row.corpus_id,
                      seed=seed) as run:
            from autolabel.scorers.accounting import account as account_layer
            from autolabel.scorers.labels import layers_of

            for done, layer in enumerate(todo):
                progress("accounting for layers", done, len(todo))
                place = next(x for x in layers_of(test) if x.site.layer == layer)
                labels = chosen[layer]
                sources = sources_of(catalogue, row.name, labels, place, explain, runner(subject, concepts(hierarchy)), seed)
                column = np.array([place.column(e.unit) for e in labels], np.int64)
                found = account_layer(whole, place, column, sources, *samples, batch_size)
                _store(catalogue, row, place, labels, found, (whole.measure, whole.pooling), basis[layer], run)
            progress("accounting for layers", len(todo), len(todo))
    rows = dicts(catalogue, "SELECT * FROM accounting WHERE model = ? AND layer IN (SELECT unnest(?::VARCHAR[])) "
                            "ORDER BY layer_order, scope, predictor", [row.name, list(layers)])
    return Accounted(len(todo), len(chosen) - len(todo), left_out, rows)


def table(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS: one per layer and scope."""
    out = []
    for key in dict.fromkeys((r["layer"], r["scope"]) for r in rows):
        mine = {r["predictor"]: r for r in rows if (r["layer"], r["scope"]) == key}
        r = mine["labels"]
        others = (mine[name]["share"] if name in mine else None for name in PREDICTORS[1:])
        losses = (f"{r[name]:.4f}" for name in ("loss_original", "loss_mean", "loss"))
        out.append((*key, r["labels"], r["neurons"], *losses, r["share"], r["share_low"], r["share_high"], *others, r["reason"]))
    return out


def sources_of(catalogue: Catalogue, model: str, labels: Sequence[Explanation], layer: Layer, explain: ExplainSplit, run: Run,
               seed: int) -> dict[str, Source]:
    """PREDICTORS for these labels; `ceiling` and `baseline` where the catalogue has their tables."""
    from autolabel.explainers.constant import COMMON
    from autolabel.patterns.syntax import n_words
    from autolabel.scorers.labels import read_patterns, word_list
    from autolabel.scorers.lookup import load
    from autolabel.scorers.predicted import PatternSource, TableSource
    from autolabel.scorers.report import MAX_LIST

    patterns = [p for p in read_patterns(labels)[0] if p is not None]
    rng = np.random.default_rng(hash63(seed, model, layer.site.layer, "permuted"))
    order = rng.permutation(len(patterns))
    dealt = np.empty(len(patterns), np.int64)
    dealt[order] = np.roll(order, 1)  # one cycle: no label stays where it was, unless it is alone
    sources: dict[str, Source] = {"labels": PatternSource(patterns, run)}
    if (lookup := load(explain, layer)) is not None:
        sources["ceiling"] = TableSource(lookup, layer, np.array([layer.column(e.unit) for e in labels], np.int64))
    if (lists := read_baselines(catalogue, model)) is not None:
        sources["baseline"] = PatternSource([lists.pattern(e.unit, min(MAX_LIST, n_words(p))) for e, p in zip(labels, patterns, strict=True)], run)
    sources["permuted"] = PatternSource([patterns[i] for i in dealt], run)
    sources["constant"] = PatternSource([word_list(COMMON)] * len(patterns), run)
    return sources


def _store(catalogue: Catalogue, row: ModelRow, layer: Layer, labels: Sequence[Explanation], found: Account, how: tuple[str, str | None], basis: str,
           run: str) -> None:
    """One layer, in one transaction; and a look at test for each of its labels."""
    site, rows = layer.site, found.rows
    columns: dict[str, Any] = {
        "model": row.name, "layer": site.layer, "layer_order": site.order, "site": site.name, "scope": [r.scope for r in rows],
        "predictor": [r.predictor for r in rows], "share": [r.share for r in rows], "share_low": [r.low for r in rows],
        "share_high": [r.high for r in rows], "loss": [r.loss for r in rows], "loss_original": found.loss_original,
        "loss_mean": [found.loss_mean[r.scope] for r in rows], "measure": how[0], "pooling": how[1], "neurons": found.neurons,
        "labels": len(labels), "flat": [found.flat[r.predictor] for r in rows], "reason": [r.reason for r in rows],
        "n_tokens": found.n_tokens, "n_excerpts": found.n_excerpts, "n_documents": found.n_documents, "fit_tokens": found.fit_tokens,
        "basis": basis, "created": [datetime.now(UTC).replace(tzinfo=None)] * len(rows), "run": run}
    with catalogue.writer() as writer:
        def replace_it(connection: Any) -> None:
            writer.delete("t_accounting", "model = ? AND layer = ? AND site = ?", [row.name, site.layer, site.name])
            writer.insert("t_accounting", columns)
            count_looks(connection, row.name, labels)
        writer.write(replace_it)
