"""A label of your own, scored like any other: explainer `human`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autolabel.audited import failed, veil
from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.baselines import read_baselines
from autolabel.pipeline.labels import HUMAN, runner
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.reader import Reader, check
from autolabel.pipeline.reported import columns_of, read_on_test
from autolabel.pipeline.scoring import score_columns, store_scores
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, model_row, recorded, subject_of
from autolabel.protocols import LLM
from autolabel.types import Explanation, Maker, Unit

if TYPE_CHECKING:
    from autolabel.hierarchy import Hierarchy

FIGURES = ("score", "ci_low", "ci_high", "peak", "peak_low", "peak_high", "p_foreign", "p_size", "p", "rank", "baseline", "peak_baseline",
           "informative", "ceiling", "rho_context", "rho_context_low", "rho_context_high", "contextual", "rho_new", "rho_new_low",
           "rho_new_high", "carries_over", "mass_recall", "n")
NO_SIMULATOR = "nothing reads the sentence: give a --pattern, or a --simulator (and --llm for those that ask one)"


def score_label(catalogue: Catalogue, unit: str, text: str, pattern: str | None = None, *, model: str = "", hierarchy: str = "",
                simulator: str = "", llm: LLM | None = None, settings: Mapping[str, str] | None = None, prompts: str = "", concurrency: int = 8,
                seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0,
                progress: Progress = silent) -> dict[str, Any]:
    """Score one label of a person's on select and on test, with null and baseline; it is kept among the candidates.

    `pattern` is JSON (see patterns). Without one the sentence is read by `simulator` on a sample (empty: the one that fits `llm`;
    with neither, the label is unscored, with the reason). settings: of the scorer simulation. hierarchy: a file of concepts of
    your own, for `concept` in the pattern. Raises PatternError, UnitError.
    """
    from autolabel.patterns.syntax import dump, parse

    name = Unit.parse(unit).model or model
    row = model_row(catalogue, name)
    address = select_units(catalogue, row.name, [unit])[0]
    if not text.strip():
        raise SettingsError("the label is empty: write a sentence")
    reader = Reader("simulation", simulator, llm, settings or {}, prompts, concurrency) if simulator or llm is not None else None
    if reader is not None:
        check(reader)
    explanation = Explanation(address, text.strip(), dump(parse(pattern)) if pattern else None, Maker(HUMAN))
    known = concepts(hierarchy)
    with recorded(catalogue, "score --label", {"unit": str(address), "label": text, "pattern": explanation.pattern, "hierarchy": known.hash}, model=row.name,
                  model_hash=row.hash, corpus=row.corpus_id, seed=seed) as run:
        with catalogue.writer() as writer:
            writer.insert("explanations", {
                "id": [explanation.id], "model": [row.name], "layer": [address.layer], "site": [address.site], "neuron": [address.index],
                "side": [address.side], "text": [explanation.text], "pattern": [explanation.pattern], "explainer": [HUMAN], "settings": ["{}"],
                "llm": [None], "prompt": [None], "abstained": [None], "cost_usd": [0.0], "run": [run]}, ignore_existing=True)
        compute = {"device": device, "dtype": dtype, "threads": threads}
        if explanation.pattern is None:
            found = _read(catalogue, explanation, row, run, progress, compute, batch_size, known, reader)
        else:
            found = _scored(catalogue, explanation, row.name, run, progress, compute, batch_size, known)
        return {"unit": str(address), "label": explanation.text, **found}


def _read(catalogue: Catalogue, explanation: Explanation, row: ModelRow, run: str, progress: Progress, compute: dict[str, Any], batch_size: int,
          known: Hierarchy, reader: Reader | None) -> dict[str, Any]:
    """A sentence, read by a simulator."""
    from autolabel.splits import select_evidence, test_evidence

    if reader is None:
        return {"score": None, "verdict": "unscored", "reason": NO_SIMULATOR}
    subject = subject_of(catalogue, row, **compute)
    progress("scoring your label", 0, 2)
    selected = reader.build(catalogue, row, subject, known, {}).score([explanation], select_evidence(catalogue, subject, batch_size=batch_size))
    store_scores(catalogue, row, selected, run)
    progress("scoring your label", 1, 2)
    scorer = reader.build(catalogue, row, subject, known, {explanation.id: selected[0]})
    read, pending = read_on_test(scorer, [explanation], test_evidence(catalogue, subject, batch_size=batch_size))
    if pending:
        return {"score": None, "verdict": "unscored", "reason": "the answers come with the next batch file"}
    tested = read[explanation.id]
    store_scores(catalogue, row, [tested], run)
    columns, more = columns_of(tested)
    figures = {name: columns.get(name) for name in FIGURES if name in columns} | {"verdict": tested.extra["verdict"]}
    reason = more.get("unscored") or more.get("imprecise")
    return figures | ({"reason": reason} if reason else {})


def _scored(catalogue: Catalogue, explanation: Explanation, model: str, run: str, progress: Progress, compute: dict[str, Any],
            batch_size: int, known: Hierarchy) -> dict[str, Any]:
    from autolabel.pipeline.judging import test_scores
    from autolabel.scorers.correlation import score_select
    from autolabel.scorers.report import score_test
    from autolabel.splits import explain_split, select_evidence, test_evidence

    row = model_row(catalogue, model)
    subject = subject_of(catalogue, row, **compute)
    progress("scoring your label", 0, 2)
    run_patterns = runner(subject, known)
    selected = score_select([explanation], select_evidence(catalogue, subject, batch_size=batch_size), run=run_patterns)
    progress("scoring your label", 1, 2)
    result = score_test([explanation], [], test_evidence(catalogue, subject, batch_size=batch_size),
                        explain_split(catalogue, subject, batch_size=batch_size), run=run_patterns, baselines=read_baselines(catalogue, model),
                        selected={explanation.id: selected[0]})
    scores = [*selected, *test_scores(result, ("p_foreign", "p_size", "baseline", "rank"))]
    with catalogue.writer() as writer:
        writer.delete("scores", "explanation = ?", [explanation.id])
        writer.insert("scores", score_columns(row, scores, run))
    figures = next(iter(result.rows()))
    out = {key: figures[key] for key in FIGURES} | {"verdict": scores[-1].extra["verdict"]}
    reason = figures["unscored"] or figures["imprecise"]
    return veil(out, failed(catalogue, model)) | ({"reason": reason} if reason else {})

