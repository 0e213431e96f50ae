"""The priority samples of units on a split of which none is stored: another corpus, another checkpoint. One pass, all layers at once.

Of each unit the 64 windows with the largest s_i / u_i, s_i = sqrt(sum_t (a - m)^2), m the mean of a on explain, u_i a hash of the seed and the
excerpt: what the extraction stores for select and test (sampling/priority.py; Duffield, Lund and Thorup 2007, J. ACM 54:6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from autolabel.protocols import SplitView
from autolabel.sampling.two_sided import Stored
from autolabel.scorers.labels import layers_of
from autolabel.stats.uniform import uniform
from autolabel.types import Side, Site, Unit

if TYPE_CHECKING:
    import torch

    from autolabel.excerpts import Batch, Excerpts


def priority_samples(view: SplitView, units: Iterable[Unit], seed: int = 0) -> Callable[[str, Side, int], Stored]:
    """(layer, side, neuron) -> its sample, for these units. Raises UnitError where one does not exist."""
    import torch

    from autolabel.sampling.best import Best
    from autolabel.sampling.priority import SIZE

    wanted: dict[tuple[str, str], dict[Unit, None]] = {}
    for unit in units:
        wanted.setdefault((unit.layer, unit.site), {})[unit] = None
    layers = {(lay.site.layer, lay.site.name): lay for lay in layers_of(view, set(wanted))}
    columns = {name: torch.tensor([lay.column(unit) for unit in wanted[name]]) for name, lay in layers.items()}
    mean = {name: torch.from_numpy(lay.mean[columns[name].numpy()].astype(np.float32)) for name, lay in layers.items()}
    best = {name: Best(len(columns[name]), SIZE, 0, torch.device("cpu")) for name in layers}
    chunk: Excerpts
    batch: Batch

    def visit(site: Site, x: torch.Tensor, span: slice) -> None:
        name = site.layer, site.name
        lay, content = layers[name], x[:, span].float()
        a = torch.cat([content if side == "+" else -content for side in lay.sides], 2) if len(lay.sides) > 1 or lay.sides[0] == "-" else content
        s = (a[:, :, columns[name].to(a.device)].clamp_min(0).cpu() - mean[name]).square_().sum(1).sqrt_()
        ids = chunk.id[batch.rows]
        u = torch.from_numpy(uniform(seed, ids).astype(np.float32))
        best[name].add(s.div_(u[:, None]), torch.from_numpy(ids), _no_rows)

    for chunk in view.chunks():
        for batch in chunk.batches(view.batch_size):
            view.subject.run(batch.tokens, [lay.site for lay in layers.values()], visit)
    found: dict[tuple[str, Side, int], Stored] = {}
    for name in layers:
        value, ids, _ = best[name].result()
        for unit, key, id in zip(wanted[name], value.astype(np.float64), ids, strict=True):
            there = key > 0
            found[unit.layer, unit.side, unit.index] = Stored(id[there], key[there] * uniform(seed, id[there]), key[there])
    return lambda layer, side, neuron: found[layer, side, neuron]


def _no_rows(_b: torch.Tensor, _cell: torch.Tensor) -> torch.Tensor:
    raise AssertionError("a priority sample keeps no rows")
