"""Commands around a catalogue: account, audit, nulls, eval, export, snapshot, plugins, config, doctor."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from autolabel.cli.common import note, open_catalogue, print_rows, settings_from, shared


@click.command()
@click.argument("format", type=click.Choice(["parquet", "csv", "jsonl"]))
@click.argument("path", type=click.Path(dir_okay=False))
@click.option("--view", default="labels", show_default=True, metavar="NAME", help="Which view, or a SELECT statement.")
@shared("db")
def export(format: str, path: str, view: str, db: str | None) -> None:
    """Write a view or a query to a file, whole or not at all."""
    from pathlib import Path

    from autolabel.catalogue.export import export as write

    rows = write(open_catalogue(db).path, view, Path(path), format)
    note(f"{path}: {rows:,} rows of {view}")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@shared("db")
def snapshot(file: str, db: str | None) -> None:
    """A whole copy of the catalogue, also while another process writes to it."""
    catalogue = open_catalogue(db)
    catalogue.snapshot(file)
    note(f"{file}: a copy of {catalogue.path}")


@click.command()
@shared("json")
def plugins(as_json: bool) -> None:
    """Which explainers, simulators and scorers there are, and where each comes from."""
    from autolabel.registry import BUILT_IN, KINDS, targets

    rows = [(kind, name, target, "built in" if name in BUILT_IN[kind] else "entry point")
            for kind in KINDS for name, target in sorted(targets(kind).items())]
    print_rows(("kind", "name", "class", "from"), rows, as_json=as_json)


@click.command()
@shared("json")
def config(as_json: bool) -> None:
    """Each setting, its value, and where the value comes from."""
    from autolabel.settings import resolve

    found = resolve()
    shown = dataclasses.asdict(found.settings)
    if shown["base_url"]:
        from autolabel.llms.openai import split_url
        shown["base_url"] = split_url(shown["base_url"])[0]  # without user info and query
    rows: list[tuple[Any, ...]] = [(name, value, found.origins[name]) for name, value in shown.items()]
    print_rows(("setting", "value", "from"), rows, as_json=as_json)


@click.command()
@shared("llm", "base_url", "key_file", "json")
def doctor(llm: str | None, base_url: str | None, key_file: str | None, as_json: bool) -> None:
    """What is installed, which device is used, what is missing, and what to type.

    With --llm: one small question to that model, and what it and its server take.
    """
    from autolabel.doctor import examine, examine_llm

    settings = settings_from(base_url=base_url, key_file=key_file)
    findings = examine_llm(llm, settings.base_url or None, settings.key_file or None, settings.prices or None) if llm else examine()
    rows = [dataclasses.astuple(finding) for finding in findings]
    print_rows(("what", "state", "detail", "to do"), rows, as_json=as_json)


@click.command()
@click.option("--planted", default=64, show_default=True, help="Units of known truth, planted on the catalogue's own corpus.")
@click.option("--real", default=24, show_default=True, help="Chosen labels of the model that are corrupted.")
@click.option("--excerpts", "n", default=40, show_default=True, help="Excerpts of each sample, at least 40.")
@shared("db", "model", "seed", "device", "dtype", "threads", "quiet", "json")
def audit(planted: int, real: int, n: int, db: str | None, model: str | None, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Put the scores to the test: corrupted labels must score worse, intervals must hold, nulls must be null."""
    from autolabel.cli.common import progress_bar, settings_from
    from autolabel.errors import CheckError
    from autolabel.pipeline.auditing import COLUMNS, gated_failures, table
    from autolabel.pipeline.auditing import audit as run

    s = settings_from(**flags)
    with progress_bar(quiet) as progress:
        found = run(open_catalogue(db), model=model or "", planted=planted, real=real, n=n, seed=s.seed, device=s.device, dtype=s.dtype,
                    threads=s.threads, progress=progress)
    print_rows(COLUMNS, table(found), as_json=as_json)
    if bad := gated_failures(found):
        raise CheckError(f"{', '.join(bad)} failed: other commands show `failed audit` in their place")


