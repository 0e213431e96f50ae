"""Estimators: pure functions from sums to figures with intervals, vectorised over labels."""

from autolabel.stats.calibrate import isotonic, linear, r2_levels, r2_linear
from autolabel.stats.correlation import Correlation, Sums, correlate, error, fisher, influence, moments, p_size
from autolabel.stats.fdr import benjamini_hochberg, rank_p
from autolabel.stats.levels import Levels
from autolabel.stats.paired import Difference, paired_rho
from autolabel.stats.precision import Cut, Peak, at_cut, average_precision, best_cut, logit, paired_peak, peak

__all__ = [
    "Correlation", "Cut", "Difference", "Levels", "Peak", "Sums", "at_cut", "average_precision", "benjamini_hochberg", "best_cut",
    "correlate", "error", "fisher", "influence", "isotonic", "linear", "logit", "moments", "p_size", "paired_peak", "paired_rho",
    "peak", "r2_levels", "r2_linear", "rank_p",
]
