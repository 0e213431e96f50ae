"""Extraction against the bare forward pass: steady state, everything, end to end, and memory.

Ratios are taken in one process: bare and measured passes of the same batch stand side by side, their order turns from batch to batch, and
the median of the ratios counts. Rounds in which another process used the cores (CPU time far below wall time) are dropped.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.passes import Passes

if TYPE_CHECKING:
    import torch

    from autolabel.protocols import Subject, Visit
    from autolabel.types import Site

Ints = NDArray[np.int64]
ROUND = 8  # batches


@dataclass(frozen=True)
class Row:
    """One number to hold."""

    name: str
    ratio: float  # nan where every round was disturbed
    bar: float
    note: str = ""  # how many rounds counted, what was measured


def steady(subject: Subject, windows: Ints, *, batch_size: int = 32, warm: int = 64, rounds: int = 8, quiet: float = 0.9) -> list[Row]:
    """Time over the bare pass in rounds of eight batches, after `warm` batches. windows [n, T] content ids, n >= batch_size * (warm + 8 rounds).

    The bare pass is run in both ways, batch after batch on all threads and batches side by side on one thread each, and the faster counts.
    quiet: the share of wall time x threads that CPU time must reach for a round to count; 0 counts all and takes CPU time instead.
    """
    need = batch_size * (warm + ROUND * rounds)
    if len(windows) < need:
        raise ValueError(f"{need} windows are needed, {len(windows)} were given")
    order = np.random.default_rng(0).permutation(need)
    batches = [windows[order[i:i + batch_size]] for i in range(0, need, batch_size)]
    ids = np.arange(need, dtype=np.int64).reshape(-1, batch_size)
    last, nothing = subject.sites[-1:], lambda site, x, span: None
    rows = []
    for name, bar, visit_of in compared(subject, windows, batch_size):
        def measured(some: range, visit_of: Callable[[Ints, Ints], Visit] = visit_of) -> None:
            with Passes(subject, subject.sites) as passes:
                for i in some:
                    passes.add(partial(subject.run, batches[i], subject.sites), visit_of(ids[i], batches[i]))

        def bare(some: range) -> None:
            for i in some:
                subject.run(batches[i], last, nothing)

        def apart(some: range) -> None:
            with Passes(subject, last) as passes:
                for i in some:
                    passes.add(partial(subject.run, batches[i], last), nothing)

        measured(range(warm))
        ratios, bares = [], []
        for r in range(rounds):
            took, work = {}, [bare, apart, measured]
            some = range(warm + r * ROUND, warm + (r + 1) * ROUND)
            for which in work[r % 3:] + work[:r % 3]:
                took[which] = _clock(which, some)
            if quiet and min(cpu / wall for which, (wall, cpu) in took.items() if which is not bare) < quiet * _threads():
                continue
            which = 0 if quiet else 1
            bares.append(min(took[bare][which], took[apart][which]))
            ratios.append(took[measured][which] / bares[-1])
        note = f"{len(ratios)} of {rounds} rounds of {ROUND} batches of {batch_size} x {windows.shape[1]}, {'wall' if quiet else 'CPU'} time"
        note += f"; bare {statistics.median(bares) / ROUND * 1000:.1f} ms a batch" if bares else ""
        rows.append(Row(name, statistics.median(ratios) if ratios else float("nan"), bar, note))
    return rows


def compared(subject: Subject, windows: Ints, batch_size: int) -> list[tuple[str, float, Callable[[Ints, Ints], Visit]]]:
    """What is compared with the bare pass: (name, bar, the visit of a batch of ids and tokens)."""
    import torch

    from autolabel.sampling import kernels
    from autolabel.sampling.moments import Moments
    from autolabel.sampling.observe import EvidenceSite, ExplainSite, Frame, Records
    from autolabel.sampling.shared import Places, Spool
    from autolabel.sampling.typesums import TypeTable
    from autolabel.sampling.work import Content, Work
    from autolabel.stats.uniform import uniform

    device = getattr(subject, "device", torch.device("cpu"))
    special = np.array(sorted(getattr(subject, "special_ids", ())), np.int64)
    frame = Frame(windows.shape[1], device, frozenset())
    units = sum(site.width * len(site.sides) for site in subject.sites)
    found, counts = np.unique(windows[~np.isin(windows, special)], return_counts=True)
    table = TypeTable.choose(found, counts, len(found), units * 4)

    class Lean:
        """Top-20 with activations, exact n, mean, std, min, max, firing count."""

        def __init__(self, site: Site) -> None:
            self.records = {side: Records(site, side, frame) for side in site.sides}
            self.moments = Moments(site.width, device)
            self.low, self.high = torch.full((site.width,), torch.inf, device=device), torch.full((site.width,), -torch.inf, device=device)
            self.fired = torch.zeros(site.width, dtype=torch.float64, device=device)
            self.rest = Moments(site.width, device), np.zeros((2, windows.shape[1], site.width))  # a kernel counts these, too

        def visit(self, x: torch.Tensor, span: slice, work: Work) -> None:
            content = Content(x, span, work)
            if content.on_cpu:
                high, low = self.look(content)
            else:
                self.moments.add(content.x)
                self.fired += torch.linalg.vector_norm(content.a(1), 0, dim=(0, 1))
                low, high = content.x.aminmax(dim=1)
            torch.maximum(self.high, high.amax(0), out=self.high)
            torch.minimum(self.low, low.amin(0), out=self.low)
            for side, records in self.records.items():
                records.add(content, high if side == "+" else low.neg_())

        def look(self, content: Content) -> tuple[torch.Tensor, torch.Tensor]:
            high, low = content.per_window(-torch.inf), content.per_window(torch.inf)
            tokens, (a, by_position) = content.read(), self.rest
            kernels.look(content.flat, tokens.at, tokens.window, self.moments.about(content, 0), self.moments.sum.numpy(), self.moments.square.numpy(),
                         high.numpy(), low.numpy(), 1, a.about(content, 1), a.sum.numpy(), a.square.numpy(), self.fired.numpy(), content.work.slot,
                         *by_position)
            self.moments.n += len(tokens.at)
            return high, low

    lean = {site: Lean(site) for site in subject.sites}
    folder = Path(tempfile.mkdtemp(prefix="autolabel-bench-"))
    spools = {site: Spool(folder / f"{i}.spool", Places({}, 0), site.width, fresh=True) for i, site in enumerate(subject.sites)}
    explain = {site: ExplainSite(site, frame, table, spools[site]) for site in subject.sites}
    for site, one in explain.items():
        one.begin({side: torch.ones(site.width) for side in site.sides})
    evidence = {site: EvidenceSite(site, frame, {side: np.zeros(site.width) for side in site.sides}, 0) for site in subject.sites}

    def visits(gathered: dict[Site, Lean] | dict[Site, ExplainSite] | dict[Site, EvidenceSite]) -> Callable[[Ints, Ints], Visit]:
        def of_batch(ids: Ints, tokens: Ints) -> Visit:
            hashed = (uniform(7, ids) * 2.0**62).astype(np.int64)
            work = Work(hashed, tokens, special, uniform(0, hashed), table)
            return lambda site, x, span: gathered[site].visit(x, span, work)
        return of_batch

    explain_of, evidence_of, turn = visits(explain), visits(evidence), [0]

    def both(ids: Ints, tokens: Ints) -> Visit:
        turn[0] += 1
        return (explain_of if turn[0] % 2 else evidence_of)(ids, tokens)
    return [("extraction, top-20 and statistics / bare pass", 1.10, visits(lean)),
            ("extraction, everything on explain / bare pass", 1.20, explain_of),
            ("extraction, everything on select and test / bare pass", 1.20, evidence_of),
            ("extraction, everything, half of it explain / bare pass", 1.20, both)]


def end_to_end(specs: Sequence[str], *, tokens: int = 500_000, subject: str = "demo", batch_size: int = 32,
               folder: str | None = None) -> Row:
    """From text to a committed catalogue, over the bare pass of the same excerpts; start-up is not counted: loading the model, imports and compiled
    loops, for which a small corpus goes the same way before.

    The text is read from a JSONL file, into which the corpus was put before: parsing what it comes from (the sources of an
    interpreter, for `python`) is not part of it.
    """
    from autolabel.catalogue import Catalogue
    from autolabel.extraction import extract
    from autolabel.ingest import ingest
    from autolabel.subjects import load_subject
    from autolabel.types import SPLITS

    model = load_subject(subject)
    with tempfile.TemporaryDirectory(dir=folder) as where:
        catalogue, text = Catalogue.open(Path(where) / "bench.duckdb", create=True), Path(where) / "text.jsonl"
        _as_text(specs, text, tokens * 8)
        small = Catalogue.open(Path(where) / "small.duckdb", create=True)
        some = ingest(small, [str(text)], model.tokenizer, model.tokenizer_hash, 64, max_tokens=20_000, run="bench")
        extract(small, model, some, run="bench", batch_size=batch_size)
        began, cpu = time.perf_counter(), time.process_time()
        corpus_id = ingest(catalogue, [str(text)], model.tokenizer, model.tokenizer_hash, 64, max_tokens=tokens, run="bench")
        reading, cpu_reading = time.perf_counter() - began, time.process_time() - cpu
        bare = {"wall": 0.0, "cpu": 0.0, "tokens": 0.0}

        def pass_over(part: int) -> None:
            """Every other batch: half of them before the extraction and half after it, so that a machine that slows down slows both."""
            number, batches = 0, []
            for split in SPLITS:
                for chunk in catalogue.excerpts(corpus_id, split):
                    for batch in chunk.batches(batch_size):
                        number += 1
                        if number % 2 == part:
                            batches.append(batch.tokens)
            start, cpu_start = time.perf_counter(), time.process_time()
            with Passes(model, model.sites[-1:]) as passes:
                for tokens in batches:
                    passes.add(partial(model.run, tokens, model.sites[-1:]), lambda site, x, span: None)
            bare["wall"] += time.perf_counter() - start
            bare["cpu"] += time.process_time() - cpu_start
            bare["tokens"] += sum(tokens.size for tokens in batches)

        pass_over(0)
        began, cpu = time.perf_counter(), time.process_time()
        extract(catalogue, model, corpus_id, run="bench", batch_size=batch_size)
        whole, cpu_whole = time.perf_counter() - began + reading, time.process_time() - cpu + cpu_reading
        pass_over(1)
    return Row("extraction, end to end / bare pass", whole / bare["wall"], 1.25,
               f"{bare['tokens']:,.0f} tokens, {whole:.0f} s, of which reading text {reading:.0f} s; by CPU time {cpu_whole / bare['cpu']:.3f}; "
               f"{cpu_whole / whole:.2f} cores were ours")


def _as_text(specs: Sequence[str], path: Path, characters: int) -> None:
    """The first documents of a corpus as a JSONL file of about so many characters."""
    from autolabel.corpus.report import Report
    from autolabel.corpus.sources import open_sources

    report = Report()
    with path.open("w", encoding="utf-8") as file:
        for document in open_sources(list(specs), text_column="text", split_on=None, report=report).documents(report, None):
            characters -= file.write(json.dumps({"text": document.text}) + "\n")
            if characters < 0:
                return


def memory(specs: Sequence[str], *, tokens: int = 50_000, times: int = 10, subject: str = "demo") -> Row:
    """Peak memory of a process that extracts `times` as many tokens (distinct documents), over that of one that extracts `tokens`."""
    peaks = []
    for n in (tokens, tokens * times):
        with tempfile.TemporaryDirectory() as where:
            command = [sys.executable, "-m", "eval.bench.extraction", "peak", json.dumps([list(specs), n, subject, where])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks.append(float(done.stdout.strip().splitlines()[-1]))
    return Row(f"peak memory of extraction, {times}x tokens / 1x", peaks[1] / peaks[0], 1.05,
               f"{tokens:,} tokens: {peaks[0]:.0f} MB, {tokens * times:,}: {peaks[1]:.0f} MB")


def _peak(specs: list[str], tokens: int, subject: str, where: str) -> None:
    """Extract, and print the largest resident size of this process in MB."""
    import resource

    from autolabel.catalogue import Catalogue
    from autolabel.extraction import extract
    from autolabel.ingest import ingest
    from autolabel.subjects import load_subject

    model = load_subject(subject)
    catalogue = Catalogue.open(Path(where) / "bench.duckdb", create=True)
    corpus_id = ingest(catalogue, specs, model.tokenizer, model.tokenizer_hash, 64, max_tokens=tokens, run="bench")
    extract(catalogue, model, corpus_id, run="bench")
    scale = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6)


def _clock(work: Callable[[range], None], some: range) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(some)
    _wait()
    return time.perf_counter() - wall, time.process_time() - cpu


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def python_windows(subject: str, n: int, context: int = 64) -> tuple[Subject, Ints]:
    """A subject and n full windows of the interpreter's own documentation."""
    from autolabel.catalogue import Catalogue
    from autolabel.ingest import ingest
    from autolabel.subjects import load_subject
    from autolabel.types import SPLITS

    model = load_subject(subject)
    with tempfile.TemporaryDirectory() as where:
        catalogue = Catalogue.open(Path(where) / "bench.duckdb", create=True)
        # docstrings are short: about half of the windows are full
        corpus_id = ingest(catalogue, ["python"], model.tokenizer, model.tokenizer_hash, context, max_tokens=n * context * 3, run="bench")
        full = [batch.tokens for split in SPLITS for chunk in catalogue.excerpts(corpus_id, split) for batch in chunk.batches(256)
                if batch.tokens.shape[1] == context]
    return model, np.concatenate(full)[:n]


