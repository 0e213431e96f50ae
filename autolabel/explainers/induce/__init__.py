"""`induce`: searches words, stems, classes, concepts, likenesses and contexts for the label that says most about a neuron.

One pass over the explain split. Own words are ranked by excess over their standard error and listed with strengths;
classes, concepts and likenesses by how well they carry over to words left out of the search (`carry.py`); contexts on what
token type and position leave unexplained (`contexts.py`). Clauses are added greedily, each if the objective sqrt(rho * peak)
grows by more than it costs (`search.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from autolabel.explainers import gather
from autolabel.explainers.excess import listed
from autolabel.explainers.induce import carry, search
from autolabel.explainers.induce.contexts import contexts
from autolabel.explainers.induce.features import features
from autolabel.explainers.induce.groups import groups
from autolabel.explainers.induce.naming import Names
from autolabel.explainers.induce.wording import Label, Wording
from autolabel.explainers.lexicon import Lexicon
from autolabel.explainers.tokens import CHANCE, SILENT
from autolabel.hierarchy import Hierarchy
from autolabel.patterns import embedded
from autolabel.protocols import ExplainSplit
from autolabel.registry import part
from autolabel.threads import cores, each, stretches
from autolabel.types import Exemplars, Explanation, Maker


@dataclass(frozen=True)
class Induce:
    """Searches for the label that says most about each unit."""

    words: int = 10  # own words listed at most
    features: int = 2  # classes, concepts and likenesses at most
    contexts: int = 2  # context clauses at most
    cost: float = 0.003  # of the objective, per word
    like: bool = True  # use embedding neighbourhoods, where the embedding model is installed
    concepts: bool = True  # use the concept hierarchy
    hierarchy: Hierarchy | None = part()  # the everyday one where none is given

    def explain(self, units: Iterable[Exemplars], explain_split: ExplainSplit) -> Iterator[Explanation]:
        """All units of a layer at once; layers in order."""
        asked = gather.by_layer(units)
        lexicon = gather.lexicon_of(explain_split, list(asked))
        material, maker = self.material(explain_split, lexicon), self.maker()
        for layer in gather.layers(explain_split, list(asked), lexicon):
            labels = self.labels(layer, material)
            for exemplars in asked[layer.key]:
                u = exemplars.unit.index
                label = labels(u)
                if label is None:
                    yield Explanation(exemplars.unit, "", None, maker, SILENT if layer.std[u] == 0 else CHANCE)
                else:
                    yield Explanation(exemplars.unit, label.text, label.pattern, maker)

    def maker(self) -> Maker:
        """The provenance of its labels."""
        embedder, hierarchy = self._knows()
        return Maker("induce", {"words": self.words, "features": self.features, "contexts": self.contexts, "cost": self.cost,
                                "like": embedder.hash if embedder else None, "concepts": hierarchy.hash if hierarchy else None})

    def material(self, explain_split: ExplainSplit, lexicon: Lexicon) -> search.Material:
        """What the search of every layer stands on."""
        said = features(lexicon, _vocabulary(explain_split), *self._knows())
        return search.Material(lexicon, listed(lexicon), said, carry.halves(lexicon, said.cells), contexts(lexicon, groups(lexicon, said)),
                               Names.build(lexicon, said))

    def labels(self, layer: gather.Layer, material: search.Material) -> Callable[[int], Label | None]:
        """The labels of one layer, by unit. Units do not depend on each other: they are shared out among the cores."""
        settings = search.Settings(self.words, self.features, self.contexts, cost=self.cost)
        size = max(1, -(-len(layer.mean) // cores()))
        parts = each(lambda units: Wording(material, search.run(layer.of(units), material, settings)), stretches(len(layer.mean), size))
        return lambda u: parts[u // size].label(u % size)

    def _knows(self) -> tuple[embedded.Embedder | None, Hierarchy | None]:
        return _embedder() if self.like else None, (self.hierarchy or _hierarchy()) if self.concepts else None


def _vocabulary(split: ExplainSplit) -> list[str]:
    """Token strings by id, [] where the subject has none to show: word pieces are then not searched."""
    return list(getattr(split.subject, "vocabulary", ()))


def _embedder() -> embedded.Embedder | None:
    from autolabel.embeddings import default_embedder
    from autolabel.errors import ExtraError

    try:
        return default_embedder()
    except ExtraError:
        return None


def _hierarchy() -> Hierarchy:
    return Hierarchy.default()
