"""What each explainer may see of a unit: statistics, records of the explain split, hard negatives, output tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.explainers.showing import NEGATIVES
from autolabel.pipeline.negatives import with_negatives
from autolabel.pipeline.reading import BLOCK, Key, key_of, read_exemplars
from autolabel.pipeline.session import model_row
from autolabel.protocols import ExplainSplit
from autolabel.types import Exemplars, Unit


def exemplars_for(catalogue: Catalogue, plugin: object, units: Iterable[Unit], split: Callable[[], ExplainSplit]) -> Iterator[Exemplars]:
    """What this explainer may see of each unit, in order: statistics, and whatever its ClassVar `needs` names
    (records where it has none and asks an LLM).

    `records`: those of the explain split; bands in NEGATIVES: hard negatives; `logits`: the output tokens that it raises and lowers.
    `split` is called where the subject itself must be read. Raises SetupError and its kinds.
    """
    needs: frozenset[str] = getattr(plugin, "needs", frozenset({"records"}) if hasattr(plugin, "llm") else frozenset())
    if "records" not in needs:
        stats = split().stats
        yield from (Exemplars(unit, stats[unit.layer, unit.side].unit(unit.index)) for unit in units)
        return
    for key, several in groupby(read_exemplars(catalogue, units), key=lambda one: key_of(one.unit)):
        while block := list(islice(several, BLOCK)):
            if bands := needs.intersection(NEGATIVES):
                block = with_negatives(catalogue, key, block, split(), bands)
            if "logits" in needs:
                block = with_logits(catalogue, key, block, split())
            yield from block


def with_logits(catalogue: Catalogue, key: Key, several: Sequence[Exemplars], split: ExplainSplit) -> list[Exemplars]:
    """The same units with the output tokens that they raise and lower; none where the model has no unembedding, or is a random copy."""
    from autolabel.subjects.lens import open_lens

    subject: Any = split.subject
    if "lens" not in split.memo:
        row = model_row(catalogue, key[0])
        split.memo["lens"] = None if row.is_control else open_lens(row.subject, revision=row.options.get("revision"))
    site = next(s for s in subject.sites if (s.layer, s.name) == (key[1], key[2]))
    lens, weights = split.memo["lens"], subject.output_weights(site)
    if lens is None or weights.shape[1] != lens.width:
        return list(several)
    rows = weights[[one.unit.index for one in several]] * (-1 if key[3] == "-" else 1)
    return [replace(one, promoted=high, lowered=low) for one, (high, low) in zip(several, lens.tokens(rows), strict=True)]


__all__ = ["exemplars_for", "read_exemplars", "with_logits"]
