"""The deterministic simulator: runs an executable label (Neuron to Graph, Foote et al. 2023, has the nearest relative)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from autolabel.excerpts import Excerpts
from autolabel.patterns.run import Strengths, run
from autolabel.patterns.syntax import parse
from autolabel.registry import part
from autolabel.types import Excerpt, Simulation

if TYPE_CHECKING:
    from autolabel.hierarchy import Hierarchy
    from autolabel.patterns.embedded import Embedder


@dataclass(frozen=True)
class PatternSimulator:
    """Strength in [0, 1] per token. The scorers run many patterns at once through the same `patterns.run`."""

    reads: ClassVar[str] = "pattern"  # of a label: not its sentence

    vocabulary: Sequence[str] = part(())  # token strings by id: needed by `token` atoms
    embedder: Embedder | None = part()  # needed by `like` and `about`
    hierarchy: Hierarchy | None = part()  # needed by `concept`

    def simulate(self, label: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        """`label` is the JSON of a pattern; excerpts in any order. Raises PatternError, SetupError."""
        pattern = parse(label)
        tokens = [np.array(e.tokens, np.int64) for e in excerpts]
        starts = [np.array([a for a, _ in e.offsets], np.int64) for e in excerpts]
        ends = [np.array([b for _, b in e.offsets], np.int64) for e in excerpts]
        documents = [e.document for e in excerpts]
        columns = Excerpts.build([e.id for e in excerpts], documents, documents, [e.start for e in excerpts], tokens, starts, ends,
                                 [e.text for e in excerpts])
        found: Strengths = run([pattern], columns, vocabulary=self.vocabulary, embedder=self.embedder, hierarchy=self.hierarchy)
        c, row = found.row(0), {int(id_): i for i, id_ in enumerate(columns.id)}
        spans = [slice(int(columns.offset[row[e.id]]), int(columns.offset[row[e.id] + 1])) for e in excerpts]
        return [Simulation(e.id, tuple(c[span].tolist())) for e, span in zip(excerpts, spans, strict=True)]

