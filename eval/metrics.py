"""The pass and fail table of arXiv 2506.05774, from scratch: `python -m eval.metrics` -> eval/reports/metrics.md."""

from __future__ import annotations

import sys
from pathlib import Path

from autolabel.evaluate import evaluate, rows

REPORT = Path(__file__).resolve().parent / "reports" / "metrics.md"

if __name__ == "__main__":
    quick = "--quick" in sys.argv
    for row in rows(evaluate("metrics", quick=quick, out=None if quick else REPORT)):
        print("  ".join(row))
