"""`label`: explain, score and choose in one; `run`: all of it from one TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.choosing import choose
from autolabel.pipeline.explaining import Count, explain_all
from autolabel.pipeline.extracting import extract
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.scoring import score
from autolabel.registry import build
from autolabel.settings import read_toml

EXPLAINERS = ("induce", "ngram", "tokens")
SECTIONS: Mapping[str, frozenset[str]] = {
    "extract": frozenset({"subject", "corpus", "db", "layers", "context", "max_tokens", "text_column", "split_on", "site", "revision"}),
    "label": frozenset({"explainers", "units", "limit", "hierarchy"}),
    "control": frozenset({"kind"}),
    "compute": frozenset({"seed", "device", "dtype", "batch_size", "threads"}),
}


def label(catalogue: Catalogue, *, explainers: Sequence[str] | None = None, units: str | Iterable[str] | None = None, limit: int | None = None,
          model: str = "", hierarchy: str = "", redo: bool = False, progress: Progress = silent, **compute: Any) -> Count:
    """Explain with each explainer, score the candidates on select, choose and score on test.

    hierarchy: a file of concepts of your own; compute: seed, device, dtype, ...
    """
    parts = {"hierarchy": concepts(hierarchy)}
    explain_all(catalogue, {name: build("explainers", name, parts=parts) for name in explainers or EXPLAINERS}, units=units, limit=limit, model=model,
                redo=redo, progress=progress, **compute)
    score(catalogue, units=units, limit=limit, model=model, hierarchy=hierarchy, redo=redo, progress=progress, **compute)
    return choose(catalogue, units=units, limit=limit, model=model, hierarchy=hierarchy, redo=redo, progress=progress, **compute)


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
