"""Commands that look into a catalogue: show, sql, search, stats, check, status, probe."""

from __future__ import annotations

from typing import Any

import click

from autolabel.cli.common import clean, note, open_catalogue, print_csv, print_rows, progress_bar, settings_from, shared
from autolabel.errors import CheckError


@click.command()
@click.argument("unit")
@click.option("--top", default=8, show_default=True, help="Excerpts to show.")
@shared("db", "model", "json")
def show(unit: str, top: int, db: str | None, model: str | None, as_json: bool) -> None:
    """One neuron as a person wants to see it: label, score, verdict, histogram, top excerpts."""
    from autolabel.card import read_card
    from autolabel.cli.card import print_card

    print_card(read_card(open_catalogue(db), unit, model=model or "", top=top), as_json=as_json)


@click.command()
@click.argument("query")
@click.option("--csv", "as_csv", is_flag=True, help="CSV on stdout instead of a table.")
@click.option("--timeout", type=float, help="Seconds that the query may take [5].")
@shared("db", "json")
def sql(query: str, as_csv: bool, timeout: float | None, db: str | None, as_json: bool) -> None:
    """One SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN statement, read only."""
    result = open_catalogue(db).sql(query, timeout=settings_from(timeout=timeout).timeout)
    if as_csv:
        print_csv(result.columns, result.rows)
        return
    print_rows(result.columns, result.rows, as_json=as_json)


@click.command()
@click.argument("text")
@click.option("--keyword", is_flag=True, help="Only labels that contain the text.")
@click.option("-n", "--limit", "limit", type=click.IntRange(min=1), default=10, show_default=True, help="Labels to show.")
@click.option("--layer", default="", help="Only labels of this layer.")
@click.option("--verdict", default="", help="Only labels with this verdict.")
@click.option("--model", default="", metavar="NAME", help="Only labels of this model.")
@shared("db", "quiet", "json")
def search(text: str, keyword: bool, limit: int, layer: str, verdict: str, model: str, db: str | None, quiet: bool, as_json: bool) -> None:
    """Labels about something: by meaning, or by keyword. The first search by meaning embeds the labels, and keeps their vectors."""
    from autolabel.searching import search as find

    with progress_bar(quiet) as progress:
        found = find(open_catalogue(db), text, method="keyword" if keyword else "meaning", limit=limit, model=model, layer=layer, verdict=verdict,
                     progress=progress)
    print_rows(found.columns, found.rows, as_json=as_json)
    if found.note:
        note(found.note, quiet)


@click.command()
@click.option("--plot", metavar="FILE.svg", type=click.Path(dir_okay=False, writable=True), help="Write the coverage-risk curve as a picture too.")
@shared("db", "model", "json")
def stats(plot: str | None, db: str | None, model: str | None, as_json: bool) -> None:
    """The headline of a catalogue: labelled, confirmed, contextual, carries over; the control beside; layer by layer."""
    from autolabel.cli.plot import write_svg
    from autolabel.cli.summary import print_summary
    from autolabel.summary import summarise

    summary = summarise(open_catalogue(db), model=model or "")
    if plot:
        write_svg(plot, summary.coverage)
    print_summary(summary, as_json=as_json)


@click.command()
@shared("db", "json")
def check(db: str | None, as_json: bool) -> None:
    """Prove from the catalogue, in SQL, that nothing leaked, nothing is lost and everything adds up."""
    from autolabel.catalogue.checks import check_all

    catalogue = open_catalogue(db)
    findings = check_all(catalogue)
    rows = [(f.check.name, f.check.promise, "holds" if f.holds else "FAILED", f.count, "; ".join(map(str, f.rows[:3]))) for f in findings]
    print_rows(("check", "promise", "state", "rows against it", "for example"), rows, as_json=as_json)
    if bad := [f for f in findings if not f.holds]:
        raise CheckError(f"{len(bad)} of {len(findings)} checks of {catalogue.path} did not hold: {', '.join(f.check.name for f in bad)}")


@click.command()
@shared("db", "json")
def status(db: str | None, as_json: bool) -> None:
    """How far a run is, from another terminal."""
    from autolabel.status import read_status

    path = settings_from(db=db).db
    print_rows(("what", "state", "detail"), read_status(path), as_json=as_json)


@click.command()
@click.argument("text")
@click.option("-n", "limit", default=5, show_default=True, help="Neurons per token.")
@shared("db", "model", "device", "dtype", "threads", "quiet", "json")
def probe(text: str, limit: int, db: str | None, model: str | None, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Which labelled neurons fire unusually strongly on TEXT, token by token, against their own quantiles."""
    from autolabel.probing import probe as run

    s = settings_from(**flags)
    catalogue = open_catalogue(db)
    with progress_bar(quiet):
        rows = run(catalogue, text, model=model or "", per_token=limit, device=s.device, dtype=s.dtype, threads=s.threads)
    print_rows(rows.columns, rows.rows, as_json=as_json)
    if not rows.rows:
        note(f"no neuron with a label fires above its 99th percentile on {clean(text)!r}", quiet)


COMMANDS = (show, sql, search, stats, check, status, probe)
