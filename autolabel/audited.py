"""What a model's last audit says of its metrics: a metric that failed is not printed; commands show `failed audit` in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.audits.metrics import GATED, KNOWN_TO_FAIL
from autolabel.catalogue import Catalogue

FAILED = "failed audit"
COLUMNS: Mapping[str, tuple[str, ...]] = {  # metric -> what carries it in views and tables
    "rho": ("score", "ci_low", "ci_high", "baseline", "ceiling", "mean_score", "mean_low", "mean_high", "mean score", "mean baseline", "mean ceiling",
            "select_score", "select_low", "select_high", "test_score", "test_low", "test_high", "min_score", "min_low", "min_high", "own", "fall",
            "fall_low", "fall_high", "mean_there", "mean_on_test", "null_score", "better_low", "better_high", "mean null", "null low", "null high"),
    "peak": ("peak", "peak_low", "peak_high", "peak_baseline", "mean_peak", "mean peak", "select_peak", "test_peak"),
    "rho_context": ("rho_context", "rho_context_low", "rho_context_high"),
    "rho_new": ("rho_new", "rho_new_low", "rho_new_high"),
}


def failed(catalogue: Catalogue, model: str) -> frozenset[str]:
    """The gated metrics (rho, peak, rho_context, rho_new) that failed a test of the model's last audit; a control stands under its model's."""
    rows = catalogue.read("SELECT DISTINCT a.metric FROM t_audits a LEFT JOIN models m ON m.name = ? "
                          "WHERE a.model IN (?, m.control_of) AND passed = false", [model, model])
    return frozenset(str(metric) for (metric,) in rows) & frozenset(GATED)


def failed_anywhere(catalogue: Catalogue) -> frozenset[str]:
    """The gated metrics that failed for any model of the catalogue."""
    rows = catalogue.read("SELECT DISTINCT metric FROM t_audits WHERE passed = false")
    return frozenset(str(metric) for (metric,) in rows) & frozenset(GATED)


def veiled(failed: frozenset[str]) -> frozenset[str]:
    """Names of the columns that are not to be shown."""
    return frozenset(name for metric in failed for name in COLUMNS[metric])


def veil_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], failed: frozenset[str]) -> tuple[tuple[Any, ...], ...]:
    """Rows with `failed audit` in the place of every value of a failed metric; NULL stays NULL."""
    hidden = [name in veiled(failed) for name in columns]
    return tuple(tuple(FAILED if h and v is not None else v for h, v in zip(hidden, row, strict=True)) for row in rows)


def veil(row: Mapping[str, Any], failed: frozenset[str]) -> dict[str, Any]:
    """The same for one row as a dictionary."""
    hidden = veiled(failed)
    return {name: FAILED if name in hidden and value is not None else value for name, value in row.items()}


def mark(metric: str) -> str:
    """How a metric is called where it is printed: with what it does not notice, where that is known."""
    return f"{metric} (does not notice: {KNOWN_TO_FAIL[metric]})" if metric in KNOWN_TO_FAIL else metric
