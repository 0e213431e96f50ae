"""The audit: sound metrics pass, a corrupted one comes out as failed and is not printed any more."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, f1_score, jaccard_score, roc_auc_score

from autolabel.audited import FAILED, failed
from autolabel.audits import metrics
from autolabel.audits.metrics import METRICS, Sight
from autolabel.audits.paired import holds
from autolabel.catalogue import Catalogue
from autolabel.cli.main import main
from autolabel.errors import SettingsError
from autolabel.pipeline import audit
from autolabel.summary import summarise


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of one command in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


FEW = {"planted": 20, "real": 6, "seeds": 1, "draws": 20, "catalogues": 2}


@pytest.fixture(scope="module")
def mine(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(small, tmp_path_factory.mktemp("audit") / "mine.duckdb"))


def sight(seed: int, whole: bool = True) -> Sight:
    rng = np.random.default_rng(seed)
    c = rng.choice([0.0, 0.5, 1.0], 400, p=[0.8, 0.1, 0.1])
    a = np.maximum(rng.normal(size=400) + 2 * c, 0)
    return Sight(a, c, np.ones(400) if whole else rng.integers(1, 5, 400).astype(float), a > np.quantile(a, 0.9), np.repeat(np.arange(40), 10), whole)


def test_metrics_are_the_fields_own() -> None:
    for s in (sight(0), sight(1, whole=False)):
        y, f, w = s.positive, s.fires, s.weight
        want = {
            "peak": average_precision_score(y, s.c, sample_weight=w), "auprc": average_precision_score(f, s.a, sample_weight=w),
            "f1": f1_score(y, f, sample_weight=w), "iou": jaccard_score(y, f, sample_weight=w), "accuracy": accuracy_score(y, f, sample_weight=w),
            "balanced_accuracy": balanced_accuracy_score(y, f, sample_weight=w), "auc": roc_auc_score(f, s.a, sample_weight=w),
            "inverse_auc": roc_auc_score(y, s.c, sample_weight=w), "rho": np.cov(s.a, s.c, aweights=w)[0, 1] / np.sqrt(np.prod(np.diag(np.cov(s.a, s.c, aweights=w))))}
        for name, value in want.items():
            assert METRICS[name](s) == pytest.approx(value), name
    from scipy.stats import spearmanr
    assert metrics.spearman(sight(2)) == pytest.approx(spearmanr(sight(2).a, sight(2).c).statistic)


def test_a_sound_catalogue_passes_and_a_corrupted_metric_does_not(mine: Path, capsys: pytest.CaptureFixture[str],
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue.open(mine)
    found = audit(catalogue, **FEW)
    assert not [f for f in found if f.metric in metrics.GATED and f.passed is False]
    assert {f.test for f in found if f.passed is None} >= {"paraphrase", "instructions in a label"}
    assert {"recall", "precision"} <= {f.metric for f in found if f.known}
    assert catalogue.read("SELECT count(*) FROM audits") == [(len(found),)] and failed(catalogue, "minilm") == frozenset()
    unit = catalogue.read("SELECT unit FROM labels WHERE score IS NOT NULL AND peak IS NOT NULL ORDER BY score DESC LIMIT 1")[0][0]
    _, out, _ = run(capsys, "show", unit, "--db", str(mine))
    assert "peak 0." in out and FAILED not in out

    found = audit(catalogue, metrics={"peak": metrics.recall}, **FEW)  # blind to false positives
    bad = [f for f in found if f.metric == "peak" and f.passed is False]
    assert any(f.test == "extra" for f in bad) and failed(catalogue, "minilm") == {"peak"} == failed(catalogue, "minilm~shuffled")
    _, out, _ = run(capsys, "show", unit, "--db", str(mine))
    assert f"peak {FAILED}" in out and "rho 0." in out
    summary = summarise(catalogue)
    assert summary.headline.mean_peak == FAILED and isinstance(summary.headline.mean_score, float)
    assert summary.control is not None and summary.control.mean_peak == FAILED
    code, out, _ = run(capsys, "stats", "--db", str(mine))
    assert code == 0 and FAILED in out

    with catalogue.writer() as writer:  # as if rho had failed too
        writer.insert("t_audits", {"model": "minilm", "number": 9999, "test": "extra", "metric": "rho", "passed": False})
    code, out, _ = run(capsys, "search", "--keyword", "e", "--db", str(mine))
    assert code == 0 and FAILED in out
    assert summarise(catalogue).coverage == () and summarise(catalogue).headline.mean_score == FAILED

    monkeypatch.setattr("autolabel.pipeline.auditing.audit", lambda *_args, **_flags: found)
    code, out, err = run(capsys, "audit", "--db", str(mine), "-q", "--json")
    assert code == 4 and err.startswith("autolabel: peak failed") and '"pass": "not run"' in out and '"pass": "fails, as known"' in out


def test_an_audit_that_is_too_small_is_refused(mine: Path) -> None:
    with pytest.raises(SettingsError, match="at least 40"):
        audit(Catalogue.open(mine), n=10)


def test_marks() -> None:
    from autolabel.audited import mark, veil, veil_rows

    assert mark("recall") == "recall (does not notice: extra)" and mark("rho") == "rho"
    assert veil({"score": 0.3, "ci_low": None, "unit": "u"}, frozenset({"rho"})) == {"score": FAILED, "ci_low": None, "unit": "u"}
    assert veil_rows(("peak", "score"), [(0.1, 0.2)], frozenset({"peak"})) == ((FAILED, 0.2),)


@pytest.mark.parametrize(("won", "of", "expected"), [(5, 5, True), (4, 5, True), (3, 5, False), (0, 1, False), (95, 100, True), (90, 100, False), (92, 100, True)])
def test_a_few_misses_prove_nothing_and_many_do(won: int, of: int, expected: bool) -> None:
    assert holds([True] * won + [False] * (of - won)) is expected


def test_planted_lexical_units_that_never_fire_are_told_apart_and_hide_nothing() -> None:
    import warnings

    from autolabel.audits.nulls import lexical

    class Made:
        what, targets = "made", (1.0, 1.0, 1.0)

        def __init__(self, a: list[list[float]], c: list[list[float]]) -> None:
            self.a, self.c = np.array(a).T, np.array(c).T

        def __len__(self) -> int:
            return len(self.targets)

    fires, silent = [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]
    bed: Any = Made([fires, silent, fires], [fires, silent, fires])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = lexical(bed)
        assert (found.passed, found.n, found.observed) == (True, 2, "least 1.000; 1 never fire")
        bed = Made([fires, silent, fires], [fires, silent, silent])
        assert lexical(bed)[0].passed is False
        bed = Made([silent] * 3, [silent] * 3)
        assert (lexical(bed)[0].passed, lexical(bed)[0].n) == (None, 0)
