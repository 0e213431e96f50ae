"""`label`: explain, score and choose in one; `run`: all of it from one TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.choosing import choose
from autolabel.pipeline.explaining import Count, explain_all
from autolabel.pipeline.extracting import extract
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.revising import revise
from autolabel.pipeline.scoring import score
from autolabel.protocols import LLM, Explainer
from autolabel.registry import build, setting_names
from autolabel.settings import read_toml

EXPLAINERS = ("induce", "ngram", "tokens")
ASKED = "structured"  # beside them where there is an LLM
SECTIONS: Mapping[str, frozenset[str]] = {
    "extract": frozenset({"subject", "corpus", "db", "layers", "context", "max_tokens", "text_column", "split_on", "site", "revision"}),
    "label": frozenset({"explainers", "units", "limit", "hierarchy"}),
    "control": frozenset({"kind"}),
    "compute": frozenset({"seed", "device", "dtype", "batch_size", "threads"}),
}


def label(catalogue: Catalogue, *, explainers: Sequence[str] | None = None, settings: Mapping[str, str] | None = None, simulator: str = "",
          scorer_settings: Mapping[str, str] | None = None, rounds: int = 0, llm: LLM | None = None, prompts: str = "", concurrency: int = 8,
          units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "", hierarchy: str = "", redo: bool = False,
          progress: Progress = silent, **compute: Any) -> Count:
    """Explain with each explainer, score the candidates on select, choose and score on test.

    llm: whom explainers and simulators ask; with one, `structured` stands before the explainers that need none. settings: of the
    explainers that have them. simulator: reads sentences without a pattern (empty: the one that fits the LLM), scorer_settings: of
    the scorer that lets it. rounds: of revision: the worst mistakes of a label on select go back to the LLM. hierarchy: a
    file of concepts of your own; compute: seed, device, dtype, ... Where calls go through files, `pending` says how many
    units wait for answers; nothing is chosen before all are there.
    """
    parts = {"hierarchy": concepts(hierarchy), "llm": llm, "prompts": prompts or None}
    names = list(explainers or (EXPLAINERS if llm is None else (ASKED, *EXPLAINERS)))
    built = build_each(names, settings or {}, parts)
    counts = explain_all(catalogue, built, units=units, limit=limit, model=model, concurrency=concurrency, redo=redo, progress=progress, **compute)
    how: dict[str, Any] = {"units": units, "limit": limit, "model": model, "hierarchy": hierarchy, "redo": redo, "progress": progress, **compute}
    pending = sum(c.pending for c in counts.values())
    if rounds and llm is not None:
        for name, plugin in built.items():
            if hasattr(plugin, "llm"):
                mine = {k: v for k, v in (settings or {}).items() if k in setting_names("explainers", name)}
                pending += revise(catalogue, name, llm=llm, rounds=rounds, settings=mine, simulator=simulator, scorer_settings=scorer_settings,
                                  units=units, limit=limit, model=model, prompts=prompts, hierarchy=hierarchy, concurrency=concurrency, progress=progress,
                                  **compute).pending
    if some := any(c.done + c.before for c in counts.values()):  # else every call failed, and there is nothing to compare
        score(catalogue, verdicts="later", **how)  # `choose` judges
    failed = max(c.failed for c in counts.values())
    reads: dict[str, Any] = {"llm": llm, "prompts": prompts, "concurrency": concurrency, "settings": scorer_settings}
    if some and (llm is not None or simulator):
        pending += score(catalogue, scorer="simulation", simulator=simulator, which="sentences", verdicts="later", **reads, **how).pending
    if pending:
        return Count(sum(c.asked for c in counts.values()), 0, 0, 0, failed, pending, sum(c.shortened for c in counts.values()))
    chosen = choose(catalogue, simulator=simulator, **reads, **how)
    return replace(chosen, failed=max(failed, chosen.failed), shortened=sum(c.shortened for c in counts.values()))


def build_each(names: Sequence[str], settings: Mapping[str, str], parts: Mapping[str, Any]) -> dict[str, Explainer]:
    """The explainers of these names; each takes the settings that it has. Raises SettingsError where none has one."""
    known = {name: setting_names("explainers", name) for name in names}
    if unknown := sorted(set(settings) - set().union(*known.values())):
        has = "; ".join(f"{name} has {', '.join(sorted(keys)) or 'none'}" for name, keys in known.items())
        raise SettingsError(f"no explainer here has the setting {unknown[0]!r}: {has}")
    return {name: build("explainers", name, {k: v for k, v in settings.items() if k in known[name]}, parts) for name in names}


def run(file: str | Path, *, redo: bool = False, progress: Progress = silent) -> Catalogue:
    """Everything that a TOML file says, in order; what is done already is not done again. Raises SettingsError.

    Sections and keys: [extract] subject, corpus, db, layers, context, max_tokens, text_column, split_on, site, revision;
    [label] explainers, units, limit, hierarchy; [control] kind (shuffled, initialised, embeddings-kept); [compute] seed, device, dtype,
    batch_size, threads.
    """
    plan = read_toml(Path(file))
    for section, keys in plan.items():
        if section not in SECTIONS or not isinstance(keys, dict):
            raise SettingsError(f"{file} has the unknown section [{section}]: known are {', '.join(f'[{s}]' for s in SECTIONS)}")
        if unknown := sorted(set(keys) - SECTIONS[section]):
            raise SettingsError(f"{file} has the unknown key {unknown[0]!r} in [{section}]: known are {', '.join(sorted(SECTIONS[section]))}")
    compute, what, how = plan.get("compute", {}), dict(plan.get("extract", {})), plan.get("label", {})
    subject = what.pop("subject", "demo")
    kinds = [None] + ([plan["control"].get("kind", "shuffled")] if "control" in plan else [])
    catalogue: Catalogue | None = None
    for kind in kinds:
        catalogue = extract(subject, control=kind, redo=redo, progress=progress, **what, **compute)
        model = _extracted(catalogue)  # the file may hold other models, and other controls of the same kind
        label(catalogue, model=model, explainers=how.get("explainers"), units=how.get("units") if kind is None else None, limit=how.get("limit"),
              hierarchy=how.get("hierarchy", ""), redo=redo, progress=progress, **compute)
    assert catalogue is not None
    return catalogue


def _extracted(catalogue: Catalogue) -> str:
    """The model of the extraction that was asked for last, whether it had to be made or was there."""
    return str(catalogue.read("SELECT model FROM runs WHERE command = 'extract' ORDER BY started DESC LIMIT 1")[0][0])
