"""`audit`: the scores are put to the test on planted units and on a sample of the catalogue's own, and the table is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.audits.corrupt import FALLS
from autolabel.audits.metrics import GATED, KNOWN_TO_FAIL, METRICS, Metric
from autolabel.audits.paired import Finding
from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.session import ModelRow, model_row, recorded, subject_of

if TYPE_CHECKING:
    from autolabel.audits.bed import Bed
    from autolabel.protocols import Subject

COLUMNS = ("test", "metric", "on", "expected", "observed", "pass")
RHOS = (0.5, 0.7, 0.9, 1.0)  # planted
LEAST = 0.2  # rho on select of the real labels that are corrupted: a label must be worth something to be made worse
SIZES = (40, 80, 120)
NOT_RUN = (("paraphrase", "moves by <= .03", "needs an LLM that reads sentences"),
           ("instructions in a label", "no higher than without", "needs an LLM that reads sentences"))


def audit(catalogue: Catalogue, *, model: str = "", planted: int = 64, real: int = 24, n: int = 40, seeds: int = 3, draws: int = 200, catalogues: int = 20,
          metrics: Mapping[str, Metric] | None = None, hierarchy: str = "", seed: int = 0, device: str = "auto", dtype: str = "auto", threads: int = 0,
          progress: Progress = silent) -> list[Finding]:
    """Run every test on `planted` units of known truth and on `real` chosen labels of the model; store the table and return it.

    n: excerpts of the samples, at least 40. draws: samples of each of twelve units, for bias and coverage. catalogues: planted ones
    for the false-discovery rate. metrics: name -> function, to put others to the test in their place.

    Planted units stand on the test split, whose real activations are not looked at; real ones on select: what is corrupted there is
    the oracle, which says where the unit is strong, as the truth must be known, and what is estimated again and again is the chosen
    label. Raises SettingsError, CorpusError.
    """
    from autolabel.audits import beds, estimates, kinds, nulls, paired
    from autolabel.subjects.rules import Reading, Speller
    from autolabel.subjects.suite import Garden, suite

    if n < 40 or planted < 20 or seeds < 1:
        raise SettingsError("an audit needs samples of at least 40 excerpts, 20 planted units and one seed")
    row, tested = model_row(catalogue, model), {**METRICS, **(metrics or {})}
    subject, used = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads), concepts(hierarchy)
    gated = {m: tested[m] for m in GATED if m in tested}
    found: list[Finding] = []
    with recorded(catalogue, "audit", {"planted": planted, "real": real, "n": n, "seeds": seeds, "draws": draws, "catalogues": catalogues}, model=row.name,
                  model_hash=row.hash, corpus=row.corpus_id, seed=seed) as run:
        stage = _Stages(progress, 7)
        stage("planting units")
        explain, test = (beds.joined(beds.capped(catalogue.excerpts(row.corpus_id, split))) for split in ("explain", "test"))
        speller = Speller(subject.vocabulary)  # type: ignore[attr-defined]  # subjects with a tokenizer have it
        garden = Garden(Reading(speller.respelt(explain), speller.vocabulary))
        bed = beds.planted_bed(suite(garden, planted, seed, rhos=RHOS), speller, explain, test)
        mine = [bed]
        stage("reading real units")
        if (own := _real(catalogue, row, subject, real, seed, concepts(hierarchy))) is not None:
            mine.append(own)
        else:
            found.append(Finding("corruptions", "rho", "real", "own higher, >= 95 %", "the model has no chosen pattern labels", None))
        stage("corrupting labels")
        others = {m: f for m, f in tested.items() if m not in GATED}
        for one in (bed, *(b.with_oracle() for b in mine[1:])):
            found += paired.corruptions(one, gated, seeds, n) + paired.corruptions(one, gated, 1, None)
            found += paired.corruptions(one, others, 1, None, FALLS) + paired.invariance(one, gated, n) + estimates.repeatable(one, n)
        stage("estimating again and again")
        for one in mine:
            found += estimates.estimator(one, SIZES, draws, 12)
        stage("nulls")
        found += nulls.foreign(bed, seed) + nulls.nothing_said(bed, seed) + nulls.lexical(bed)
        found += nulls.false_discoveries(_pool(garden, speller, test, seed), catalogues, 240, 1, seed)
        stage("context and new words")
        found += kinds.kinds(subject, garden, explain, test, runner(subject, used), seed)
        stage("proofs")
        found += [_leakage(catalogue), *(Finding(test, "simulator", "sentences", mark, why, None) for test, mark, why in NOT_RUN)]
        found = [replace(f, known=f.passed is False and f.metric in KNOWN_TO_FAIL) for f in found]
        _store(catalogue, row, found, run)
    return found


def gated_failures(found: list[Finding]) -> list[str]:
    """The metrics among rho, peak, rho_context and rho_new that failed a test."""
    return [metric for metric in GATED if any(f.metric == metric and f.passed is False for f in found)]


def table(found: list[Finding]) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS."""
    state = {True: "pass", False: "FAILED", None: "not run"}
    return [(f.test, f.metric, f.on, f.expected, f.observed, "fails, as known" if f.known else state[f.passed]) for f in found]


