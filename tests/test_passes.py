"""Passes side by side: every site sees the batches in order, mistakes come out, and what is counted is the same to the bit."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "sampling"))
import extraction_case as case

from autolabel.extraction import extract
from autolabel.passes import Passes
from autolabel.scorers import score_test
from autolabel.scorers.correlation import default_run
from autolabel.types import Site
from tests.scorers.scorer_world import ToySubject, world
from tests.scorers.test_brute_force import candidates

SITES = tuple(Site(str(k), k, "mlp", 4, False) for k in range(3))


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3, "the number of threads was not put back"
    torch.set_num_threads(before)


class Sleepy:
    """Each batch takes a time of its own to reach a site."""

    concurrent = True

    def run(self, number, skip, visit):
        for site in SITES:
            time.sleep((number * 7 + site.order * 3) % 5 / 1000)
            if site.layer != skip:
                visit(site, number, slice(0, 1))


def test_every_site_sees_the_batches_in_order_and_several_at_a_time():
    seen: dict[str, list[int]] = {site.layer: [] for site in SITES}
    inside, most = set(), 0

    def visit(site, number, _span):
        nonlocal most
        assert site.layer not in inside
        inside.add(site.layer)
        most = max(most, len(inside))
        time.sleep(0.002)
        seen[site.layer].append(number)
        inside.discard(site.layer)

    with Passes(Sleepy(), SITES) as passes:
        for number in range(20):
            passes.add(partial(Sleepy().run, number, "1" if number == 7 else None), visit)
    assert seen == {layer: [n for n in range(20) if layer != "1" or n != 7] for layer in seen}
    assert most > 1


def test_wait_sees_all_that_was_added():
    seen = []
    with Passes(Sleepy(), SITES) as passes:
        for number in range(5):
            passes.add(partial(Sleepy().run, number, None), lambda site, n, _span: seen.append(n))
        passes.wait()
        assert len(seen) == 15


@pytest.mark.parametrize("where", ["visit", "job", "between"])
def test_a_mistake_comes_out_and_stops_the_others(where):
    before = threading.active_count()

    def visit(site, number, _span):
        if where == "visit" and (site.layer, number) == ("1", 4):
            raise ValueError("here")

    def job(number, visit):
        if where == "job" and number == 4:
            raise ValueError("here")
        Sleepy().run(number, None, visit)

    added = 0
    with pytest.raises(ValueError, match="here"), Passes(Sleepy(), SITES) as passes:
        for number in range(200):
            passes.add(partial(job, number), visit)
            added += 1
            if where == "between" and number == 4:
                raise ValueError("here")
    assert added < 20
    assert threading.active_count() == before


def test_a_wrapped_subject_is_not_taken_for_one_that_runs_side_by_side():
    class Wrapper:
        def __getattr__(self, name):
            return getattr(Sleepy(), name)

    threads = set()
    with Passes(Wrapper(), SITES) as passes:
        for number in range(4):
            passes.add(partial(Sleepy().run, number, None), lambda *_: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


class Apart(case.Tiny):
    concurrent = True


def test_extraction_is_the_same_side_by_side(tmp_path):
    dumps = []
    for name, subject, threads in (("alone", case.Tiny(), 1), ("apart", Apart(), 3)):
        torch.set_num_threads(threads)
        catalogue, corpus_id = case.corpus(tmp_path / f"{name}.duckdb", n=330)
        extract(catalogue, subject, corpus_id, run="r", table_bytes=1 << 16, batch_size=8, every=0)
        dumps.append(case.dump(catalogue))
    assert dumps[0] == dumps[1]


class ToyApart(ToySubject):
    concurrent = True


def scored(kind, threads, run=None, chunk=40):
    torch.set_num_threads(threads)
    w = world(kind(), documents=(40, 20, 40), chunk=chunk)
    return score_test(candidates(w, 1), candidates(w, 2, maker="other"), w.test, w.explain, run=(run or default_run)(w.test))


def assert_same(one, two):
    for name, value in vars(one).items():
        assert np.array_equal(value, getattr(two, name), equal_nan=value.dtype.kind == "f"), name


def test_scores_are_the_same_side_by_side():
    assert_same(scored(ToySubject, 1), scored(ToyApart, 3))


def test_scores_are_the_same_when_patterns_come_after_the_pass():
    """What the first batches showed is kept then, and counted at the end of the piece: on one thread each, as in the pass."""
    def late(view):
        run = default_run(view)

        def slowly(patterns, excerpts):
            time.sleep(0.1)
            return run(patterns, excerpts)
        return slowly
    assert_same(scored(ToySubject, 1, chunk=12), scored(ToyApart, 3, late, chunk=12))


@pytest.mark.parametrize("second_first", [False, True])
def test_what_is_made_side_by_side_may_end_in_any_order(second_first, monkeypatch):
    def turned(first, second):
        if second_first:
            late, early = second(), first()
            return early, late
        return first(), second()
    expected = scored(ToyApart, 3)
    monkeypatch.setattr("autolabel.scorers.report.both", turned)
    found = scored(ToyApart, 3)
    assert_same(expected, found)
    assert np.array_equal(found.p, np.fmax(found.p_foreign, found.p_size)) and (found.p_size > found.p_foreign).any()
