"""The five things that can be replaced, and what each of them may see.

A plug-in is a frozen dataclass with one method; its fields are its settings and its provenance. Three doors: pass the
object in Python, name `my_pkg.mod:Class` on the command line, publish an entry point (`autolabel.explainers`, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from autolabel.types import (
    ActivationRecord,
    Ask,
    Completion,
    Excerpt,
    Exemplars,
    Explanation,
    Score,
    Side,
    Simulation,
    Site,
    Split,
)

Message = Mapping[Literal["role", "content"], str]  # role: system, user or assistant

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from autolabel.excerpts import Excerpts
    from autolabel.neurons import LayerStats, TypeMeans
    from autolabel.sampling.two_sided import Stored

    Visit = Callable[[Site, torch.Tensor, slice], None]


@runtime_checkable
class Subject(Protocol):
    """A model whose neurons are read."""

    @property
    def name(self) -> str:
        """As in Unit.model."""

    @property
    def hash(self) -> str:
        """Of weights, configuration, tokenizer, and what was done to the weights."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where neurons are read, in order."""

    @property
    def context(self) -> int:
        """The longest window of content tokens that it takes."""

    def run(self, tokens: NDArray[np.int64], sites: Sequence[Site], visit: Visit) -> None:
        """One forward pass of windows [B, T] (content ids; special tokens are added here), ended after the last of `sites`.

        `visit(site, x, span)` sees each tensor in place, x [B, T', U] with special positions, content at x[:, span];
        it must not keep x, nor leave it changed.
        """

    def activations(self, tokens: NDArray[np.int64], site: Site) -> torch.Tensor:
        """x [B, T, U] of the content tokens, as a copy: for small things."""


@dataclass(frozen=True)
class SplitView:
    """One split of a catalogue's corpus, seen through one subject. The three kinds below are three types, so that a leak is a type error."""

    split: ClassVar[Split]
    subject: Subject
    chunks: Callable[[], Iterator[Excerpts]]  # all excerpts of the split, a few thousand at a time, always in the same order
    n_excerpts: int
    n_tokens: int
    stats: Mapping[tuple[str, Side], LayerStats]  # (layer, side) -> statistics, of explain whatever the split
    batch_size: int = 32  # windows per forward pass
    ids: Callable[[], NDArray[np.int64]] | None = None  # Excerpt.id of all of them, ascending: the frame that samples are drawn from
    some: Callable[[NDArray[np.int64]], Excerpts] | None = None  # the excerpts with these ids
    priority: Callable[[str, Side, int], Stored] | None = None  # (layer, side, neuron) -> its stored sample; of select and test alone


@dataclass(frozen=True)
class ExplainSplit(SplitView):
    """What explainers may read."""

    split: ClassVar[Split] = "explain"
    type_means: Callable[[str, Side], TypeMeans] | None = None  # (layer, side) -> tables
    memo: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)  # what several explainers' passes have in common


@dataclass(frozen=True)
class SelectEvidence(SplitView):
    """What candidates are compared on, any number of times."""

    split: ClassVar[Split] = "select"


@dataclass(frozen=True)
class TestEvidence(SplitView):
    """What is reported. Every look at it is counted."""

    __test__: ClassVar[bool] = False  # no test class for pytest
    split: ClassVar[Split] = "test"


@runtime_checkable
class LLM(Protocol):
    """A language model that answers. Wrappers (cache, retries, limits, budget) are LLMs around an LLM."""

    @property
    def name(self) -> str:
        """`provider/model`, as on the command line."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Of logprobs, prompt_logprobs, json, batch."""

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """One answer to one conversation; called from many threads at once.

        Raises the LLMError that the call ended in, PendingError where the answer comes later, StoppedError at a budget's end.
        """


@runtime_checkable
class Explainer(Protocol):
    """Proposes labels from the explain split."""

    def explain(self, units: Iterable[Exemplars], explain_split: ExplainSplit) -> Iterator[Explanation]:
        """One unit at a time (LLM), or all at once with further passes over the explain split."""


@runtime_checkable
class Simulator(Protocol):
    """Reads a label and predicts. Never sees an activation it must predict."""

    def simulate(self, label: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        """`label` is a sentence, or the JSON of a pattern."""


@runtime_checkable
class Scorer(Protocol):
    """Says how good labels are."""

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation and figure; those that cannot be scored come back as `Score.unscored`."""


__all__ = [
    "LLM", "ActivationRecord", "Explainer", "ExplainSplit", "Message", "Scorer", "SelectEvidence", "Simulator", "SplitView", "Subject", "TestEvidence",
]
