"""The priority samples of units on a split of which none is stored: another corpus, another checkpoint. One pass, all layers at once.

Of each unit the 64 windows with the largest s_i / u_i, s_i = sqrt(sum_t (a - m)^2), m the mean of a on explain, u_i a hash of the seed and the
excerpt: what the extraction stores for select and test (sampling/priority.py; Duffield, Lund and Thorup 2007, J. ACM 54:6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from autolabel.passes import Passes
from autolabel.protocols import SplitView
from autolabel.sampling.two_sided import Stored
from autolabel.scorers.labels import layers_of
from autolabel.stats.uniform import uniform
from autolabel.types import Side, Site, Unit

if TYPE_CHECKING:
    import torch


def priority_samples(view: SplitView, units: Iterable[Unit], seed: int = 0) -> Callable[[str, Side, int], Stored]:
    """(layer, side, neuron) -> its sample, for these units. Raises UnitError where one does not exist."""
    import torch

    from autolabel.sampling.priority import Priority
    from autolabel.sampling.work import Content, Work

    wanted: dict[tuple[str, str], dict[Unit, None]] = {}
    for unit in units:
        wanted.setdefault((unit.layer, unit.site), {})[unit] = None
    layers = {(lay.site.layer, lay.site.name): lay for lay in layers_of(view, set(wanted))}
    columns = {name: torch.tensor([lay.column(unit) for unit in wanted[name]]) for name, lay in layers.items()}
    kept = {name: Priority(torch.from_numpy(lay.mean[columns[name].numpy()]), seed, torch.device("cpu")) for name, lay in layers.items()}

    def visit(work: Work, site: Site, x: torch.Tensor, span: slice) -> None:
        name = site.layer, site.name
        lay, content = layers[name], x[:, span].float()
        both = torch.cat([content if side == "+" else -content for side in lay.sides], 2) if lay.sides != ("+",) else content
        kept[name].add(Content(both[:, :, columns[name].to(both.device)].cpu(), slice(None), work), 1)

    sites = [lay.site for lay in layers.values()]
    with Passes(view.subject, sites) as passes:
        for chunk in view.chunks():
            for batch in chunk.batches(view.batch_size):
                ids = chunk.id[batch.rows]
                work = Work(ids, batch.tokens, np.zeros(0, np.int64), uniform(seed, ids))
                passes.add(partial(view.subject.run, batch.tokens, sites), partial(visit, work))
    found: dict[tuple[str, Side, int], Stored] = {}
    for name in layers:
        for unit, s, id, key in zip(wanted[name], *kept[name].result(), strict=True):
            found[unit.layer, unit.side, unit.index] = Stored(id[key > 0], s[key > 0], key[key > 0])
    return lambda layer, side, neuron: found[layer, side, neuron]
