"""The word list of the same length beside a label that was read on a sample: both on that sample, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autolabel.patterns.syntax import Pattern
from autolabel.scorers.affinity import strengths
from autolabel.scorers.entries import Run
from autolabel.scorers.reading import Reading
from autolabel.stats import correlate, peak
from autolabel.stats.precision import paired_peak
from autolabel.stats.sampled import Sampled, by_level, compare, sums

Floats = NDArray[np.float64]


def against(reading: Reading, run: Run, ids: Sequence[int], x: Sampled, strong: NDArray[np.bool_], rival: Pattern) -> dict[str, float | bool | None]:
    """What a rival pattern scores on the sample x (of one label, excerpts `ids` in order), and the label's lead over it.

    strong [tokens]: a > tau99. baseline, peak_baseline; rho_over_baseline_low/high (97.5 % paired interval); the same for peak, on
    the logit scale; informative: one of the two leads is above 0 for sure. A rival that never fires there counts as rho 0.
    """
    some = reading.columns(ids)
    c = strengths(run, [rival], some)[[0]].toarray()[0]
    place = {int(i): slice(int(some.offset[r]), int(some.offset[r + 1])) for r, i in enumerate(some.id)}
    order = np.concatenate([np.arange(place[i].start, place[i].stop) for i in ids])
    other = np.where(np.isnan(x.c), np.nan, c[order])  # tokens that the simulator gave no value for are left out of both
    rho = correlate(sums(x.with_strength(other)))
    flat = bool(rho.flat_c[0])
    lead = compare(x, x.c, other) if not flat else None
    mine, theirs = peak(*by_level(x, strong)), peak(*by_level(x.with_strength(other), strong))
    top = paired_peak(mine, theirs)
    low = float(lead.low[0]) if lead is not None else float(correlate(sums(x), 0.975).low[0])
    high = float(lead.high[0]) if lead is not None else float(correlate(sums(x), 0.975).high[0])
    found = {"baseline": 0.0 if flat else float(rho.rho[0]), "peak_baseline": float(theirs.value[0]), "rho_over_baseline_low": low,
             "rho_over_baseline_high": high, "peak_over_baseline_low": float(top.low[0]), "peak_over_baseline_high": float(top.high[0])}
    return {name: None if np.isnan(v) else v for name, v in found.items()} | {"informative": bool(low > 0 or top.low[0] > 0)}
