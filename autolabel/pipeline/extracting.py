"""`extract`: a subject and a corpus become statistics and exemplars in a catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError, UnitError
from autolabel.pipeline.progress import Progress, silent, stage
from autolabel.pipeline.session import identify, open_catalogue, open_subject, recorded, remember
from autolabel.types import layer_order

if TYPE_CHECKING:
    from autolabel.protocols import Subject

def _quiet(text: str) -> None:
    """Says nothing."""


def extract(subject: str | Subject = "demo", *, corpus: str | Sequence[str] = "demo", db: str | Path = "autolabel.duckdb",
            layers: str | Sequence[str] | None = None, context: int = 64, max_tokens: int = 0, control: str | None = None, batch_size: int = 32,
            seed: int = 0, device: str = "auto", dtype: str = "auto", threads: int = 0, revision: str = "", text_column: str = "text",
            split_on: str = "", site: str = "mlp", redo: bool = False, progress: Progress = silent,
            notes: Callable[[str], None] = _quiet) -> Catalogue:
    """Read every neuron of `subject` on `corpus` into the catalogue `db`, which is made when it is missing.

    subject: `demo`, a hub id, a local folder, or a loaded subject. corpus: `demo`, `python`, files or folders of .txt, .jsonl,
    .parquet, `hf:dataset[:split[:column]]`, or several of these. layers: names or ranges (`0-5,7`), all when None. site: where
    in the block. control: `shuffled`, `initialised` or `embeddings-kept`: a random-weights copy of the subject, 256 units a
    layer. notes: told, a line at a time, what was found in the model before the run. Killed at any moment, the same call goes
    on where it stopped; complete, it returns at once. Raises SetupError and its kinds.
    """
    from autolabel.corpus import Report
    from autolabel.extraction import extract as extract_units
    from autolabel.ingest import ingest

    specs = [corpus] if isinstance(corpus, str) else list(corpus)
    catalogue = open_catalogue(db, create=True)
    options: dict[str, Any] = {"revision": revision or None, "control": control, "seed": seed if control else None}
    options = {key: value for key, value in options.items() if value is not None}
    spec = _spec(subject) if isinstance(subject, str) else subject.name
    settings: dict[str, Any] = {"subject": spec, "options": options, "corpus": specs, "context": context, "max_tokens": max_tokens,
                                "layers": None, "text_column": text_column, "split_on": split_on, "dtype": dtype}
    if isinstance(subject, str) and not redo and _finished(catalogue, settings, layers, site, seed):
        notes(f"{db} has all of this already: nothing to do (--redo starts over)")
        return catalogue
    loaded: Any = open_subject(spec, device=device, dtype=dtype, threads=threads, **options) if isinstance(subject, str) else subject
    remember(loaded)
    if context > loaded.context:
        raise SettingsError(f"{loaded.name} takes at most {loaded.context} content tokens: --context {context} is too long")
    if site not in {s.name for s in loaded.sites}:
        raise UnitError(f"{loaded.name} has no site {site!r}: it has {', '.join(sorted({s.name for s in loaded.sites}))}")
    names = _layers(loaded.name, [s.layer for s in loaded.sites], layers)
    for found in (d for d in loaded.describe() if names is None or d["layer"] in names):
        notes(f"layer {found['layer']}: {found['width']:,} neurons, {found['nonlinearity']}, input of {found['module']}")
    settings["layers"] = names
    report = Report()
    with recorded(catalogue, "extract", settings, model=loaded.name, model_hash=loaded.hash, corpus=" ".join(specs), seed=seed) as run:
        corpus_id = ingest(catalogue, specs, loaded.tokenizer, loaded.tokenizer_hash, context, max_tokens=max_tokens or None,
                           text_column=text_column, split_on=split_on or None, run=run, progress=stage(progress, "reading the corpus"),
                           report=report)
        for line in report.lines():
            notes(line)
        extract_units(catalogue, loaded, corpus_id, run=run, layers=names, batch_size=batch_size, seed=seed, context=context,
                      is_control=control is not None, control_of=loaded.control_of, redo=redo, progress=stage(progress, f"extracting {loaded.name}"))
    return catalogue


def _finished(catalogue: Catalogue, settings: dict[str, Any], layers: str | Sequence[str] | None, site: str, seed: int) -> bool:
    """Whether this very call was completed before, as catalogue and files alone say: a model takes seconds to load, and to hash where it is large."""
    from autolabel.ingest import identify as identify_corpus

    rows = catalogue.read("SELECT m.name, m.hash, m.corpus_id, m.sites, r.settings FROM models m JOIN runs r ON r.id = m.run "
                          "WHERE r.state = 'complete' AND r.seed = ?", [seed])
    done = {(name, model_hash): corpus_id for name, model_hash, corpus_id, sites, before in rows
            if _same_call(name, settings, json.loads(before), json.loads(sites), layers, site)}
    if not done:
        return False
    who = identify(settings["subject"], **settings["options"])
    now, _ = identify_corpus(settings["corpus"], who.tokenizer_hash, settings["context"], max_tokens=settings["max_tokens"] or None,
                             text_column=settings["text_column"], split_on=settings["split_on"] or None)
    return bool(done.get((who.name, who.hash)) == now)


def _same_call(model: str, settings: dict[str, Any], before: dict[str, Any], sites: list[dict[str, Any]], layers: str | Sequence[str] | None,
               site: str) -> bool:
    """Whether a call asks for what the settings of an earlier one say, which left these sites."""
    try:
        names = _layers(model, [s["layer"] for s in sites], layers)
    except UnitError:  # the model may have it
        return False
    return site in {s["name"] for s in sites} and json.loads(json.dumps(settings | {"layers": names})) == before


def _spec(subject: str) -> str:
    """A local folder by its full path, so that the catalogue finds it again from elsewhere; `demo` and hub ids as they are."""
    if subject == "demo":  # also where a folder of that name lies here
        return subject
    path = Path(subject).expanduser()
    return str(path.resolve()) if path.is_dir() else subject


def _layers(model: str, known: list[str], wanted: str | Sequence[str] | None) -> list[str] | None:
    """The layers that were asked for, in the model's order; None: all. Raises UnitError."""
    if not wanted:
        return None
    keep: set[str] = set()
    for part in wanted.split(",") if isinstance(wanted, str) else wanted:
        m = re.fullmatch(r"([ed]?)(\d+)(?:-[ed]?(\d+))?", part.strip())
        if not m:
            raise UnitError(f"cannot read {part!r} as layers: write 3 or 0-5; {model} has {', '.join(known)}")
        keep.update(f"{m[1]}{i}" for i in range(int(m[2]), int(m[3] or m[2]) + 1))
    if missing := sorted(keep - set(known), key=layer_order):
        raise UnitError(f"{model} has no layer {missing[0]}: it has {', '.join(known)}")
    return [layer for layer in known if layer in keep]
