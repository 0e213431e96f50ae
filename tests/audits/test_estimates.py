"""The short cut by excerpt gives what the samples themselves give, and a bed's draws are those of the design."""

from __future__ import annotations

import numpy as np

from autolabel.audits.bed import Bed
from autolabel.audits.corrupt import own
from autolabel.audits.estimates import resample
from autolabel.stats import correlate
from autolabel.stats.sampled import sums
from tests.scorers.scorer_world import STEMS, excerpts


def test_resampling_by_excerpt_is_resampling_by_token() -> None:
    e = excerpts(4, 150, STEMS)
    rng = np.random.default_rng(0)
    c = np.isin(e.tokens, [3, 9, 20])[:, None].astype(np.float32)
    a = np.maximum(c + 0.6 * rng.normal(size=c.shape), 0).astype(np.float32)
    bed = Bed("planted", ("0",), ("words",), e, a, c, a.mean(0).astype(float), np.quantile(a, 0.99, axis=0))
    have = resample(bed, 0, 40, 12, first_seed=3)
    assert abs(have.truth - np.corrcoef(a[:, 0], c[:, 0])[0, 1]) < 1e-6
    for k in range(12):
        want = correlate(sums(bed.drawn(0, [own(bed, 0)], 40, 3 + k).sampled(own(bed, 0))))
        for name in ("rho", "low", "high", "df"):
            np.testing.assert_allclose(getattr(have.result, name)[k], getattr(want, name)[0], rtol=1e-8)
