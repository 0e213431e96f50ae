"""What a model sees in the demo corpus: `python -m eval.exemplar_spread CATALOGUE` -> eval/reports/exemplar_spread.json.

Make the catalogue with `autolabel extract demo --corpus data/corpus --db CATALOGUE`. Per unit, the ten strongest exemplars of all
splits; a unit is *spread* if they come from at least six documents and four topics. The report keeps a digest of the corpus: a test
fails when it is about another corpus.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from autolabel.catalogue import Catalogue
from eval.corpus_card import digest, documents

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "eval" / "reports" / "exemplar_spread.json"
TOP, DOCUMENTS, TOPICS = 10, 6, 4


def spread(catalogue: Catalogue) -> tuple[int, int]:
    """Units that are spread, and units with exemplars (a neuron that never fires has none)."""
    topic = dict(catalogue.read("SELECT id, metadata ->> 'topic' FROM documents"))
    query = ("SELECT unit, document FROM exemplars WHERE band = 'top' "
             f"QUALIFY row_number() OVER (PARTITION BY unit ORDER BY max_activation DESC, excerpt) <= {TOP}")
    seen: dict[str, list[int]] = defaultdict(list)
    for unit, document in catalogue.read(query):
        seen[unit].append(document)
    wide = sum(len(set(found)) >= DOCUMENTS and len({topic[d] for d in found}) >= TOPICS for found in seen.values())
    return wide, len(seen)


def main(path: str) -> None:
    """Measure and write the report. A catalogue of another corpus is refused."""
    catalogue, docs = Catalogue.open(path), documents(ROOT / "data" / "corpus")
    read = {name for (name,) in catalogue.read("SELECT metadata ->> 'id' FROM documents")}
    strange = read - {d["id"] for d in docs}
    if strange or len(read) < 0.99 * len(docs):
        raise SystemExit(f"{path} is not a catalogue of data/corpus ({len(read)} of {len(docs)} documents, {len(strange)} of them strange)")
    wide, units = spread(catalogue)
    REPORT.write_text(json.dumps({"corpus": digest(docs), "units": units, "spread": wide}) + "\n", "utf-8")
    print(f"{wide:,} of {units:,} units ({wide / units:.2%})")


if __name__ == "__main__":
    main(sys.argv[1])
