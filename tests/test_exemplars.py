"""What explainers may see, read from a real catalogue and judged by brute force."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import autolabel as al
from autolabel.explainers import Contrastive, InputOutput, Structured
from autolabel.explainers.showing import peak_tokens
from autolabel.pipeline.exemplars import exemplars_for, read_exemplars
from autolabel.pipeline.negatives import KEPT, WEAK
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import model_row, subject_of
from autolabel.protocols import ExplainSplit
from autolabel.render import ACTIVE, level
from autolabel.splits import explain_split
from autolabel.types import Unit


@pytest.fixture(scope="module")
def catalogue(small: Path) -> al.Catalogue:
    return al.open_catalogue(small)


@pytest.fixture(scope="module")
def split(catalogue: al.Catalogue) -> ExplainSplit:
    return explain_split(catalogue, subject_of(catalogue, model_row(catalogue, "minilm"), device="cpu"))


def never() -> ExplainSplit:
    raise AssertionError("the subject is not needed")


@pytest.mark.parametrize("which", ["explain", "select"])
def test_records_are_those_of_the_catalogue(catalogue: al.Catalogue, which: str) -> None:
    units = select_units(catalogue, "minilm", "4/7,4/3,4/1000-1004")
    found = list(read_exemplars(catalogue, units, which))  # type: ignore[arg-type]  # a Split
    assert [e.unit for e in found] == units
    for one in found:
        rows = catalogue.read("SELECT band, excerpt, activations, tokens, weight FROM exemplars WHERE unit = ? AND split = ? ORDER BY band DESC, rank",
                              [str(one.unit), which])
        assert [(r.band, r.excerpt.id, list(r.activations), r.weight) for r in one.records] == [(b, e, list(a), w) for b, e, a, _, w in rows]
        for record, (*_, tokens, _w) in zip(one.records, rows, strict=True):
            assert [record.excerpt.text[a:b] for a, b in record.excerpt.offsets] == tokens
        stats = catalogue.read("SELECT max, mean, quantiles, top_tokens FROM units WHERE model = 'minilm' AND neuron = ?", [one.unit.index])[0]
        assert (one.stats.max, one.stats.mean, list(one.stats.quantiles), list(one.stats.top_tokens)) == (stats[0], stats[1], list(stats[2]), list(stats[3]))


def test_explainers_get_what_they_need_and_the_explain_split_alone(catalogue: al.Catalogue, split: ExplainSplit) -> None:
    units = select_units(catalogue, "minilm", "4/0-5")
    plain = list(exemplars_for(catalogue, object(), units, lambda: split))
    assert all(not e.records for e in plain) and [e.unit for e in plain] == units
    shown = list(exemplars_for(catalogue, Structured(), units, never))
    ids = {r.excerpt.id for e in shown for r in e.records}
    assert catalogue.read("SELECT DISTINCT split FROM t_excerpts WHERE list_contains(?, id)", [sorted(ids)]) == [("explain",)]
    assert all(e.promoted == () for e in exemplars_for(catalogue, InputOutput(), units, lambda: split))  # an encoder without unembedding


def test_hard_negatives_are_what_they_say(catalogue: al.Catalogue, split: ExplainSplit) -> None:
    units = select_units(catalogue, "minilm", "4/0-14")
    bands: dict[str, int] = {}
    site = split.subject.sites[4]
    for one in exemplars_for(catalogue, Contrastive(), units, lambda: split):
        own = {r.excerpt.id for r in one.records if r.band == "top"}
        peaks = set(peak_tokens(one)[:4])
        negatives = [r for r in one.records if r.band.startswith("negative:")]
        assert len({r.excerpt.id for r in negatives}) == len(negatives) and not own & {r.excerpt.id for r in negatives}
        for r in negatives:
            bands[r.band] = bands.get(r.band, 0) + 1
            x = split.subject.activations(np.array([r.excerpt.tokens]), site)[0, :, one.unit.index].clamp_min(0)
            assert np.allclose(r.activations, x.numpy(), atol=1e-4)
            levels = [level(a, one.stats.max) for a in r.activations]
            assert max(levels) <= WEAK
            if r.band == "negative:token":
                at = [n for n, token in zip(levels, r.excerpt.tokens, strict=True) if token in peaks]
                assert at and max(at) < ACTIVE
            if r.band == "negative:neighbour":
                others = catalogue.read("SELECT count(DISTINCT b.neuron) FROM activations a JOIN activations b USING (model, layer, side, split, band) WHERE a.model = "
                                        "'minilm' AND split = 'explain' AND band = 'top' AND a.neuron = ? AND b.excerpt = ? AND b.neuron <> a.neuron AND EXISTS "
                                        "(SELECT 1 FROM activations c WHERE c.model = 'minilm' AND c.split = 'explain' AND c.band = 'top' AND c.neuron = b.neuron "
                                        "AND c.excerpt IN (SELECT excerpt FROM activations d WHERE d.model = 'minilm' AND d.split = 'explain' AND d.band = 'top' "
                                        "AND d.neuron = a.neuron))", [one.unit.index, r.excerpt.id])
                assert others[0][0] >= 1
    assert set(bands) == {"negative:token", "negative:near", "negative:neighbour"} and max(bands.values()) <= 15 * KEPT and min(bands.values()) > 10


def test_reading_150_units_is_quick(catalogue: al.Catalogue) -> None:
    units = [Unit("minilm", "4", "mlp", i) for i in range(0, 1500, 10)]
    start = time.process_time()
    found = list(read_exemplars(catalogue, units))
    assert len(found) == 150 and time.process_time() - start < 2
