"""The whole pipeline on the embedded default: what `autolabel demo` does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from autolabel.assets import data_path
from autolabel.errors import SetupError
from autolabel.pipeline.extracting import extract
from autolabel.pipeline.importing import import_replies
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.runfile import label
from autolabel.summary import Summary, summarise

EXPLAINERS = ("induce", "tokens")
TOKENS = 45_000  # of the demo corpus, whose order is drawn: as many as three minutes on two cores allow; `extract` reads all of it
QUICK_LAYERS = ("0", "1")  # the first ones: the forward pass ends there
QUERIES = (
    "SELECT unit, label, score, ci_low FROM labels WHERE verdict = 'confirmed' ORDER BY score DESC LIMIT 10",
    "SELECT verdict, count(*) AS units, avg(score) AS mean_rho FROM labels GROUP BY verdict ORDER BY units DESC",
    "SELECT unit, label, rho_context FROM labels WHERE contextual ORDER BY rho_context DESC LIMIT 10",
    "SELECT unit, label, rho_new FROM labels WHERE carries_over ORDER BY rho_new DESC LIMIT 10",
    "SELECT l.unit, l.label, e.before || '[' || e.token || ']' || e.after AS text FROM labels l JOIN exemplars e USING (model, layer, site, neuron, side) "
    "WHERE e.split = 'test' AND e.band = 'top' AND e.rank = 1 ORDER BY l.peak DESC NULLS LAST LIMIT 10",
)
PROBE = "The patient was given 20 mg of the drug on Monday."


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made."""

    db: str
    summary: Summary
    queries: tuple[str, ...]
    example: str  # a unit worth a look
    probe: str  # a text worth probing
    seconds: float
    megabytes: float


def run(out: str | Path = "autolabel-demo", *, quick: bool = False, hierarchy: str = "", seed: int = 0, threads: int = 0,
        progress: Progress = silent) -> DemoResult:
    """Extract, explain, score and choose for MiniLM on the demo corpus, and for its random-weights control.

    quick: two layers instead of six. hierarchy: a file of concepts of your own. A second run finds everything done.
    Raises SetupError where the extra `demo` is missing.
    """
    began, folder = time.monotonic(), Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make the folder {folder}: {error.strerror}") from error
    db = folder / ("quick.duckdb" if quick else "autolabel.duckdb")
    layers = QUICK_LAYERS if quick else None
    for control in (None, "shuffled"):
        catalogue = extract("demo", corpus="demo", max_tokens=TOKENS, db=db, layers=layers, control=control, seed=seed, threads=threads, progress=progress)
        model = "minilm" if control is None else f"minilm~{control}"
        if control is None:
            import_replies(catalogue, data_path("labels", "minilm.jsonl"), model=model)
        label(catalogue, explainers=EXPLAINERS, model=model, hierarchy=hierarchy, seed=seed, threads=threads, progress=progress)
    summary = summarise(catalogue)
    example = catalogue.read("SELECT unit FROM labels WHERE verdict = 'confirmed' AND contextual ORDER BY score DESC, unit LIMIT 1")
    return DemoResult(str(db), summary, QUERIES, example[0][0] if example else "minilm/1-mlp/0", PROBE, time.monotonic() - began,
                      db.stat().st_size / 1e6)
