"""What a catalogue can prove about itself, in SQL. Each check is a query whose rows are what is wrong; no rows, it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autolabel.catalogue import ledger

if TYPE_CHECKING:
    from autolabel.catalogue.store import Catalogue

SHOWN = 20  # rows of a failed check that are kept


@dataclass(frozen=True, slots=True)
class Check:
    """One promise."""

    name: str  # short, for the command line
    promise: str  # what holds when there are no rows
    sql: str  # finds what is wrong


@dataclass(frozen=True, slots=True)
class Finding:
    """How a check came out."""

    check: Check
    count: int  # rows that are wrong; 0: it holds
    rows: tuple[tuple[Any, ...], ...]  # the first of them

    @property
    def holds(self) -> bool:
        """Nothing is wrong."""
        return self.count == 0


COUNTS_ADD_UP = Check(
    "counts_add_up", "of every model: units asked = scored + failed (or unscored) + abstained, each counted once",
    """SELECT model, count(*) AS n_asked, count(DISTINCT (layer, site, neuron, side)) AS n_units,
              count(*) FILTER (score IS NOT NULL AND verdict NOT IN ('abstained', 'failed', 'unscored')) AS n_scored,
              count(*) FILTER (score IS NULL AND verdict IN ('failed', 'unscored', 'imprecise')) AS n_failed,
              count(*) FILTER (score IS NULL AND verdict = 'abstained') AS n_abstained
       FROM choices GROUP BY model
       HAVING n_scored + n_failed + n_abstained <> n_asked OR n_units <> n_asked""")
LEAKS = Check(
    "leaks", "no excerpt of select or test was in a call that explains, none of test in one that revises, and none that is not known",
    """SELECT DISTINCT c.role, c.digest, coalesce(e.split, 'unknown') AS split, p.excerpt
       FROM calls c JOIN prompts_excerpts p ON p.call = c.digest
       LEFT JOIN t_excerpts e ON e.id = p.excerpt AND (p.corpus_id IS NULL OR e.corpus_id = p.corpus_id)
       WHERE (c.role = 'explain' AND e.split IS DISTINCT FROM 'explain')
          OR (c.role = 'revise' AND (e.split IS NULL OR e.split NOT IN ('explain', 'select')))""")
ONE_SPLIT = Check(
    "one_split", "no document or block is in two splits, and every excerpt is in its document's",
    """SELECT 'document' AS what, corpus_id, id FROM t_documents GROUP BY ALL HAVING count(DISTINCT split) > 1
       UNION ALL
       SELECT 'block', corpus_id, block FROM t_documents GROUP BY ALL HAVING count(DISTINCT split) > 1
       UNION ALL
       SELECT 'excerpt', e.corpus_id, e.id FROM t_excerpts e
       JOIN t_documents d ON d.corpus_id = e.corpus_id AND d.id = e.document WHERE d.split <> e.split""")
NO_REPEATS = Check(
    "no_repeats", "no token sequence of a test excerpt occurs in explain or select",
    """SELECT DISTINCT t.corpus_id, t.id FROM t_excerpts t
       JOIN t_excerpts o ON o.corpus_id = t.corpus_id AND o.n_tokens = t.n_tokens AND o.token_ids = t.token_ids
       WHERE t.split = 'test' AND o.split IN ('explain', 'select')""")
RECORDS_IN_SPLIT = Check(
    "records_in_split", "every exemplar is of the split that it names",
    """SELECT a.model, a.layer, a.neuron, a.side, a.split, a.excerpt
       FROM activations a JOIN models m ON m.name = a.model
       LEFT JOIN t_excerpts e ON e.corpus_id = m.corpus_id AND e.id = a.excerpt
       WHERE e.split IS DISTINCT FROM a.split""")
SCORED_ON_TEST = Check(
    "scored_on_test", "every score in `labels` is one that was measured on test for that explanation",
    """SELECT c.model, c.layer, c.neuron, c.side, c.explanation FROM choices c
       WHERE c.score IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM scores s WHERE s.explanation = c.explanation AND s.split = 'test' AND s.value = c.score)""")
AS_EXPLAINED = Check(
    "as_explained", "every label and pattern in `labels` is its explanation's, and no control is among them",
    """SELECT c.model, c.layer, c.neuron, c.side, c.explanation FROM choices c LEFT JOIN explanations e ON e.id = c.explanation
       WHERE (e.id IS NOT NULL AND (c.label IS DISTINCT FROM nullif(e.text, '') OR c.pattern IS DISTINCT FROM e.pattern))
          OR NOT coalesce(c.of_control, false) AND c.model IN (SELECT name FROM models WHERE is_control)""")
CHECKS = (COUNTS_ADD_UP, LEAKS, ONE_SPLIT, NO_REPEATS, RECORDS_IN_SPLIT, SCORED_ON_TEST, AS_EXPLAINED)


def check(catalogue: Catalogue, which: Check) -> Finding:
    """Run one check."""
    with catalogue.reading() as connection:
        rows = connection.execute(which.sql).fetchall()
    return Finding(which, len(rows), tuple(rows[:SHOWN]))


def counts_add_up(catalogue: Catalogue) -> list[tuple[Any, ...]]:
    """(model, n_asked, n_units, n_scored, n_failed, n_abstained) of the models where the counts do not add up."""
    return catalogue.read(COUNTS_ADD_UP.sql)


def leaks(catalogue: Catalogue) -> list[tuple[Any, ...]]:
    """(role, call, split, excerpt) of every excerpt that a call should not have held."""
    return catalogue.read(LEAKS.sql)


def check_all(catalogue: Catalogue) -> list[Finding]:
    """All checks, the ledger's among them."""
    findings = [check(catalogue, which) for which in CHECKS]
    note = ledger.read_note(catalogue.path)
    with catalogue.reading() as connection:
        words = ledger.loss(connection, note)
    promise = Check("ledger", "the file has as many rows of each table as the ledger says", "")
    findings.append(Finding(promise, 0 if words is None else 1, () if words is None else ((words,),)))
    return findings
