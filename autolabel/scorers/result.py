"""What scoring on *test* says, as columns: one row for every explanation that was asked about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]  # str or None


@dataclass(frozen=True)
class TestResult:
    """N explanations, the chosen ones first. Arrays are [N] unless said; nan (or None, or -1) means: no such figure, NULL in SQL."""

    __test__ = False  # no test class for pytest

    explanation: Texts  # Explanation.id
    chosen: NDArray[np.bool_]  # one of the chosen labels; else the best of an explainer
    unscored: Texts  # why there is no score
    imprecise: Texts  # why the score is not to be relied on; None where it is, or where there is none
    n: NDArray[np.int64]  # excerpts read
    n_documents: NDArray[np.int64]  # test documents in which it fires, counted up to 20
    score: Floats  # rho
    ci_low: Floats
    ci_high: Floats
    se: Floats  # of rho
    df: Floats
    peak: Floats  # AUPRC for a > tau99
    peak_low: Floats
    peak_high: Floats
    base_rate: Floats  # share of tokens with a > tau99 on test
    f1: Floats  # at the cut chosen on select
    precision: Floats
    recall: Floats
    r2_linear: Floats  # calibrated on select, mean-centred on test
    r2_isotonic: Floats
    mass_recall: Floats  # share of activation mass where the label predicts > 0
    mass_recall_strata: Floats  # [N, 10]
    p_foreign: Floats  # 1 where unscored
    p_size: Floats
    p: Floats  # the larger of the two
    foreign_pooled: NDArray[np.bool_]  # the foreign units came from several layers: this one has fewer than 200 others
    foreign_one_rank: NDArray[np.bool_]  # fewer than 200 foreign labels: p_foreign rests on the other units alone
    rank: NDArray[np.int64]  # of the own unit among the units of its layer; -1 where unscored
    baseline: Floats  # rho of the word list of the same length; of the chosen labels alone, as the figures beside it
    peak_baseline: Floats
    baseline_label: Texts  # its words, separated by commas
    rho_over_baseline_low: Floats  # 97.5 % paired interval of the difference of rho
    rho_over_baseline_high: Floats
    peak_over_baseline_low: Floats  # the same for peak, on the logit scale
    peak_over_baseline_high: Floats
    informative: Texts  # True or False; None where there is no baseline
    ceiling: Floats  # rho of the token lookup table
    rho_context: Floats  # of the chosen labels alone, as all that follows
    rho_context_low: Floats
    rho_context_high: Floats
    contextual: Texts  # True or False; None where rho_context is NULL
    rho_context_left_out: NDArray[np.int64]  # test tokens whose type was left out; -1 where it was not looked at
    rho_new: Floats
    rho_new_low: Floats
    rho_new_high: Floats
    carries_over: Texts  # True or False; None where rho_new is NULL
    n_new: NDArray[np.int64]  # test tokens on words that explain does not have; -1 where it was not looked at

    def __len__(self) -> int:
        return len(self.explanation)

    def columns(self) -> dict[str, NDArray[np.generic] | Texts]:
        """Name -> array, in the order above."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def rows(self) -> Iterator[dict[str, object]]:
        """One dictionary per explanation, NULL as None: for reading, not for bulk."""
        columns = self.columns()
        for i in range(len(self)):
            yield {name: _value(x[i]) for name, x in columns.items()}


def _value(x: object) -> object:
    if isinstance(x, np.ndarray):
        return [_value(v) for v in x]
    if isinstance(x, np.generic):
        x = x.item()
    return None if isinstance(x, float) and np.isnan(x) else x
