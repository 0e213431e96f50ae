"""Layer accounting: what a model still does when the neurons of a layer are replaced by what their labels predict.

    share = (L_mean - L_label) / (L_mean - L_original)

L: the loss of the whole model (see subjects/whole.py) with the layer's neurons replaced at every content token by their means on
*explain* (0 %), by the labels' predictions (predicted.py), or not at all (100 %). A ratio of totals over documents, with the
delta-method interval of stats/ratio.py. The causal scrubbing of explanations by loss recovered: Bills et al. 2023 (ablation scoring),
Gao et al. 2024 (arXiv 2406.04093, downstream loss).

Scope `layer`: all neurons of the layer are replaced, those without a label by their means. Scope `labelled`: the neurons with a
label alone, at 0 % too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Batch, Excerpts
from autolabel.scorers.labels import Layer
from autolabel.scorers.predicted import Fit, Line, Sources, Wiring
from autolabel.scorers.walk import cut
from autolabel.stats.ratio import ratio

if TYPE_CHECKING:
    import torch

    from autolabel.subjects.intervene import Edit
    from autolabel.subjects.whole import Whole

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scope = Literal["layer", "labelled"]
SCOPES: tuple[Scope, ...] = ("layer", "labelled")
MEAN, ORIGINAL = "mean", "original"
NO_COST = "their means cost nothing that can be told from 0"


@dataclass(frozen=True)
class Row:
    """One line of the account of a layer."""

    scope: Scope
    predictor: str  # which source: `labels`, `ceiling`, ...
    loss: float  # per token (decoders) or window (encoders)
    share: float | None  # of L_mean - L_original that is kept; None with a reason
    low: float | None  # 95 % interval
    high: float | None
    reason: str | None


@dataclass(frozen=True)
class Account:
    """The account of a layer."""

    rows: tuple[Row, ...]
    loss_original: float
    loss_mean: Mapping[Scope, float]
    neurons: int  # of the layer
    labelled: int  # of them with a label
    flat: Mapping[str, int]  # of each source: labels with slope 0, which do not vary on select, or only repeat what the other side's says
    n_tokens: int  # of test
    n_excerpts: int
    n_documents: int
    fit_tokens: int  # of select


def account(whole: Whole, layer: Layer, column: Ints, sources: Sources, select: Excerpts, test: Excerpts, batch_size: int = 32) -> Account:
    """Every source's share in both scopes. column [P]: the unit of each label in the layer. P >= 1; raises as `Whole.output`."""
    wiring = Wiring.of(column % layer.site.width)
    lines = fit(whole, layer, wiring, sources, select, batch_size)
    means = layer.stats[0].x_mean  # of x, which has no side
    every = len(wiring.neuron) == layer.site.width
    scopes = SCOPES[:1] if every else SCOPES
    blocks, document = np.unique(test.block, return_inverse=True)
    names = [(scope, name) for scope in scopes for name in (MEAN, *sources)]
    losses, original, count = np.zeros((len(blocks), len(names))), np.zeros(len(blocks)), np.zeros(len(blocks))
    for piece, rows in cut(test):
        read = {name: source.read(piece) for name, source in sources.items()}
        for batch in piece.batches(batch_size):
            where = document[rows][batch.rows]
            reference = whole.output(batch.tokens, {})
            np.add.at(original, where, whole.loss(reference, reference))
            np.add.at(count, where, whole.count(reference))
            values = {name: _values(lines[name](read[name](batch.span)), batch) for name in sources}
            for i, (scope, name) in enumerate(names):
                edit = _edit(scope, means, wiring.neuron, means[wiring.neuron] if name == MEAN else values[name])
                np.add.at(losses[:, i], where, whole.loss(whole.output(batch.tokens, {layer.site: edit}), reference))
    found = _rows(names, losses, original, count)
    total = count.sum()
    loss_mean: dict[Scope, float] = {scope: float(losses[:, names.index((scope, MEAN))].sum() / total) for scope in scopes}
    if every:  # one scope is the other
        found += [replace(row, scope="labelled") for row in found]
        loss_mean["labelled"] = loss_mean["layer"]
    return Account(tuple(found), float(original.sum() / total), loss_mean, layer.site.width, len(wiring.neuron),
                   {name: line.flat for name, line in lines.items()}, test.n_tokens, len(test), len(blocks), select.n_tokens)


def fit(whole: Whole, layer: Layer, wiring: Wiring, sources: Sources, select: Excerpts, batch_size: int = 32) -> dict[str, Line]:
    """The line of every source, from one pass over select as the whole model reads it."""
    sums = {name: Fit(wiring) for name in sources}
    for piece, _ in cut(select):
        read = {name: source.read(piece) for name, source in sources.items()}
        for batch in piece.batches(batch_size):
            x = whole.read(batch.tokens, layer.site).reshape(-1, layer.site.width)[:, wiring.neuron].numpy()
            for name, fitted in sums.items():
                fitted.add(read[name](batch.span), x)
    means = layer.stats[0].x_mean[wiring.neuron]
    return {name: fitted.line(means) for name, fitted in sums.items()}


def _values(x: Floats, batch: Batch) -> torch.Tensor:
    """[B, T, N]."""
    import torch

    return torch.from_numpy(x.astype(np.float32)).reshape(*batch.tokens.shape, -1)


def _edit(scope: Scope, means: Floats, neuron: Ints, values: torch.Tensor | Floats) -> Edit:
    import torch

    from autolabel.subjects.intervene import chain, given, mean

    some = given(values, neuron) if isinstance(values, torch.Tensor) else mean(torch.from_numpy(values), neuron)
    return chain(mean(torch.from_numpy(means)), some) if scope == "layer" else some


def _rows(names: Sequence[tuple[Scope, str]], losses: Floats, original: Floats, count: Floats) -> list[Row]:
    found = []
    for scope in dict.fromkeys(scope for scope, _ in names):
        mean = losses[:, names.index((scope, MEAN))]
        cost = ratio((mean - original)[:, None], count)  # per token, or window
        reason = None if cost.low[0] > 0 else NO_COST
        for i, (theirs, name) in enumerate(names):
            if theirs != scope or name == MEAN:
                continue
            share = ratio((mean - losses[:, i])[:, None], mean - original)
            value, low, high = (None if reason else _known(x[0]) for x in (share.value, share.low, share.high))
            found.append(Row(scope, name, float(losses[:, i].sum() / count.sum()), value, low, high, reason))
    return found


def _known(x: float) -> float | None:
    return None if np.isnan(x) else float(x)
