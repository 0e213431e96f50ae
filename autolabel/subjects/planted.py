"""A subject with some units overwritten by known rules, so that the truth is known without asking anyone.

    a = max over senses of gain * c * (1 + jitter * z) + e,   c the rule's strength, e >= 0 noise

z is uniform in [-sqrt 3, sqrt 3] (mean 0, variance 1); e is 0 but on a share of the tokens, where it is exponential. Both are hashes of (seed, window,
position), so the same window gives the same bits in any batch. As e does not depend on c, the correlation of a with one
sense's c is known, and `noise_for` solves for the noise that brings it to a wanted rho:

    rho^2 = var(c) / (var(c) + jitter^2 E[c^2] + var(e)/gain^2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import SettingsError, UnitError
from autolabel.stats.uniform import uniform
from autolabel.subjects.rules import Floats, Ints, Reading, Rule, Speller
from autolabel.types import Site, digest, hash63

if TYPE_CHECKING:
    import torch

    from autolabel.protocols import Subject, Visit
    from autolabel.subjects.intervene import Edit


@dataclass(frozen=True)
class Noise:
    """What a planted unit does apart from its rules."""

    jitter: float = 0.0  # standard deviation of the relative strength where a rule fires, at most 1/sqrt 3
    share: float = 0.05  # of tokens with noise
    scale: float = 0.0  # mean of the noise where there is some, in the unit's own unit
    seed: int = 0

    @property
    def variance(self) -> float:
        """Of e: share (2 - share) scale^2."""
        return self.share * (2 - self.share) * self.scale**2


@dataclass(frozen=True)
class Plant:
    """One unit whose truth is known."""

    layer: str
    index: int
    kind: str  # words, class, concept, and, or, context, senses, noise, dead, topic, parity, position, again, ...
    senses: tuple[tuple[Rule, float], ...]  # (rule, gain in (0, ...)); none: it is all noise, or dead
    noise: Noise = Noise()
    rho: float | None = None  # correlation with its rule that was planted; None where it was not set

    @property
    def rule(self) -> Rule:
        """The true label: where any of its senses fires, by relative gain."""
        from autolabel.subjects.rules import Either

        return self.senses[0][0] if len(self.senses) == 1 else Either(tuple(rule for rule, _ in self.senses))

    def activation(self, reading: Reading, window: Ints) -> Floats:
        """a [tokens] >= 0 of excerpts; window [tokens]: an integer that names each token's window and position."""
        n = reading.excerpts.n_tokens
        a = np.zeros(n)
        for rule, gain in self.senses:
            a = np.maximum(a, gain * rule.strength(reading))
        if self.noise.jitter:
            z = np.sqrt(12) * (uniform(hash63(self.noise.seed, self.index, "jitter"), window) - 0.5)
            a = np.maximum(a * (1 + self.noise.jitter * z), 0)
        if self.noise.scale:
            here = uniform(hash63(self.noise.seed, self.index, "where"), window) <= self.noise.share
            a = a - self.noise.scale * np.log(uniform(hash63(self.noise.seed, self.index, "how much"), window)) * here
        return a


def noise_for(rho: float, c: Floats, gain: float = 1.0, jitter: float = 0.25, share: float = 0.05, seed: int = 0) -> Noise:
    """The noise with which a unit of this gain correlates with c [tokens] at `rho`; jitter is lowered where it alone is too much.

    Raises ValueError where c does not vary or rho is not in (0, 1].
    """
    variance, square = float(np.var(c)), float(np.mean(np.square(c)))
    if not 0 < rho <= 1 or variance <= 0:
        raise ValueError(f"rho {rho} cannot be planted on a rule whose strength has variance {variance}")
    rest = variance * (1 / rho**2 - 1)  # what jitter and noise may add
    jitter = min(jitter, float(np.sqrt(rest / square)))
    scale = gain * np.sqrt(max(rest - jitter**2 * square, 0.0) / (share * (2 - share)))
    return Noise(jitter, share, float(scale), seed)