def _real(catalogue: Catalogue, row: ModelRow, subject: Subject, wanted: int, seed: int, used: Any) -> Bed | None:
    """Chosen pattern labels with rho >= .2 on select, on the select split; None where there are none."""
    from autolabel.audits.bed import Bed
    from autolabel.audits.beds import capped, joined
    from autolabel.patterns.syntax import parse

    rows = catalogue.read(
        "SELECT c.layer, c.site, c.neuron, c.side, e.pattern, u.mean, u.quantiles[5] FROM choices c JOIN explanations e ON e.id = c.explanation "
        "JOIN units u ON (u.model, u.layer, u.site, u.neuron, u.side) = (c.model, c.layer, c.site, c.neuron, c.side) "
        "JOIN scores s ON s.explanation = c.explanation AND s.split = 'select' AND s.scorer = 'correlation' AND s.simulator = 'pattern' "
        "WHERE c.model = ? AND e.pattern IS NOT NULL AND s.value >= ? ORDER BY hash(c.layer || '/' || c.neuron || c.side || ?) LIMIT ?",
        [row.name, LEAST, str(seed), wanted])
    if not rows:
        return None
    excerpts = joined(capped(catalogue.excerpts(row.corpus_id, "select")))
    a = np.zeros((excerpts.n_tokens, len(rows)), np.float32)
    by_layer: dict[tuple[str, str], list[int]] = {}
    for i, (layer, site, *_) in enumerate(rows):
        by_layer.setdefault((layer, site), []).append(i)
    sites = [s for s in subject.sites if (s.layer, s.name) in by_layer]
    for batch in excerpts.batches(32):
        def visit(site: Any, x: Any, span: slice, where: slice = batch.span) -> None:
            for i in by_layer[site.layer, site.name]:
                sign = 1 if rows[i][3] == "+" else -1
                a[where, i] = (x[:, span, rows[i][2]].float() * sign).clamp_min(0).reshape(-1).cpu().numpy()
        subject.run(batch.tokens, sites, visit)
    c = runner(subject, used)([parse(r[4]) for r in rows], excerpts).csr().toarray().T.astype(np.float32)  # type: ignore[attr-defined]  # patterns' own
    return Bed("real", tuple(f"{r[0]}/{'-' if r[3] == '-' else ''}{r[2]}" for r in rows), tuple(r[0] for r in rows), excerpts, a, c,
               np.array([r[5] for r in rows]), np.array([r[6] for r in rows]))


def _pool(garden: Any, speller: Any, excerpts: Any, seed: int) -> Any:
    """Word lists of many sizes on the excerpts, documents one after the other: what catalogues of half-false labels are made of."""
    import scipy.sparse as sp

    from autolabel.audits.nulls import Pool
    from autolabel.subjects.rules import Reading, word_rule

    rng = np.random.default_rng([seed, 77])
    reading = Reading(speller.respelt(excerpts), speller.vocabulary)
    order = np.argsort(excerpts.block[excerpts.excerpt_of_token], kind="stable")
    rules = [word_rule(garden.some_words(rng, int(rng.integers(3, 10)), 3e-4, 2e-2)) for _ in range(240)]
    c = np.stack([rule.strength(reading)[order] for rule in rules], 1)
    return Pool(sp.csc_matrix(c[:, c.any(0)]), excerpts.block[excerpts.excerpt_of_token][order])


def _leakage(catalogue: Catalogue) -> Finding:
    from autolabel.catalogue.checks import check_all

    bad = [f for f in check_all(catalogue) if not f.holds]
    return Finding("leakage", "catalogue", "the catalogue", "0 rows", f"{sum(f.count for f in bad)} rows" + (f": {bad[0].check.name}" if bad else ""), not bad)


def _store(catalogue: Catalogue, row: ModelRow, found: list[Finding], run: str) -> None:
    with catalogue.writer() as writer:
        def replace_all(_connection: object) -> None:  # one transaction
            writer.delete("t_audits", "model = ?", [row.name])
            writer.insert("t_audits", {
                "model": row.name, "number": np.arange(len(found), dtype=np.int32), "test": [f.test for f in found], "metric": [f.metric for f in found],
                "scope": [f.on for f in found], "expected": [f.expected for f in found], "observed": [f.observed for f in found],
                "passed": [f.passed for f in found], "known": [f.known for f in found], "n": np.array([f.n for f in found], np.int64),
                "created": [datetime.now(UTC).replace(tzinfo=None)] * len(found), "run": run})
        writer.write(replace_all)


class _Stages:
    """Progress over the parts of an audit."""

    def __init__(self, progress: Progress, n: int) -> None:
        self.progress, self.n, self.done = progress, n, 0

    def __call__(self, name: str) -> None:
        self.progress(f"auditing: {name}", self.done, self.n)
        self.done += 1
