"""One pass over each split of a corpus, all neurons of all layers at once: a subject and a corpus become rows of the catalogue.

The forward pass is nearly all of the time. Explain gives statistics, tables by token type, strata and exemplars; select and test give
exemplars and a sample drawn where each unit is active. Memory does not depend on the corpus. About once a minute everything
that was gathered is written beside the catalogue, so that the same call, after a kill, goes on from there and ends with the
same rows; the finished layers of a split are written in transactions that replace what an interrupted attempt left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from glob import escape
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autolabel import checkpoint
from autolabel.errors import CatalogueError, CorpusError, SettingsError, UnitError
from autolabel.excerpts import Batch, Excerpts
from autolabel.memory import given_back
from autolabel.passes import Passes
from autolabel.threads import each
from autolabel.types import SPLITS, Side, Site, Split, digest

if TYPE_CHECKING:
    import torch

    from autolabel.catalogue import Catalogue
    from autolabel.protocols import Subject
    from autolabel.sampling.observe import EvidenceSite, ExplainSite, Frame
    from autolabel.sampling.store import Keeper
    from autolabel.sampling.work import Work

EVERY = 50.0  # seconds between checkpoints: with the batch and the writing, less than 60 s are ever done again
STATE = 7  # of checkpoints: one that an earlier program left with other sums is not gone on with
TABLES = 1 << 30  # bytes of the tables by token type
Place = tuple[str, str]  # (layer, site name)


def extract(catalogue: Catalogue, subject: Subject, corpus_id: str, *, run: str, layers: Sequence[str] | None = None, batch_size: int = 32,
            seed: int = 0, is_control: bool = False, control_of: str | None = None, context: int | None = None, redo: bool = False,
            table_bytes: int = TABLES, every: float = EVERY, progress: Callable[[int, int], None] | None = None) -> None:
    """Read every neuron of `layers` (all when None) over the corpus, and write units, exemplars, tables and samples.

    run: the id of the run that the rows name. context: that of the corpus, for a check (None: no check). redo: start over.
    table_bytes: memory for sums by token type. every: seconds between checkpoints. progress(done, total): tokens of all splits.
    Complete already: returns at once. Raises UnitError (no such layer), CatalogueError (this name is another model, corpus
    or setting), CorpusError (a split is empty), SettingsError.
    """
    if batch_size < 1:
        raise SettingsError(f"batch_size = {batch_size} is out of range: at least 1")
    sites = _sites(subject, layers)
    found = catalogue.read("SELECT context FROM corpora WHERE id = ?", [corpus_id])
    if not found:
        raise CorpusError(f"{catalogue.path} has no corpus {corpus_id}: read it in first")
    width = int(found[0][0])
    if context is not None and context != width:
        raise SettingsError(f"corpus {corpus_id} is cut into windows of {width} tokens, not {context}")
    settings = {"layers": [site.layer for site in sites], "sites": sorted({site.name for site in sites}), "seed": seed,
                "table_bytes": table_bytes}
    row = {"name": subject.name, "hash": subject.hash, "subject": str(getattr(subject, "spec", subject.name)), "corpus_id": corpus_id,
           "context": width, "settings": json.dumps(settings, sort_keys=True), "sites": json.dumps([asdict(site) for site in sites]),
           "is_control": is_control or control_of is not None, "control_of": control_of, "run": run}
    if not redo and _complete(catalogue, row):
        return
    with catalogue.writer() as writer:
        from autolabel.sampling.store import Keeper

        with Keeper(writer, subject.name, run, getattr(subject, "vocabulary", ())) as keeper:
            flow = _Flow(catalogue, subject, corpus_id, sites, width, batch_size, seed, table_bytes, every, keeper, progress,
                         digest(row["name"], row["hash"], corpus_id, row["settings"], batch_size, STATE))
            if redo:
                flow.forget()
            flow.go()
        writer.insert("models", {name: [value] for name, value in row.items()})
        flow.forget()


def _sites(subject: Subject, layers: Sequence[str] | None) -> tuple[Site, ...]:
    known = [site.layer for site in subject.sites]
    if missing := [layer for layer in layers or () if layer not in known]:
        raise UnitError(f"{subject.name} has no layer {missing[0]}: it has {', '.join(dict.fromkeys(known))}")
    return tuple(site for site in subject.sites if layers is None or site.layer in layers)


def _complete(catalogue: Catalogue, row: dict[str, Any]) -> bool:  # a row holds text and numbers
    """This very extraction is there already. Raises CatalogueError where the name belongs to another."""
    found = catalogue.read("SELECT hash, corpus_id, context, settings FROM models WHERE name = ?", [row["name"]])
    if not found:
        return False
    have = (*found[0][:3], json.loads(found[0][3]))
    want = (row["hash"], row["corpus_id"], row["context"], json.loads(row["settings"]))
    for what, a, b in zip(("weights (hash)", "corpus", "context", "settings"), have, want, strict=True):
        if a != b:
            raise CatalogueError(f"{catalogue.path} already holds {row['name']} with other {what}: {a}, not {b}; "
                                 "use another file, or start over with --redo")
    return True


class _Flow:
    """The state of one extraction."""

    def __init__(self, catalogue: Catalogue, subject: Subject, corpus_id: str, sites: tuple[Site, ...], context: int,
                 batch_size: int, seed: int, table_bytes: int, every: float, keeper: Keeper,
                 progress: Callable[[int, int], None] | None, key: str) -> None:
        self.catalogue, self.subject, self.corpus_id, self.sites, self.context = catalogue, subject, corpus_id, sites, context
        self.batch_size, self.seed, self.table_bytes, self.every, self.keeper, self.key = batch_size, seed, table_bytes, every, keeper, key
        self.progress = progress or (lambda done, total: None)
        self.special = np.array(sorted(getattr(subject, "special_ids", ())), np.int64)
        self.beside = f"{catalogue.path.name}.extract-{digest(subject.name)[:8]}"
        self.path = catalogue.path.with_name(f"{self.beside}.npz")
        self.means: dict[Place, dict[Side, NDArray[np.float64]]] = {}
        self.last = time.monotonic()
        self.commits: list[tuple[Split, Future[None]]] = []  # under way, in the order in which they end
        self.ahead: dict[Split, tuple[Excerpts, Iterator[Excerpts]]] = {}  # the first chunk of a split that is to come, and the others

    def spool(self, site: Site) -> Path:
        """The file of the shared tokens of one site."""
        return self.catalogue.path.with_name(f"{self.beside}.{digest(site.layer, site.name)[:8]}.spool")

    def forget(self) -> None:
        """Remove everything beside the catalogue, what an earlier program left there, too."""
        for path in self.path.parent.glob(f"{escape(self.beside)}.*"):
            path.unlink(missing_ok=True)

    def go(self) -> None:
        """All three passes, from where they were left."""
        from autolabel.sampling.observe import Frame
        from autolabel.sampling.shared import RECORDS
        from autolabel.sampling.store import written

        with self.catalogue.reading():  # once: DuckDB takes 12 ms to open the file
            counts = {str(split): (int(n), int(tokens)) for split, n, tokens in self.catalogue.read(
                "SELECT split, count(*), sum(n_tokens) FROM t_excerpts WHERE corpus_id = ? GROUP BY split", [self.corpus_id])}
            left = written(self.catalogue, self.subject.name)
        if empty := [split for split in SPLITS if not counts.get(split, (0, 0))[1]]:
            raise CorpusError(f"the corpus has no excerpt in the split {empty[0]}: give more documents")
        self.total, self.done = sum(tokens for _, tokens in counts.values()), 0
        where, arrays = self._resume(left)
        device = getattr(self.subject, "device", None) or _cpu()
        for split in SPLITS:
            if SPLITS.index(split) < SPLITS.index(where["split"]):
                self.done += counts[split][1]
                continue
            going = where["split"] == split
            start = (where["chunk"], where["batch"]) if going else (0, 0)
            state = arrays if going and start != (0, 0) else {}
            head = self._head(split)
            frame = Frame(self.context, device, frozenset(np.sort(head.id)[:RECORDS].tolist()))
            gathered: dict[Place, ExplainSite] | dict[Place, EvidenceSite]
            if split == "explain":
                gathered = explain = self._explain(frame, fresh=not state)
                with given_back():
                    self._pass(split, gathered, start if state else (0, self._first(explain, head)), state)
                for later in SPLITS[1:]:
                    self._head(later)
                self.means = {place: {side: part.moments.mean() for side, part in one.sides.items()} for place, one in explain.items()}
                commit = self.keeper.explain([explain.pop((site.layer, site.name)) for site in self.sites], counts[split][0])
            else:
                gathered = evidence = self._evidence(frame)
                self._pass(split, gathered, start, state)
                commit = self.keeper.evidence([evidence.pop((site.layer, site.name)) for site in self.sites], split, counts[split][0])
            arrays, gathered = {}, {}
            self.commits.append((split, commit))
        self._settle()

    def _settle(self, wait: bool = True) -> None:
        """Note which splits are in the catalogue, rows and all: these alone are not gathered anew after a kill."""
        while self.commits and (wait or self.commits[0][1].done()):
            split, commit = self.commits.pop(0)
            commit.result()
            following, last = SPLITS.index(split) + 1, self.last
            if following < len(SPLITS):
                self._save(SPLITS[following], 0, 0, {})
                self.last = last  # the pass that is under way is not saved by that

    def _resume(self, left: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Where to go on, and what was gathered; a checkpoint of another extraction is dropped with its rows, if any are left."""
        found = checkpoint.load(self.path)
        lost = found is not None and found[0].get("split") == "explain" and not all(self.spool(site).exists() for site in self.sites)
        if found is None or found[0].get("key") != self.key or lost:
            self.forget()
            if left:
                self.keeper.clear()
            return {"split": "explain", "chunk": 0, "batch": 0}, {}
        where, arrays = found
        for site in self.sites:
            keys = {side: f"means/{site.layer}/{site.name}/{side}" for side in site.sides}
            if all(key in arrays for key in keys.values()):
                self.means[site.layer, site.name] = {side: arrays[key] for side, key in keys.items()}
        return where, arrays

    def _save(self, split: Split, chunk: int, batch: int, state: dict[str, np.ndarray]) -> None:
        means = {f"means/{layer}/{name}/{side}": mean for (layer, name), sides in self.means.items() for side, mean in sides.items()}
        checkpoint.save(self.path, {"key": self.key, "split": split, "chunk": chunk, "batch": batch}, {**means, **state})
        self.last = time.monotonic()

    def _explain(self, frame: Frame, *, fresh: bool) -> dict[Place, ExplainSite]:
        from autolabel.sampling.observe import ExplainSite
        from autolabel.sampling.scout import Scout
        from autolabel.sampling.shared import Places, Spool
        from autolabel.sampling.typesums import TypeTable

        head = self._head("explain")
        scout = Scout.of(chain([head], self.catalogue.excerpts(self.corpus_id, "explain", after=int(head.id.max()))), self.special)
        if not scout.n_tokens:
            raise CorpusError("the explain split holds nothing but special tokens: give other documents")
        places = Places.of(scout.shared_id.tolist(), scout.shared_tokens.tolist())
        units = sum(site.width * len(site.sides) for site in self.sites)
        table = TypeTable.choose(scout.types, scout.count, len(getattr(self.subject, "vocabulary", ())), units * 4, self.table_bytes)
        self.table = table

        def begin(site: Site) -> ExplainSite:
            return ExplainSite(site, frame, table, Spool(self.spool(site), places, site.width, fresh=fresh))

        return {(site.layer, site.name): one for site, one in zip(self.sites, each(begin, self.sites), strict=True)}  # a gigabyte of tables is zeroed

    def _evidence(self, frame: Frame) -> dict[Place, EvidenceSite]:
        from autolabel.sampling.observe import EvidenceSite

        return {(site.layer, site.name): EvidenceSite(site, frame, self.means[site.layer, site.name], self.seed) for site in self.sites}

    def _first(self, explain: dict[Place, ExplainSite], head: Excerpts) -> int:
        """Fix the strata by the largest a among the first 256 excerpts; how many of their batches are counted already, as there was room to keep x."""
        from autolabel.sampling.observe import HeadSite
        from autolabel.sampling.replay import Replay

        first = _parts(head)[0]
        batches = list(first.batches(self.batch_size))
        works = [self._work(first, batch, "explain") for batch in batches]
        seen = {place: HeadSite(one.site, one.frame.device) for place, one in explain.items()}
        replay = Replay({one.site: one.spare for one in explain.values()}, [batch.tokens.shape for batch in batches])
        def count(one: ExplainSite, tops: HeadSite) -> None:
            one.begin(tops.tops)
            replay.show(one.site, lambda number, x, span: one.visit(x, span, works[number]))

        with Passes(self.subject, self.sites) as passes:
            for number, batch in enumerate(batches):
                def visit(site: Site, x: torch.Tensor, span: slice, number: int = number) -> None:
                    seen[site.layer, site.name].visit(x, span, works[number])
                    replay.keep(number, site, x, span)
                passes.add(partial(self.subject.run, batch.tokens, self.sites), visit)
            for later in SPLITS[1:]:  # while the last of these are under way
                self._head(later)
            passes.wait()
            for place, one in explain.items():
                passes.aside(partial(count, one, seen[place]))
        return replay.n

    def _work(self, chunk: Excerpts, batch: Batch, split: Split = "select") -> Work:
        from autolabel.sampling.work import Work
        from autolabel.stats.uniform import uniform

        ids = chunk.id[batch.rows]
        if split == "explain":
            return Work(ids, batch.tokens, self.special, None, self.table)
        return Work(ids, batch.tokens, self.special, uniform(self.seed, ids))

    def _pass(self, split: Split, gathered: dict[Place, ExplainSite] | dict[Place, EvidenceSite], start: tuple[int, int],
              state: dict[str, np.ndarray]) -> None:
        """Every batch from `start` on, in an order that depends on the corpus and the batch size alone."""
        for (layer, name), one in gathered.items():
            if state:
                prefix = f"{layer}/{name}/"
                one.load({key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)})
        state.clear()
        with Passes(self.subject, self.sites) as passes:
            for c, chunk in enumerate(self._chunks(split)):
                for b, batch in enumerate(chunk.batches(self.batch_size)):
                    self.done += batch.tokens.size
                    if (c, b) < start:
                        continue
                    work = self._work(chunk, batch, split)
                    def visit(site: Site, x: torch.Tensor, span: slice, work: Work = work) -> None:
                        gathered[site.layer, site.name].visit(x, span, work)
                    passes.add(partial(self.subject.run, batch.tokens, self.sites), visit)
                    self._settle(wait=False)
                    if time.monotonic() - self.last >= self.every:
                        passes.wait()
                        self._settle()
                        self._save(split, c, b + 1, {f"{layer}/{name}/{key}": value for (layer, name), one in gathered.items()
                                                     for key, value in one.state().items()})
                    self.progress(self.done, self.total)

    def _chunks(self, split: Split) -> Iterator[Excerpts]:
        """Excerpts in hash order, on explain the first 256 by themselves."""
        first = self._head(split)
        yield from (part for part in (_parts(first) if split == "explain" else (first,)) if len(part))
        yield from self.ahead.pop(split)[1]

    def _head(self, split: Split) -> Excerpts:
        """The first chunk of a split. Asked for before the keeper has the file: a pass begins while it commits."""
        if split not in self.ahead:
            chunks = self.catalogue.excerpts(self.corpus_id, split)
            self.ahead[split] = next(chunks), chunks
        return self.ahead[split][0]


def _parts(chunk: Excerpts) -> tuple[Excerpts, Excerpts]:
    """The 256 smallest ids of a chunk, and the others."""
    from autolabel.sampling.scout import take
    from autolabel.sampling.strata import HEAD

    order = np.argsort(chunk.id)
    return take(chunk, order[:HEAD]), take(chunk, order[HEAD:])


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")
