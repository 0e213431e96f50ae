"""The operations for accelerators store what brute force finds: on a GPU where there is one, and always on the CPU."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "sampling"))
import extraction_case as case
from test_extraction import SMALL, Killed, check_records, check_units, stop_at

from autolabel.extraction import extract
from autolabel.sampling.best import DenseBest
from autolabel.sampling.work import Content
from autolabel.types import SPLITS

CPU = torch.device("cpu")
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))


@dataclass(frozen=True)
class Elsewhere(case.Tiny):
    """The same on a device."""

    device: torch.device = CPU

    def run(self, tokens, sites, visit):
        super().run(tokens, sites, lambda site, x, span: visit(site, x.to(self.device), span))


@pytest.fixture(params=["cpu", CUDA])
def subject(request, monkeypatch):
    """A subject whose activations are counted as an accelerator counts."""
    if request.param == "cpu":
        monkeypatch.setattr(Content, "on_cpu", False)
        for module in ("observe", "strata", "priority"):
            monkeypatch.setattr(f"autolabel.sampling.{module}.best_for", lambda device: DenseBest)
    return Elsewhere(device=torch.device(request.param))


@pytest.mark.parametrize("special", [False, True])
def test_all_rows_equal_brute_force(subject, special, tmp_path):
    catalogue, corpus_id = case.corpus(tmp_path / "a.duckdb", n=100, special=special)
    extract(catalogue, subject, corpus_id, run="r", table_bytes=SMALL)
    for site in subject.sites:
        check_units(catalogue, corpus_id, subject, site, (1, site.width - 1))
        for split in SPLITS[special:]:
            check_records(catalogue, corpus_id, subject, site, (1,), split)


def test_the_same_windows_are_kept_whatever_the_batch_size(subject, tmp_path):
    found = []
    for size in (1, 30):
        catalogue, corpus_id = case.corpus(tmp_path / f"{size}.duckdb", n=40)
        extract(catalogue, subject, corpus_id, run="r", table_bytes=SMALL, batch_size=size)
        found.append(sorted(catalogue.read("SELECT layer, neuron, side, split, band, rank, excerpt, position FROM activations")))
    assert found[0] == found[1]


def test_a_killed_run_goes_on_to_the_same_rows(subject, tmp_path):
    """To the bit, although one of the two wrote no checkpoint."""
    options = {"run": "r", "table_bytes": SMALL, "batch_size": 16}
    whole, corpus_id = case.corpus(tmp_path / "whole.duckdb", n=40)
    extract(whole, subject, corpus_id, **options)
    killed, _ = case.corpus(tmp_path / "killed.duckdb", n=40)
    with pytest.raises(Killed):
        extract(killed, subject, corpus_id, **options, every=0, progress=stop_at(0.25))
    extract(killed, subject, corpus_id, **options)
    assert case.dump(killed) == case.dump(whole)
