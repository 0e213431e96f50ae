"""Where each linear map of a model gets its input from: one small forward pass, watched operation by operation.

Every tensor is a node that knows the operation and the nodes which it was made from. A call of a linear map
(nn.Linear or transformers' Conv1D) is one node, whose inside is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class Node:
    """One tensor, at one moment."""

    op: str  # name of the operation; `linear`; `source` for what has no known origin
    parents: tuple[Node, ...]  # tensors it was made from
    shape: tuple[int, ...]
    order: int  # rises with time
    data: bool  # depends on the tokens; parameters and constants do not


@dataclass(frozen=True, eq=False)
class LinearCall:
    """One call of a linear map."""

    module: nn.Module
    name: str  # its name in the model
    call: int  # the how-manieth call of this module in the pass, from 0
    entering: Node  # the tensor that went in
    value: torch.Tensor  # a copy of it
    leaving: Node


@dataclass(frozen=True)
class Trace:
    """What one pass has shown."""

    calls: tuple[LinearCall, ...]  # in order
    by_output: dict[Node, LinearCall]  # the same, by the node that leaves
    ops: tuple[Node, ...]  # all data nodes, in order


def linear_widths(module: nn.Module) -> tuple[int, int] | None:
    """(in, out) of a linear map, None for other modules."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and isinstance(module.nf, int):  # of transformers.pytorch_utils: weight [in, out], nf = out
        return int(module.get_parameter("weight").shape[0]), module.nf
    return None


def watch(model: PreTrainedModel, forward: Callable[[], object]) -> Trace:
    """Run `forward` (which calls the model once) and say what happened."""
    recorder = _Recorder(model)
    handles = []
    calls: list[LinearCall] = []
    counts: dict[nn.Module, int] = {}
    pending: dict[nn.Module, list[tuple[Node, torch.Tensor]]] = {}

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        pending.setdefault(module, []).append((recorder.node(args[0]), args[0].detach().clone()))

    def after(module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        entering, value = pending[module].pop()
        leaving = recorder.put(output, "linear", (entering,))
        calls.append(LinearCall(module, names[module], counts.get(module, 0), entering, value, leaving))
        counts[module] = counts.get(module, 0) + 1

    def opaque(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # what scripted or compiled code makes is seen by its module only; an activation keeps its name
        if isinstance(output, torch.Tensor) and not recorder.knows(output):
            recorder.put(output, f"module:{type(module).__name__}", tuple(recorder.node(t) for t in _tensors(args)))

    names = {}
    try:
        for name, module in model.named_modules():
            if linear_widths(module) is not None:
                names[module] = name
                handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
            elif next(module.children(), None) is None:
                handles.append(module.register_forward_hook(opaque))
        with torch.inference_mode(), recorder:
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return Trace(tuple(calls), {c.leaving: c for c in calls}, tuple(n for n in recorder.history if n.data))


class _Recorder(TorchFunctionMode):
    """Notes every torch function. Tensors are kept alive, so that an id stands for one tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.history: list[Node] = []
        self._nodes: dict[int, Node] = {}
        self._alive: list[torch.Tensor] = []
        self._constant = {id(t) for t in (*model.parameters(), *model.buffers())}

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        inputs = tuple(_tensors((args, kwargs)))
        output = func(*args, **kwargs)
        parents = tuple(self.node(t) for t in inputs)
        if name == "__setitem__":
            self.put(args[0], name, parents)
            return output
        in_place = (name.endswith("_") and not name.endswith("__")) or (name.startswith("__i") and name != "__invert__")  # add_, __iadd__
        given = {id(t) for t in inputs}
        for tensor in _tensors((output,)):
            if id(tensor) not in given or in_place:  # dropout and casts often give back their very input
                self.put(tensor, name, parents)
        return output

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether its origin was seen."""
        return id(tensor) in self._nodes

    def node(self, tensor: torch.Tensor) -> Node:
        """The node of a tensor; a source where it was never seen."""
        found = self._nodes.get(id(tensor))
        if found is None:
            constant = id(tensor) in self._constant or isinstance(tensor, nn.Parameter) or tensor.ndim == 0
            found = self.put(tensor, "source", (), data=not constant)
        return found

    def put(self, tensor: torch.Tensor, op: str, parents: tuple[Node, ...], *, data: bool | None = None) -> Node:
        """Note that `tensor` is now the result of `op`."""
        node = Node(op, parents, tuple(tensor.shape), len(self.history), any(p.data for p in parents) if data is None else data)
        self._nodes[id(tensor)] = node
        self._alive.append(tensor)
        self.history.append(node)
        return node


def _tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, Iterable) and isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
