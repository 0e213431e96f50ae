"""What every verb needs: the catalogue, the model in it, the subject behind that model, and a row in `runs`."""

from __future__ import annotations

import datetime
import json
import platform
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel.catalogue import Catalogue
from autolabel.errors import AutolabelError, CatalogueError
from autolabel.types import digest

if TYPE_CHECKING:
    from autolabel.protocols import Subject

CONTROL_UNITS = 256  # per layer: units of a random copy are exchangeable
PACKAGES = ("autolabel", "torch", "transformers", "duckdb", "numpy", "scipy", "scikit-learn")
_LOADED: dict[tuple[str, str], Subject] = {}  # (name, hash) -> subject: the last KEPT of this process
KEPT = 2  # a model and its control


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One extracted model of a catalogue."""

    name: str  # as in Unit.model
    hash: str  # of weights, configuration and tokenizer
    subject: str  # what `load_subject` takes
    options: Mapping[str, Any]  # revision, control, seed: what else `open_subject` needs
    corpus_id: str  # its corpus in the catalogue
    context: int  # content tokens per excerpt
    is_control: bool  # a random-weights control
    control_of: str | None  # of which model


def open_catalogue(db: str | Path, *, create: bool = False) -> Catalogue:
    """The catalogue in this file. Raises CatalogueError where it is none, newer, corrupt or missing."""
    return Catalogue.open(db, create=create)


def models(catalogue: Catalogue) -> list[ModelRow]:
    """All extracted models, controls included, by name."""
    rows = catalogue.read("SELECT m.name, m.hash, r.settings, m.corpus_id, m.context, m.is_control, m.control_of FROM models m "
                          "JOIN runs r ON r.id = m.run ORDER BY m.name")
    found = []
    for name, model_hash, text, corpus_id, context, is_control, control_of in rows:
        settings = json.loads(text)  # those of the run that extracted it
        found.append(ModelRow(name, model_hash, settings["subject"], settings["options"], corpus_id, context, bool(is_control), control_of))
    return found


def model_row(catalogue: Catalogue, name: str = "") -> ModelRow:
    """The model of this name; the only one that is no control where no name is given. Raises CatalogueError."""
    known = models(catalogue)
    if name:
        found = [m for m in known if m.name == name]
    else:
        found = [m for m in known if not m.is_control]
    if len(found) == 1:
        return found[0]
    names = ", ".join(m.name for m in known) or "none: run `autolabel extract` first"
    if not found:
        raise CatalogueError(f"{catalogue.path} holds no model{f' {name!r}' if name else ''}; it holds {names}")
    raise CatalogueError(f"{catalogue.path} holds several models: choose one with --model ({names})")


def open_subject(spec: str, *, control: str | None = None, seed: int = 0, revision: str | None = None, device: str = "auto",
                 dtype: str = "auto", threads: int = 0) -> Subject:
    """Load a subject; a control is narrowed to CONTROL_UNITS a layer and each of its batches is run only once per process.

    The recording lies in a temporary folder that goes with the subject. Raises SubjectError, ExtraError, SettingsError.
    """
    from autolabel.subjects import Narrow, Recorded, load_subject

    loaded: Any = load_subject(spec, device=device, dtype=dtype, threads=threads or None, revision=revision, control=control, seed=seed)
    if control is None:
        return loaded  # type: ignore[no-any-return]  # an HFSubject is a Subject
    folder = tempfile.TemporaryDirectory(prefix="autolabel-control-")
    recording = Recorded(Narrow(loaded, CONTROL_UNITS), folder.name)
    weakref.finalize(recording, folder.cleanup)
    return recording


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the subject is that `open_subject` would give."""

    name: str  # as in Unit.model
    hash: str  # 16 hex digits: of weights, configuration and tokenizer
    tokenizer_hash: str  # 16 hex digits


def identify(spec: str, *, control: str | None = None, seed: int = 0, revision: str | None = None) -> Identity:
    """From the files of the model alone: nothing is loaded. Raises SubjectError, ExtraError."""
    from autolabel.subjects.identity import of_control, of_narrow
    from autolabel.subjects.loading import find_source

    source = find_source(spec, revision=revision)
    name, model_hash = source.name, source.files.hash
    if control is not None:
        name, model_hash = of_control(name, model_hash, control, seed)
        model_hash = of_narrow(model_hash, CONTROL_UNITS)
    return Identity(name, model_hash, source.files.tokenizer_hash)


def remember(subject: Subject) -> None:
    """Keep a loaded subject at hand for the later verbs of this process."""
    _LOADED.pop((subject.name, subject.hash), None)
    _LOADED[subject.name, subject.hash] = subject
    while len(_LOADED) > KEPT:
        _LOADED.pop(next(iter(_LOADED)))


def subject_of(catalogue: Catalogue, model: ModelRow, *, device: str = "auto", dtype: str = "auto", threads: int = 0) -> Subject:
    """The subject behind a model of the catalogue. Raises CatalogueError when its weights are no longer the extracted ones."""
    if (found := _LOADED.get((model.name, model.hash))) is not None:
        return found
    subject = open_subject(model.subject, device=device, dtype=dtype, threads=threads, **model.options)
    if subject.hash != model.hash:
        raise CatalogueError(f"{model.subject} has changed since {model.name} was extracted (hash {subject.hash}, then {model.hash}): "
                             "extract it into another file, or restore the weights")
    remember(subject)
    return subject


def dicts(catalogue: Catalogue, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
    """Rows as dictionaries, NULL as None."""
    with catalogue.reading() as connection:
        cursor = connection.execute(sql, list(params))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def recorded(catalogue: Catalogue, command: str, settings: Mapping[str, Any], *, model: str = "", model_hash: str = "",
             corpus: str = "", seed: int = 0) -> Iterator[str]:
    """A row in `runs` around a piece of work; its id is the digest of the settings. State: running, complete, stopped, budget, quota, interrupted."""
    run = digest(command, dict(settings), model, model_hash, corpus, seed)

    def save(state: str, finished: datetime.datetime | None) -> None:
        values: dict[str, Any] = {
            "id": [run], "command": [command], "settings": [json.dumps(dict(settings), default=str)], "versions": [json.dumps(versions())],
            "model": [model], "model_hash": [model_hash], "corpus": [corpus], "seed": [seed], "state": [state], "started": [started],
            "finished": [finished]}
        with catalogue.writer() as writer:
            def replace_it(_connection: object) -> None:  # one transaction: a kill leaves the row as it was or as it is now
                writer.delete("runs", "id = ?", [run])
                writer.insert("runs", values)
            writer.write(replace_it)

    started = _now()
    save("running", None)
    try:
        yield run
    except KeyboardInterrupt:
        save("interrupted", _now())
        raise
    except BaseException as error:
        save(error.state if isinstance(error, AutolabelError) else "stopped", _now())
        raise
    save("complete", _now())


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
