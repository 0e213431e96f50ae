"""Neurons replaced on their way into the down-projection, and the pass gone on with to the end.

An edit is a function of the values of one site: x [B, T, U] of the content tokens, float32 -> what stands in their place. Special
positions stay as they are. (Ablation by zero and by the mean; patching of given values: Vig et al. 2020, arXiv 2004.12265.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autolabel.errors import SubjectError
from autolabel.types import Site

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.subjects.hf import HFSubject
    from autolabel.subjects.structure import Place

Edit = Callable[[torch.Tensor], torch.Tensor]  # x [B, T, U] -> the same shape; x itself must be left as it is


def zero(units: NDArray[np.int64] | None = None) -> Edit:
    """These neurons (all where None) are 0 at every content token."""
    return lambda x: _put(x, units, 0.0)


def mean(values: torch.Tensor, units: NDArray[np.int64] | None = None) -> Edit:
    """These neurons (all where None) are `values` [units] at every content token."""
    return lambda x: _put(x, units, values.to(x))


def given(values: torch.Tensor, units: NDArray[np.int64] | None = None) -> Edit:
    """These neurons (all where None) are `values` [B, T, units]."""
    return lambda x: _put(x, units, values.to(x))


def chain(*edits: Edit) -> Edit:
    """One edit after the other."""
    def all_of_them(x: torch.Tensor) -> torch.Tensor:
        for edit in edits:
            x = edit(x)
        return x
    return all_of_them


def run_edited(subject: HFSubject, tokens: NDArray[np.int64], edits: Mapping[Site, Edit]) -> Any:
    """What the subject's model returns for windows [B, T] of content ids, with the neurons of these sites edited.

    The model's own output: `last_hidden_state` or `logits`, [B, T', ...] with special positions. Raises UnitError, SubjectError.
    """
    subject.check(tokens)
    places = [(subject.place(site), edit) for site, edit in edits.items()]
    wanted: dict[nn.Module, dict[int, tuple[Place, Edit]]] = {}
    for place, edit in places:
        wanted.setdefault(place.module, {})[place.call] = place, edit
    counts, done = dict.fromkeys(wanted, 0), 0
    batch, length = tokens.shape

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal done
        found = wanted[module].get(counts[module])
        counts[module] += 1
        if found is None:
            return None
        place, edit = found
        whole = args[0].clone()
        view = place.windows(whole, batch)
        content = view[:, subject.specials.span(length, place.stack)]
        content.copy_(edit(content.float()))
        done += 1
        return whole, *args[1:]

    handles = [module.register_forward_pre_hook(hook) for module in wanted]
    try:
        with torch.inference_mode():
            out = subject.model(**subject.specials.inputs(tokens, subject.device))
    finally:
        for handle in handles:
            handle.remove()
    if done < len(places):
        raise SubjectError(f"{subject.name} did not reach all of {', '.join(p.name for p, _ in places)}: its path depends on the input")
    return out


def _put(x: torch.Tensor, units: NDArray[np.int64] | None, values: torch.Tensor | float) -> torch.Tensor:
    out = x.clone()
    if units is None:
        out[:] = values
    else:
        out[..., torch.as_tensor(units, device=x.device)] = values
    return out
