"""Commands about what a unit is: kinds, senses."""

from __future__ import annotations

from typing import Any

import click

from autolabel.cli.build import compute_of, concepts_from
from autolabel.cli.common import COMPUTE, note, open_catalogue, print_rows, progress_bar, shared


@click.command()
@shared("units", "limit", "db", "model", *COMPUTE, "redo", "json")
def kinds(units: str | None, limit: int | None, db: str | None, model: str | None, redo: bool, as_json: bool, **flags: Any) -> None:
    """What kind of unit: lexical or context-driven, how much context it reads, how much one token type leaves open."""
    from autolabel.pipeline import kinds as verb
    from autolabel.pipeline.kinding import COLUMNS, table

    catalogue, compute = open_catalogue(db), compute_of(flags)
    with progress_bar(flags["quiet"], str(catalogue.path)) as progress:
        count = verb(catalogue, units=units, limit=limit, model=model or "", redo=redo, progress=progress, **compute)
    note(f"kinds: {count.done:,} of {count.asked:,} done now, {count.before:,} before; {count.abstained:,} fire too rarely in the sample for a "
         "context length", flags["quiet"])
    print_rows(COLUMNS, table(catalogue, units=units, limit=limit, model=model or "", seed=compute["seed"]), as_json=as_json)


@click.command()
@shared("units", "limit", "db", "model", "hierarchy", *COMPUTE, "redo", "json")
def senses(units: str | None, limit: int | None, db: str | None, model: str | None, redo: bool, as_json: bool, **flags: Any) -> None:
    """The different things a unit fires for: a label for each, proved on its own cluster of words."""
    from autolabel.pipeline import senses as verb
    from autolabel.pipeline.sensing import COLUMNS, table

    catalogue, compute = open_catalogue(db), compute_of(flags)
    with progress_bar(flags["quiet"], str(catalogue.path)) as progress:
        count = verb(catalogue, units=units, limit=limit, model=model or "", hierarchy=concepts_from(flags), redo=redo, progress=progress, **compute)
    note(f"senses: {count.done:,} of {count.asked:,} units done now, {count.before:,} before; {count.abstained:,} without a sense", flags["quiet"])
    print_rows(COLUMNS, table(catalogue, units=units, limit=limit, model=model or "", seed=compute["seed"]), as_json=as_json)


COMMANDS = (kinds, senses)
