"""What is gathered at one site (all neurons of one layer) while a split passes by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling import kernels
from autolabel.sampling.best import best_for
from autolabel.sampling.moments import Moments
from autolabel.sampling.priority import Priority
from autolabel.sampling.shared import Spool
from autolabel.sampling.strata import Strata
from autolabel.sampling.typesums import TypeStatistics, TypeSums, TypeTable
from autolabel.sampling.work import Content, Work
from autolabel.types import Side, Site

TOP = 20  # exemplars of each unit and split
State = dict[str, np.ndarray]
SIGN: dict[Side, int] = {"+": 1, "-": -1}


@dataclass(frozen=True)
class Frame:
    """What all sites of a pass share."""

    context: int  # T of a full window
    device: torch.device
    random: frozenset[int]  # excerpt ids of the shared random records


class Records:
    """The strongest windows of one side on any split, and the shared random ones."""

    def __init__(self, site: Site, side: Side, frame: Frame) -> None:
        self.side, self.sign, self.frame = side, SIGN[side], frame
        self.top = best_for(frame.device)(site.width, TOP, frame.context, frame.device)
        self.random: dict[int, NDArray[np.float32]] = {}  # excerpt id -> a [T, U]

    def add(self, content: Content, peak: Tensor) -> None:
        """One batch; peak [B, U] of this side."""
        work = content.work
        self.top.add(peak, content, self.sign)
        for b, number in enumerate(work.ids.tolist()):
            if number in self.frame.random:
                a = (content.x[b] * self.sign).clamp_min(0)
                a[~torch.from_numpy(work.valid[b]).to(a.device)] = 0
                self.random[number] = a.cpu().numpy()

    def state(self) -> State:
        """Everything that was kept."""
        return {**_under("top", self.top.state()), **{f"random/{k}": v for k, v in self.random.items()}}

    def load(self, state: State) -> None:
        """Go on from `state`."""
        self.top.load(_part("top", state))
        self.random = {int(k): v for k, v in _part("random", state).items()}


class ExplainSide:
    """One side on explain."""

    def __init__(self, site: Site, side: Side, frame: Frame, table: TypeTable) -> None:
        self.sign, self.frame = SIGN[side], frame
        self.records = Records(site, side, frame)
        self.moments = Moments(site.width, frame.device)
        self.fired = torch.zeros(site.width, dtype=torch.float64, device=frame.device)
        self.types = TypeSums(table, site.width, frame.context, frame.device)
        self.strata = Strata(site.width, frame.context, frame.device)

    def count(self, content: Content) -> None:
        """Sums over one batch, on an accelerator."""
        a = content.a(self.sign)
        by_position = self.moments.add(a, content.work.lists(a.device).kept)
        assert self.moments.pivot is not None
        self.types.add(content, a, self.moments.pivot, by_position)
        self.fired += torch.linalg.vector_norm(a, 0, dim=(0, 1))  # how many are not 0, exact below 2^24 tokens

    def add(self, content: Content, peak: Tensor) -> None:
        """One batch, over which sums were taken; peak [B, U] of this side."""
        self.records.add(content, peak)
        self.strata.add(peak, content, self.sign)

    def close(self) -> TypeStatistics:
        """What is stored of the tables by type, which are let go: the pass is over."""
        return self.types.close(self.moments.pivots(), self.moments.squares(), self.moments.variance())

    def state(self) -> State:
        """Everything that was counted and kept."""
        return {**_under("records", self.records.state()), **_under("moments", self.moments.state()),
                **_under("types", self.types.state()), **_under("strata", self.strata.state()), "fired": self.fired.cpu().numpy()}

    def load(self, state: State) -> None:
        """Go on from `state`."""
        self.records.load(_part("records", state))
        self.moments.load(_part("moments", state))
        self.types.load(_part("types", state))
        self.strata.load(_part("strata", state))
        self.fired.copy_(torch.from_numpy(state["fired"]))


class ExplainSite:
    """One layer on explain: moments and extremes of x, and both sides where they are attempted."""

    def __init__(self, site: Site, frame: Frame, table: TypeTable, spool: Spool) -> None:
        self.site, self.frame, self.spool = site, frame, spool
        self.moments = Moments(site.width, frame.device)
        self.low = torch.full((site.width,), torch.inf, device=frame.device)
        self.high = torch.full((site.width,), -torch.inf, device=frame.device)
        self.sides = {side: ExplainSide(site, side, frame, table) for side in site.sides}

    def begin(self, tops: Mapping[Side, Tensor]) -> None:
        """Before the first visit. tops [U]: of each side, the largest a among the first excerpts in hash order."""
        for name, side in self.sides.items():
            side.strata.steps(tops[name])

    def visit(self, x: Tensor, span: slice, work: Work) -> None:
        """x [B, T', U] float32, left as it is."""
        content = Content(x, span, work)
        if not work.lists(x.device).n:
            return
        if content.on_cpu:
            high, low = look(content, self.moments, self.sides.values())
        else:
            lists = work.lists(x.device)
            self.moments.add(content.x, lists.kept)
            if lists.special is None:
                low, high = content.x.aminmax(dim=1)
            else:
                high, low = (content.x.masked_fill(lists.special[..., None], end) for end in (-torch.inf, torch.inf))
                high, low = high.amax(1), low.amin(1)
            for side in self.sides.values():
                side.count(content)
        torch.maximum(self.high, high.amax(0), out=self.high)
        torch.minimum(self.low, low.amin(0), out=self.low)
        for name, side in self.sides.items():
            side.add(content, high if name == "+" else low.neg_())
        self.spool.add(content.x, work.valid, work.ids)

    @property
    def spare(self) -> Tensor:
        """[R, U] memory that nothing is counted in."""
        return next(iter(self.sides.values())).types.spare

    def close(self) -> dict[Side, TypeStatistics]:
        """Of each side, what is stored of the tables by type, which are let go: the pass is over."""
        return {name: side.close() for name, side in self.sides.items()}

    def state(self) -> State:
        """Everything that was counted and kept (the spool is a file of its own)."""
        state = {**_under("moments", self.moments.state()), "low": self.low.cpu().numpy(), "high": self.high.cpu().numpy()}
        for side, gathered in self.sides.items():
            state |= _under(side, gathered.state())
        return state

    def load(self, state: State) -> None:
        """Go on from `state`."""
        self.moments.load(_part("moments", state))
        self.low.copy_(torch.from_numpy(state["low"]))
        self.high.copy_(torch.from_numpy(state["high"]))
        for side, gathered in self.sides.items():
            gathered.load(_part(side, state))


class EvidenceSite:
    """One layer on select or test."""

    def __init__(self, site: Site, frame: Frame, means: dict[Side, NDArray[np.float64]], seed: int) -> None:
        """means: [U] of a on explain, by side."""
        self.site, self.frame = site, frame
        self.records = {side: Records(site, side, frame) for side in site.sides}
        self.priority = {side: Priority(torch.from_numpy(means[side]), seed, frame.device) for side in site.sides}

    def visit(self, x: Tensor, span: slice, work: Work) -> None:
        """x [B, T', U] float32, left as it is."""
        content = Content(x, span, work)
        if not work.lists(x.device).n:
            return
        for side, records in self.records.items():
            records.add(content, self.priority[side].add(content, records.sign))

    def state(self) -> State:
        """Everything that was kept."""
        state: State = {}
        for side, records in self.records.items():
            state |= _under(side, {**_under("records", records.state()), **_under("priority", self.priority[side].best.state())})
        return state

    def load(self, state: State) -> None:
        """Go on from `state`."""
        for side, records in self.records.items():
            part = _part(side, state)
            records.load(_part("records", part))
            self.priority[side].best.load(_part("priority", part))


class HeadSite:
    """One layer on the first excerpts in hash order: the largest a of each side."""

    def __init__(self, site: Site, device: torch.device) -> None:
        self.site = site
        self.tops = {side: torch.zeros(site.width, device=device) for side in site.sides}

    def visit(self, x: Tensor, span: slice, work: Work) -> None:
        """x [B, T', U] float32."""
        content = Content(x, span, work)
        for side, top in self.tops.items():
            torch.maximum(top, content.a(SIGN[side]).amax((0, 1)), out=top)


def look(content: Content, moments: Moments, sides: Iterable[ExplainSide]) -> tuple[Tensor, Tensor]:
    """All sums over one batch on a CPU; the largest and the smallest x of each window, [B, U]."""
    high, low = content.per_window(-torch.inf), content.per_window(torch.inf)
    flat, tokens, typed, length = content.flat, content.read(), content.read_types(), content.x.shape[1]
    lists = content.work.lists(content.x.device)
    none, no = np.zeros(0, np.float32), np.zeros(0)
    whole = (moments.about(content, 0), moments.sum.numpy(), moments.square.numpy(), high.numpy(), low.numpy())
    moments.n += lists.n
    for side in sides:
        types, a = side.types, side.moments
        pivot = a.about(content, side.sign)
        kernels.look(flat, tokens.at, tokens.window, *whole, side.sign, pivot, a.sum.numpy(), a.square.numpy(), side.fired.numpy(),
                     content.work.slot, types.position[:length].numpy(), types.rest[:length].numpy())
        kernels.add_types(flat, typed.at, typed.kind, typed.alone, side.sign, pivot, types.sum.numpy(), types.alone_square.numpy())
        a.n += lists.n
        types.count(lists)
        whole = (none, no, no, high.numpy(), low.numpy())  # once is enough
    return high, low


def _under(prefix: str, state: State) -> State:
    return {f"{prefix}/{key}": value for key, value in state.items()}


def _part(prefix: str, state: State) -> State:
    start = f"{prefix}/"
    return {key[len(start):]: value for key, value in state.items() if key.startswith(start)}