@dataclass(frozen=True, eq=False)
class Planted:
    """`inner` with the units of `plants` overwritten on their way to whoever looks. Other attributes are those of `inner`."""

    inner: Subject
    plants: tuple[Plant, ...]

    def __post_init__(self) -> None:
        widths = {site.layer: site.width for site in self.inner.sites}
        where = [(p.layer, p.index) for p in self.plants]
        if wrong := [w for w in where if not 0 <= w[1] < widths.get(w[0], 0)]:
            raise UnitError(f"{self.inner.name} has no unit {wrong[0][0]}/{wrong[0][1]} to plant in")
        if len(set(where)) < len(where):
            raise SettingsError("two plants name the same unit")

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # copying and pickling ask before the fields are there
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def name(self) -> str:
        """That of the inner subject, and that it is planted."""
        return f"{self.inner.name}~planted"

    @property
    def context(self) -> int:
        """That of the inner subject."""
        return self.inner.context

    @property
    def sites(self) -> tuple[Site, ...]:
        """Those of the inner subject."""
        return self.inner.sites

    @cached_property
    def hash(self) -> str:
        """Of the inner hash and all that is planted."""
        return digest(self.inner.hash, "planted", [repr(p) for p in self.plants])

    @cached_property
    def speller(self) -> Speller:
        """From the vocabulary of the inner subject."""
        return Speller(self.inner.vocabulary)  # type: ignore[attr-defined]  # subjects with a tokenizer have it

    @cached_property
    def _by_layer(self) -> Mapping[str, list[Plant]]:
        out: dict[str, list[Plant]] = {}
        for plant in self.plants:
            out.setdefault(plant.layer, []).append(plant)
        return out

    def reading(self, tokens: NDArray[np.int64]) -> Reading:
        """Windows [B, T] as the planted rules read them."""
        return Reading(self.speller.read(tokens), self.speller.vocabulary)

    def edits(self, tokens: NDArray[np.int64], sites: Sequence[Site] | None = None) -> Mapping[Site, Edit]:
        """What is planted in these sites (all where None), as edits of the inner subject (see intervene.py) for windows [B, T]."""
        import torch

        from autolabel.subjects.intervene import given

        out: dict[Site, Edit] = {}
        planted = [(site, plants) for site in (self.sites if sites is None else sites) if (plants := self._by_layer.get(site.layer))]
        if planted:
            reading, window = self.reading(tokens), windows(tokens)
            for site, plants in planted:
                a = np.stack([plant.activation(reading, window).reshape(tokens.shape) for plant in plants], axis=-1)
                out[site] = given(torch.from_numpy(a), np.array([plant.index for plant in plants], np.int64))
        return out

    def run(self, tokens: NDArray[np.int64], sites: Sequence[Site], visit: Visit) -> None:
        """As `Subject.run`; x of a layer with planted units is a copy."""
        edits = self.edits(tokens, sites)

        def overwrite(site: Site, x: torch.Tensor, span: slice) -> None:
            if site in edits:
                content = edits[site](x[:, span])
                x = x.clone()
                x[:, span] = content
            visit(site, x, span)

        self.inner.run(tokens, sites, overwrite)

    def activations(self, tokens: NDArray[np.int64], site: Site) -> torch.Tensor:
        """As `Subject.activations`."""
        kept: list[torch.Tensor] = []
        self.run(tokens, [site], lambda _site, x, span: kept.append(x[:, span].to("cpu", copy=True).contiguous()))
        return kept[0]


@dataclass(frozen=True, eq=False)
class Silent:
    """A subject with the tokenizer of `inner` and one layer of units that are all 0: a bed for plants that costs no forward pass."""

    inner: Subject
    width: int

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def name(self) -> str:
        """Says that nothing of the inner model is left."""
        return f"{self.inner.name}~silent"

    @property
    def context(self) -> int:
        """That of the inner subject."""
        return self.inner.context

    @property
    def hash(self) -> str:
        """Of the inner hash and the width."""
        return digest(self.inner.hash, "silent", self.width)

    @property
    def sites(self) -> tuple[Site, ...]:
        """One layer, named 0."""
        return (replace(self.inner.sites[0], layer="0", order=0, width=self.width, two_sided=False),)

    def run(self, tokens: NDArray[np.int64], sites: Sequence[Site], visit: Visit) -> None:
        """As `Subject.run`, with no special positions."""
        import torch

        with torch.inference_mode():  # as in a real pass: whoever looks keeps buffers of that mode
            for site in sites:
                visit(site, torch.zeros(*tokens.shape, self.width), slice(0, tokens.shape[1]))

    def activations(self, tokens: NDArray[np.int64], site: Site) -> torch.Tensor:
        """As `Subject.activations`."""
        import torch

        return torch.zeros(*tokens.shape, site.width)


def windows(tokens: NDArray[np.int64]) -> Ints:
    """[B * T] an integer that names each token's window (by its tokens) and position."""
    return windows_of(list(np.ascontiguousarray(tokens, np.int64)))


def windows_of(rows: Sequence[Ints]) -> Ints:
    """The same for windows of any length, one after the other."""
    with np.errstate(over="ignore"):
        parts = [np.int64(hash63(row.tobytes().hex())) + np.arange(len(row)) * np.int64(0x632BE59BD9B4E01) for row in rows]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