def main(arguments: Sequence[str]) -> None:
    """`steady [warm rounds quiet threads]`, `whole [tokens] [corpus]`, `memory [tokens]`: print a table."""
    import torch

    what = arguments[0] if arguments else "steady"
    if what == "peak":
        specs, tokens, subject, where = json.loads(arguments[1])
        _peak(specs, tokens, subject, where)
        return
    if what == "steady":
        defaults = ["64", "8", "0.9", str(torch.get_num_threads())]
        warm, rounds, quiet, threads = (float(a) for a in [*arguments[1:5], *defaults[len(arguments) - 1:]][:4])
        torch.set_num_threads(int(threads))
        model, windows = python_windows("demo", 32 * int(warm + ROUND * rounds))
        rows = steady(model, windows, warm=int(warm), rounds=int(rounds), quiet=quiet)
    elif what == "whole":
        rows = [end_to_end(list(arguments[2:]) or ["python"], tokens=int(arguments[1]) if len(arguments) > 1 else 500_000)]
    else:
        rows = [memory(["python"], tokens=int(arguments[1]) if len(arguments) > 1 else 50_000)]
    for row in rows:
        print(f"{row.name:60s} {row.ratio:6.3f}  <= {row.bar:.2f}  {row.note}")


if __name__ == "__main__":
    main(sys.argv[1:])
