"""Estimators: pure functions from sums to figures with intervals, vectorised over labels."""

from autolabel.stats.calibrate import isotonic, isotonic_curve, linear, r2_levels, r2_linear
from autolabel.stats.correlation import Correlation, Sums, correlate, error, fisher, influence, moments, p_size
from autolabel.stats.delong import AUC, delong, paired_auc
from autolabel.stats.fdr import benjamini_hochberg, benjamini_yekutieli, rank_p
from autolabel.stats.levels import Levels
from autolabel.stats.paired import Difference, paired_rho
from autolabel.stats.permutation import Permuted, signs, two_groups
from autolabel.stats.precision import Cut, Peak, at_cut, average_precision, best_cut, logit, paired_peak, peak
from autolabel.stats.sampled import Sampled
from autolabel.stats.sequential import Budget, Grown, half_width, sequential

__all__ = [
    "AUC", "Budget", "Correlation", "Cut", "Difference", "Grown", "Levels", "Peak", "Permuted", "Sampled", "Sums", "at_cut",
    "average_precision", "benjamini_hochberg", "benjamini_yekutieli", "best_cut", "correlate", "delong", "error", "fisher", "half_width",
    "influence", "isotonic", "isotonic_curve", "linear", "logit", "moments", "p_size", "paired_auc", "paired_peak", "paired_rho",
    "peak", "r2_levels", "r2_linear", "rank_p", "sequential", "signs", "two_groups",
]