@click.command()
@click.option("--max-tokens", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of test; four times as many of select.")
@shared("units", "db", "model", "hierarchy", "seed", "device", "dtype", "batch_size", "threads", "quiet", "redo", "json")
def account(max_tokens: int, units: str | None, db: str | None, model: str | None, hierarchy: str | None, redo: bool, as_json: bool, quiet: bool,
            **flags: Any) -> None:
    """What a model keeps when a layer's neurons are replaced by what their labels predict.

    0 % is each neuron's mean, 100 % the model as it is. --units: which layers, and which of their labels take part.
    """
    from autolabel.cli.common import progress_bar
    from autolabel.pipeline.accounting import COLUMNS, table
    from autolabel.pipeline.accounting import account as run

    catalogue = open_catalogue(db)
    s = settings_from(hierarchy=hierarchy, **flags)
    with progress_bar(quiet, str(catalogue.path)) as progress:
        found = run(catalogue, units=units, max_tokens=max_tokens, model=model or "", hierarchy=s.hierarchy, seed=s.seed, redo=redo,
                    batch_size=s.batch_size, device=s.device, dtype=s.dtype, threads=s.threads, progress=progress)
    print_rows(COLUMNS, table(found.rows), as_json=as_json)
    note(found.words(), quiet)


@click.command()
@click.option("--max-tokens", type=click.IntRange(min=1), default=20_000, show_default=True, help="Of each split that are read.")
@shared("units", "db", "model", "hierarchy", "seed", "device", "dtype", "batch_size", "threads", "quiet", "redo", "json")
def nulls(max_tokens: int, units: str | None, db: str | None, model: str | None, hierarchy: str | None, redo: bool, as_json: bool, quiet: bool,
          **flags: Any) -> None:
    """Labels that should not fit a unit, scored on it beside its own.

    Those of the nearest units, by activation and by label, of a random unit, of the same length, constant, verbose and hedged ones.
    """
    from autolabel.cli.common import progress_bar
    from autolabel.pipeline.nulling import COLUMNS
    from autolabel.pipeline.nulling import nulls as run

    catalogue = open_catalogue(db)
    s = settings_from(hierarchy=hierarchy, **flags)
    with progress_bar(quiet, str(catalogue.path)) as progress:
        found = run(catalogue, units=units, max_tokens=max_tokens, model=model or "", hierarchy=s.hierarchy, seed=s.seed, redo=redo,
                    batch_size=s.batch_size, device=s.device, dtype=s.dtype, threads=s.threads, progress=progress)
    print_rows(COLUMNS, found.rows, as_json=as_json)
    note(f"{found.identified}; {found.done} layers compared now, {found.before} before; {found.left_out} chosen labels take no part", quiet)


@click.command("eval")
@click.argument("suite")
@click.option("--quick", is_flag=True, help="With small settings, for a look; makes no report.")
@click.option("-o", "out", type=click.Path(dir_okay=False), help="Write the report, as Markdown.")
@shared("seed", "json")
def eval_(suite: str, quick: bool, out: str | None, seed: int | None, as_json: bool) -> None:
    """Run a suite of measurements.

    planted, null, degraded, estimator, metrics: are the scores right; senses: are several senses told from one;
    control: is there more than chance; retest, agreement:
    does it come out the same again, or another way; cost: of labels and of certainty.
    """
    from autolabel.cli.common import settings_from
    from autolabel.errors import CheckError
    from autolabel.evaluate import COLUMNS, evaluate, rows

    lines = evaluate(suite, seed=settings_from(seed=seed).seed, quick=quick, out=out)
    print_rows(COLUMNS, rows(lines), as_json=as_json)
    if bad := [line.what for line in lines if line.held is False]:
        raise CheckError(f"{len(bad)} of {len(lines)} lines of the suite {suite} miss their bar: {'; '.join(bad)}")


COMMANDS = (account, audit, nulls, eval_, export, snapshot, plugins, config, doctor)
