"""How good labels are. One method of the literature is one file; `correlation` is the primary score."""

from autolabel.scorers.baseline import Baselines, objective
from autolabel.scorers.correlation import Correlation, SelectResult, choose, score_select, select_pass
from autolabel.scorers.report import score_test
from autolabel.scorers.result import TestResult

__all__ = ["Baselines", "Correlation", "SelectResult", "TestResult", "choose", "objective", "score_select", "score_test", "select_pass"]
