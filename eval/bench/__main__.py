"""Every number to hold, as ratios in one run: `python -m eval.bench [--quick]` -> eval/reports/bench.md.

--quick takes shorter corpora, for a look; the committed report is a full run on a quiet machine.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from eval.bench import extraction, llm, reader, scoring, search, simulate, tokens

REPORT = Path(__file__).resolve().parent.parent / "reports" / "bench.md"
Line = tuple[str, str, str, str]  # what, measured, bar, note


def main(arguments: list[str]) -> None:
    """Measure, print, write the report."""
    quick = "--quick" in arguments
    lines: list[Line] = []
    for measure in (steady, scores, simulation, prices_of_scores, calls, readers, searches, end_to_end, memory, demo, start):
        for line in measure(quick):
            print(f"{line[0]:78s} {line[1]:>10s}  bar {line[2]:8s} {line[3]}", flush=True)
            lines.append(line)
    if quick:
        return
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(report(lines) + _kept(), "utf-8")
    print(f"written: {REPORT.relative_to(REPORT.parent.parent.parent)}")


def steady(quick: bool) -> Iterator[Line]:
    """Extraction per batch over the bare forward pass of the same batches."""
    warm, rounds = (24, 3) if quick else (64, 8)
    model, windows = extraction.python_windows("demo", 32 * (warm + extraction.ROUND * rounds))
    for row in extraction.steady(model, windows, warm=warm, rounds=rounds, quiet=0.9):
        yield row.name, f"{row.ratio:.3f}", f"<= {row.bar:.2f}", row.note


def scores(quick: bool) -> Iterator[Line]:
    """Exact scoring over the bare forward pass of the test split."""
    for size, rounds in [(16_000, 2)] if quick else [(40_000, 5), (150_000, 3), (300_000, 2)]:  # the test splits of 500,000 and 1,000,000
        for row in scoring.bench(tokens=size, rounds=rounds):
            yield row.name, f"{row.ratio:.3f}", f"<= {row.bar:.2f}", row.note


def simulation(quick: bool) -> Iterator[Line]:
    """All tokens of an excerpt at once against one at a time."""
    for name, ratio, bar, note in simulate.bench(rounds=2 if quick else 7):
        yield name, f"{ratio:.1f}", f">= {bar:.0f}" if bar else "none", note


def calls(quick: bool) -> Iterator[Line]:
    """What the LLM path costs beside the LLM."""
    for row in llm.bench(calls=1000 if quick else 4000):
        yield row.name, f"{row.value:.2f} {row.unit}", row.bar, row.note


def readers(quick: bool) -> Iterator[Line]:
    """How long a reader waits during a run."""
    for row in reader.bench(calls=1000 if quick else 4000):
        yield row.name, f"{row.value:.0f} {row.unit}", row.bar, row.note


def searches(quick: bool) -> Iterator[Line]:
    """A catalogue of a million labelled units."""
    for row in search.bench(*((100_000, 5) if quick else ())):
        yield row.name, f"{row.value:.0f} ms", row.bar if row.bar == "none" else f"{row.bar} ms", row.note


def prices_of_scores(quick: bool) -> Iterator[Line]:
    """What a label costs in tokens to score."""
    for name, measured, note in tokens.bench():
        yield name, measured, "none", note


def end_to_end(quick: bool) -> Iterator[Line]:
    """From text to committed catalogue."""
    row = extraction.end_to_end(["python"], tokens=60_000 if quick else 500_000)
    yield row.name, f"{row.ratio:.3f}", f"<= {row.bar:.2f}", row.note


def memory(quick: bool) -> Iterator[Line]:
    """Peak memory of ten times the corpus over that of the corpus."""
    row = extraction.memory(["python"], tokens=10_000 if quick else 50_000)
    yield row.name, f"{row.ratio:.3f}", f"<= {row.bar:.2f}", row.note


def demo(quick: bool) -> Iterator[Line]:
    """The demo, and a second run of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "autolabel", "demo", "--out", folder, *(["--quick"] if quick else [])]
        for name, bar in (("autolabel demo" + (" --quick" if quick else ""), "< 60 s" if quick else "< 180 s"), ("the same again", "seconds")):
            began = time.perf_counter()
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, _, usage = os.wait4(child.pid, 0)
            yield name, f"{time.perf_counter() - began:.0f} s", bar, f"peak {usage.ru_maxrss / 1e6:.2f} GB (bar 3 GB)"


def start(quick: bool) -> Iterator[Line]:
    """How long a person waits for nothing."""
    for name, code, bar in (("import autolabel", ["-c", "import autolabel"], "< 0.1 s"), ("autolabel --help", ["-m", "autolabel", "--help"], "< 0.3 s")):
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, *code], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - began)
        yield name, f"{sorted(times)[2]:.2f} s", bar, "median of 5, the interpreter's own start included"


def report(lines: list[Line]) -> str:
    """The report as Markdown: command, machine, date, numbers."""
    import torch

    model = next((line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    head = ["# Numbers to hold", "", f"Command: `make bench`. {datetime.date.today():%Y-%m-%d}. Machine: {model}, {os.cpu_count()} cores, "
            f"{platform.system()}; Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads. "
            "Ratios are medians over interleaved rounds of one run; rounds disturbed by other processes are left out.", "",
            "| what | measured | bar | note |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def _kept() -> str:
    """The sections after the table, which other commands make."""
    before = REPORT.read_text("utf-8") if REPORT.exists() else ""
    return before[before.index("\n## "):] if "\n## " in before else ""


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main(sys.argv[1:])
