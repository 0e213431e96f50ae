"""Controls: the same architecture without what training put into it. No catalogue of labels means much without one.

A random network is a random function of its tokens, so that word lists are true labels of it too; what labels of a
trained model say beyond that is seen only beside a control.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn

from autolabel.errors import SettingsError
from autolabel.subjects.identity import of_control
from autolabel.types import hash63

if TYPE_CHECKING:
    from autolabel.subjects.hf import HFSubject

Control = Literal["shuffled", "initialised", "embeddings-kept"]
CONTROLS: tuple[str, ...] = get_args(Control)


def control(subject: HFSubject, kind: str, *, seed: int = 0) -> HFSubject:
    """Turn a subject into its control. Its model is changed in place, so the subject itself is no longer to be used.

    `shuffled`: the elements of each tensor are permuted, embeddings included: every mean and standard deviation stays.
    `initialised`: all weights are redrawn as the architecture draws them before training.
    `embeddings-kept`: all is shuffled except the token and position embeddings. Raises SettingsError.
    """
    model: nn.Module = subject.model
    if kind == "initialised":
        _initialise(subject, seed)
    elif kind in ("shuffled", "embeddings-kept"):
        kept = _embeddings(subject) if kind == "embeddings-kept" else set()
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                if tensor.is_floating_point() and id(tensor) not in kept:
                    generator = torch.Generator().manual_seed(hash63("control", seed, name))
                    order = torch.randperm(tensor.numel(), generator=generator, dtype=torch.int64)
                    tensor.copy_(tensor.reshape(-1)[order.to(tensor.device)].view_as(tensor))
    else:
        raise SettingsError(f"control {kind!r} is unknown: {', '.join(CONTROLS)}")
    name, model_hash = of_control(subject.name, subject.hash, kind, seed)
    return replace(subject, name=name, hash=model_hash, control_of=subject.name)


def _embeddings(subject: HFSubject) -> set[int]:
    """Parameters of embeddings that are as wide as a token's: tokens, positions, segments; not the attention's relative biases."""
    widths = {subject.model.get_input_embeddings().weight.shape[1], subject.output_weights(subject.sites[0]).shape[1]}
    return {id(m.weight) for m in subject.model.modules() if isinstance(m, nn.Embedding) and m.embedding_dim in widths}


def _initialise(subject: HFSubject, seed: int) -> None:
    device = subject.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash63("control", seed, "initialised") % 2**63)
        fresh = type(subject.model)._from_config(subject.model.config)
    given = dict(fresh.named_parameters())
    with torch.no_grad():
        for name, tensor in subject.model.named_parameters():
            tensor.copy_(given[name].to(device))
