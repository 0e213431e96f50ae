"""Which metrics notice a label that lost half of its positives, or gained as many false ones (Oikarinen, Yan and Weng 2025, arXiv 2506.05774)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autolabel.audits.corrupt import FALLS
from autolabel.audits.metrics import KNOWN_TO_FAIL, METRICS
from autolabel.audits.paired import corruptions
from autolabel.suites.world import Line, world

# what the paper found; of the two directions of AUPRC and AUC, both
PAPER = {"rho": True, "cosine": True, "auprc": True, "f1": True, "iou": True, "recall": False, "precision": False, "accuracy": False,
         "balanced_accuracy": False, "auc": False, "inverse_auc": False, "spearman": False, "top_and_random": False}


def run(*, subject: str, corpus: list[str], max_tokens: int, units: int, seeds: int, seed: int) -> Iterator[Line]:
    """Units that are a concept of words and nothing else; concepts from very rare to frequent; whole split, no sampling."""
    here = world(subject, corpus, max_tokens)
    bed = here.planted(units, seed, kinds=("words",), rhos=(0.9, 1.0))
    share = (bed.c > 0).mean(0)
    yield Line("concepts; share of tokens, least, median, most", f"{len(bed)}; {share.min():.2%}, {np.median(share):.2%}, {share.max():.2%}")
    found = {(f.metric, f.test): f for f in corruptions(bed, METRICS, seeds, None, FALLS)}
    for metric in METRICS:
        parts = [found[metric, test] for test in FALLS if (metric, test) in found]
        passed = all(f.passed for f in parts)
        want = PAPER.get(metric)
        known = " (known to fail)" if metric in KNOWN_TO_FAIL else ""
        yield Line(metric + known, "; ".join(f"{f.test} {f.observed}" for f in parts) + f": {'pass' if passed else 'fail'}",
                   "" if want is None else "passes both" if want else "fails one", None if want is None else passed == want)
