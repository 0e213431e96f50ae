"""Where a model's MLP neurons are, found from how values flow and not from the names of modules or models.

A down-projection is a linear map D for which, walking back from its input to the linear maps that feed it (U1, U2, ...),
1. every operation on the way works on each token by itself (attention, convolutions and lookups end the search),
2. a nonlinearity, or a product of two parts of the data, lies on the way,
3. U1, U2, ... all read the same tensor, and D gives back that tensor's width.
Attention outputs fail 1, query, key and value maps fail 2 or 3, poolers and heads fail 3 or stand outside the blocks.
The neurons are the values that enter D. One forward pass without an attention between two of them is one block: of several
matches there (adapters, stacked feed-forwards) the widest is taken, of equally wide ones the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from autolabel.errors import SubjectError
from autolabel.subjects.trace import LinearCall, Node, Trace, linear_widths
from autolabel.types import Site, layer_order

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SITE = "mlp"
BOUNDED = frozenset({"gelu", "relu", "relu_", "relu6", "silu", "sigmoid", "sigmoid_", "mish", "softplus", "elu", "selu", "celu",
                     "hardswish", "hardsigmoid", "erf", "threshold"})  # their outputs, or those of x * them, have a floor near 0
UNBOUNDED = frozenset({"leaky_relu", "prelu", "rrelu", "hardtanh", "softsign", "tanhshrink", "hardshrink", "softshrink"})
TANH = frozenset({"tanh", "tanh_"})  # symmetric by itself; a part of GELU's approximation inside a product
PRODUCT = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"})
NEUTRAL = frozenset({  # works on each token by itself
    "add", "add_", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "__rsub__", "__isub__", "neg", "__neg__",
    "div", "div_", "true_divide", "__truediv__", "__rtruediv__", "__itruediv__", "pow", "__pow__", "__rpow__", "square", "sqrt", "rsqrt",
    "exp", "abs", "mean", "var", "clamp", "clamp_", "clip", "clamp_min", "where", "minimum", "maximum", "dropout", "alpha_dropout",
    "lerp", "addcmul", "masked_fill", "to", "type", "type_as", "float", "half", "bfloat16", "double", "detach", "view", "reshape",
    "flatten", "unflatten", "chunk", "split", "__getitem__", "getitem", "unbind", "squeeze", "unsqueeze", "contiguous", "clone", "cat",
    "concat", "concatenate", "expand",
    "layer_norm", "rms_norm"})
MIXING = frozenset({"softmax", "scaled_dot_product_attention", "bmm", "baddbmm", "einsum", "conv1d", "cumsum", "logsumexp"})  # fft* too
MATMUL = frozenset({"matmul", "__matmul__"})  # mixing where both sides depend on the data


@dataclass(frozen=True)
class Place:
    """One site and how it is reached."""

    site: Site
    module: nn.Module  # the down-projection
    name: str  # its name in the model
    call: int  # which of its calls in one pass, from 0 (blocks that are shared are called once per layer)
    stage: int  # the order in which sites come in one pass, from 0
    stack: str  # `` | `e` | `d`: the only stack, the encoder, the decoder
    nonlinearity: str  # for people: `gelu`, `silu, product`
    time_first: bool  # its tensors are [T, B, U], not [B, T, U]

    def windows(self, x: torch.Tensor, batch: int) -> torch.Tensor:
        """What enters the module as [B, T', U]: a view of it."""
        if x.dim() == 2:  # some models put all tokens of a batch in a row
            return x.view(batch, -1, x.shape[-1])
        return x.transpose(0, 1) if self.time_first else x


@dataclass(frozen=True)
class _Match:
    call: LinearCall
    two_sided: bool
    nonlinearity: str
    width: int


def find_places(model: PreTrainedModel, trace: Trace, batch: int, length: int) -> tuple[Place, ...]:
    """All MLP sites in layer order. The pass held `batch` windows of `length` > `batch` content tokens. Raises SubjectError."""
    _refuse_experts(model)
    found = [m for call in trace.calls if (m := _match(call, trace)) is not None]
    silent = {_block_path(c.name) for c in trace.calls} - {_block_path(m.call.name) for m in found} - {""}
    partial = any(m.call.value.numel() < batch * length * m.width for m in found)
    if _routes(trace) and (partial or silent or not found):
        raise _experts_error()
    if not found:
        raise SubjectError(f"{type(model).__name__} has no MLP whose neurons can be read: "
                           "no block has a linear map after a nonlinearity or a product")
    chosen = [max(block, key=lambda m: (m.width, m.call.leaving.order)) for block in _blocks(found, trace)]
    return _number(model, chosen, batch)


def _match(call: LinearCall, trace: Trace) -> _Match | None:
    """The three conditions above."""
    widths = linear_widths(call.module)
    if widths is None or not _block_path(call.name):
        return None
    ups: list[LinearCall] = []
    ops: set[str] = set()
    product = False
    seen: set[Node] = set()
    stack = [call.entering]
    while stack:
        node = stack.pop()
        if node in seen or not node.data:
            continue
        seen.add(node)
        if node in trace.by_output:
            ups.append(trace.by_output[node])
            if ups[-1].entering is not ups[0].entering and _origin(ups[-1].entering) is not _origin(ups[0].entering):
                return None
            continue
        kind = _kind(node)
        if kind is None:
            return None
        ops.add(kind)
        if node.op in PRODUCT:
            parts = [p for p in node.parents if p.data]
            product |= len(parts) == 2 and parts[0].shape == parts[1].shape
        stack.extend(node.parents)
    nonlinear = ops & (BOUNDED | UNBOUNDED | TANH)
    if not ups or not (nonlinear or product):
        return None
    up_widths = [linear_widths(u.module) or (0, 0) for u in ups]
    if widths[1] != up_widths[0][0]:
        return None
    gated = product and (len({u.leaving for u in ups}) > 1 or up_widths[0][1] >= 2 * widths[0])
    floorless = bool(nonlinear & UNBOUNDED) or not nonlinear or (nonlinear <= TANH and not product) or "layer_norm" in ops
    return _Match(call, gated or floorless, _label(nonlinear, product, gated), widths[0])


def _label(nonlinear: set[str], product: bool, gated: bool) -> str:
    """The nonlinearity for people. GELU is often written out by hand, as x times something of tanh or erf."""
    names = {"gelu" if product and (n == "erf" or n in TANH) else n.rstrip("_") for n in nonlinear}
    return ", ".join([*sorted(names), *(["product"] if gated or not names else [])])


def _kind(node: Node) -> str | None:
    """The operation in the words of the sets above; None where it may mix tokens or is not known."""
    if node.op in BOUNDED | UNBOUNDED | TANH | PRODUCT | NEUTRAL:
        return node.op
    if node.op.startswith("module:"):  # code that could not be watched: an activation module that keeps the shape
        name = node.op.removeprefix("module:").lower()
        known = next((n for n in ("gelu", "silu", "relu", "mish", "tanh", "sigmoid", "swish") if n in name), None)
        if known and len(node.parents) == 1 and node.parents[0].shape == node.shape:
            return "silu" if known == "swish" else known
    return None


def _origin(node: Node) -> Node:
    """A tensor seen through changes of shape and type."""
    while node.op in {"view", "reshape", "flatten", "to", "contiguous", "clone", "dropout", "type_as"} and node.parents:
        node = node.parents[0]
    return node


def _blocks(found: list[_Match], trace: Trace) -> Iterator[list[_Match]]:
    """Matches of one pass through one block: same list element, and nothing mixes tokens between them."""
    mixing = [n.order for n in trace.ops if n.op in MIXING or n.op.startswith("fft")
              or (n.op in MATMUL and sum(p.data for p in n.parents) == 2)]
    block: list[_Match] = []
    for match in sorted(found, key=lambda m: m.call.leaving.order):
        if block:
            last = block[-1].call
            between = any(last.leaving.order < order < match.call.leaving.order for order in mixing)
            if between or _block_path(last.name) != _block_path(match.call.name) or last.module is match.call.module:
                yield block
                block = []
        block.append(match)
    yield block


def _block_path(name: str) -> str:
    """`encoder.layer.3.output.dense` -> `encoder.layer.3`: the first numbered part; `` where there is none."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return "" if number is None else ".".join(parts[:number + 1])


def _number(model: PreTrainedModel, chosen: list[_Match], batch: int) -> tuple[Place, ...]:
    """Layers bear their block's number where each block is passed once, else (shared or nested blocks) the number of the pass."""
    places: list[Place] = []
    stages = {id(m): stage for stage, m in enumerate(chosen)}
    for stack in ("", "e", "d"):
        of_stack = [m for m in chosen if _stack(model, m.call.name) == stack]
        paths = [_block_path(m.call.name) for m in of_stack]
        once = len(set(paths)) == len(paths) and len({path.rsplit(".", 1)[0] for path in paths}) <= 1
        for number, match in enumerate(of_stack):
            layer = stack + (paths[number].rsplit(".", 1)[-1] if once else str(number))
            site = Site(layer, layer_order(layer), SITE, match.width, match.two_sided)
            shape = match.call.value.shape
            time_first = len(shape) == 3 and shape[0] != batch and shape[1] == batch
            call = match.call
            places.append(Place(site, call.module, call.name, call.call, stages[id(match)], stack, match.nonlinearity, time_first))
    return tuple(sorted(places, key=lambda p: p.site.order))


def _stack(model: PreTrainedModel, name: str) -> str:
    """Which stack of an encoder-decoder a module belongs to."""
    if not getattr(model.config, "is_encoder_decoder", False):
        return ""
    module = model.get_submodule(name)
    return "e" if any(m is module for m in model.get_encoder().modules()) else "d"


def _refuse_experts(model: PreTrainedModel) -> None:
    """Experts fused into tensors of three axes are multiplied without a module, so that no hook can see their neurons."""
    hidden = int(getattr(model.config.get_text_config(), "hidden_size", 0))
    for module in model.modules():
        shapes = [tuple(p.shape) for p in module.parameters(recurse=False) if p.ndim == 3 and min(p.shape) > 1]
        if len(shapes) > 1 and len({s[0] for s in shapes}) == 1 and all(hidden in s[1:] for s in shapes):
            raise _experts_error()


def _routes(trace: Trace) -> bool:
    """Whether tokens are sent to experts."""
    return any(node.op in {"topk", "one_hot"} for node in trace.ops)


def _experts_error() -> SubjectError:
    return SubjectError("the model is a mixture of experts: each token enters only some of them, through no module that can be read; "
                        "only models whose every block has one MLP for all tokens are supported")


def output_matrix(module: nn.Module) -> torch.Tensor:
    """[neurons, d_model] of a down-projection: row j is what neuron j writes. A view."""
    weight = module.get_parameter("weight").detach()
    return weight.T if isinstance(module, nn.Linear) else weight
