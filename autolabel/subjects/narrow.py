"""A subject of which only the first neurons of each site are read: enough for a control, whose neurons are exchangeable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import SettingsError, UnitError
from autolabel.passes import concurrent
from autolabel.subjects.identity import of_narrow
from autolabel.types import Site

if TYPE_CHECKING:
    import torch

    from autolabel.protocols import Subject, Visit


@dataclass(frozen=True, eq=False)
class Narrow:
    """The first `width` neurons of each site of `inner`. Other attributes (tokenizer, vocabulary, ...) are those of `inner`."""

    inner: Subject
    width: int  # neurons kept, at most, in each site

    def __post_init__(self) -> None:
        if self.width < 1:
            raise SettingsError(f"width = {self.width} is out of range: at least 1")

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # copying and pickling ask before the fields are there
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def name(self) -> str:
        """That of the inner subject."""
        return self.inner.name

    @property
    def context(self) -> int:
        """That of the inner subject."""
        return self.inner.context

    @property
    def hash(self) -> str:
        """Of the inner hash and the width: fewer neurons are other settings."""
        return of_narrow(self.inner.hash, self.width)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The inner sites, at most `width` wide."""
        return tuple(self._narrow(site) for site in self.inner.sites)

    @property
    def concurrent(self) -> bool:
        """As the inner subject."""
        return concurrent(self.inner)

    def run(self, tokens: NDArray[np.int64], sites: Sequence[Site], visit: Visit) -> None:
        """As `Subject.run`; x is a contiguous copy of the first neurons."""
        def first(site: Site, x: torch.Tensor, span: slice) -> None:
            visit(self._narrow(site), x[..., :self.width].contiguous(), span)

        self.inner.run(tokens, [self._inner(site) for site in sites], first)

    def activations(self, tokens: NDArray[np.int64], site: Site) -> torch.Tensor:
        """As `Subject.activations`."""
        return self.inner.activations(tokens, self._inner(site))[..., :self.width].contiguous()

    def output_weights(self, site: Site) -> torch.Tensor:
        """[width, d_model] of the kept neurons."""
        weights: torch.Tensor = self.inner.output_weights(self._inner(site))[:self.width]  # type: ignore[attr-defined]  # HFSubject has it
        return weights

    def describe(self) -> list[dict[str, str | int | bool]]:
        """As `HFSubject.describe`, with the width that is kept."""
        rows: list[dict[str, str | int | bool]] = self.inner.describe()  # type: ignore[attr-defined]  # HFSubject has it
        return [{**row, "width": min(int(row["width"]), self.width)} for row in rows]

    def _narrow(self, site: Site) -> Site:
        return replace(site, width=min(site.width, self.width))

    def _inner(self, site: Site) -> Site:
        for inner in self.inner.sites:
            if (inner.layer, inner.name) == (site.layer, site.name):
                return inner
        raise UnitError(f"{self.name} has no site {site.layer}-{site.name}")
