"""Why a label has its verdict, for a person: one line, or two where the figures do not agree and something could settle it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autolabel.audited import FAILED
from autolabel.catalogue import Catalogue
from autolabel.verdicts import LEVEL

READERS = ("generative", "fuzzing", "detection", "intruder", "surprisal", "embedding")  # further opinions, those that test by experiment first
MOST = 100.0  # times as much text: more is not worth a figure


def why(catalogue: Catalogue, label: Mapping[str, Any]) -> tuple[str, ...]:
    """`label`: a row of the view `labels`, its figures veiled where the audit says so.

    `partial` and `contested` have two lines: what the score says and what speaks against it; what would settle it.
    """
    verdict, reason = label["verdict"], label["reason"] or ""
    if verdict == "partial":
        return (f"partial: rho {_interval(label)} {reason.replace('it is about', 'is about', 1)}", f"to settle it: {_for_partial(catalogue, label)}")
    if verdict == "contested":
        if label["score"] == FAILED and reason.startswith("simulation"):
            reason = f"another simulator disagrees ({FAILED})"
        return f"contested: rho {_interval(label)}; against it: {reason}", f"to settle it: {_for_contested(catalogue, label)}"
    return (f"{verdict}: {reason}".rstrip(": "),)


def _for_partial(catalogue: Catalogue, label: Mapping[str, Any]) -> str:
    """More text where rho is above .2 and its interval too wide; else another label."""
    if label["p_foreign"] > label["p_size"]:
        others = (label["rank"] or 1) - 1
        fits = (f"this one fits {others:,} other unit{'s' if others != 1 else ''} of the layer as well or better" if others
                else "labels of other units fit this one nearly as well")
        return f"a label that says what this unit alone does: {fits}"
    if label["p_size"] >= 0.5:
        return "a label that says more: this one's rho is not above .2 on the test split, and more text would only make that surer"
    times = (_normal(_threshold(catalogue, label["model"])) / _normal(label["p_size"])) ** 2
    return f"{f'about {times:.1f}' if times < MOST else f'over {MOST:.0f}'} times as much test text, if rho stays where it is"


def _threshold(catalogue: Catalogue, model: str) -> float:
    """The largest p that is a discovery in this model now; what a first discovery needs where there is none."""
    found = catalogue.read("SELECT max(p) FILTER (q_value < ?), count(*) FROM labels WHERE model = ?", [LEVEL, model])
    largest, attempted = found[0]
    return float(largest) if largest else LEVEL / max(1, int(attempted))


def _normal(p: float) -> float:
    """The normal quantile that p leaves above it: the interval shrinks with the root of the text."""
    from scipy.stats import norm

    return float(norm.isf(max(p, 1e-300)))


def _for_contested(catalogue: Catalogue, label: Mapping[str, Any]) -> str:
    asked = {scorer for (scorer,) in catalogue.read(
        "SELECT DISTINCT s.scorer FROM scores s JOIN choices c ON c.explanation = s.explanation WHERE c.model = ? AND c.layer = ? AND c.site = ? "
        "AND c.neuron = ? AND c.side = ?", [label[name] for name in ("model", "layer", "site", "neuron", "side")])}
    left = next((name for name in READERS if name not in asked), None)
    return ("your own eyes on the excerpts: every scorer has read it" if left is None
            else f"a scorer that has not read it (autolabel score --scorer {left} --units {label['unit']}), or your own eyes on the excerpts")


def _interval(label: Mapping[str, Any]) -> str:
    score, low, high = (label[name] for name in ("score", "ci_low", "ci_high"))
    return f"{score:.3f} [{low:.3f}, {high:.3f}]" if all(isinstance(x, float) for x in (score, low, high)) else str(score)
