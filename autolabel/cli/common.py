"""What the commands share: options, output, progress."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from autolabel.catalogue import Catalogue
    from autolabel.pipeline.progress import Progress
    from autolabel.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

NARROW = 16  # a column of text is not made narrower than this for the others' sake: a unit's name
GAP = 2  # between columns

# Terminal control: escape sequences, C0/C1 controls but tab and newline, zero-width and bidirectional marks.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


def clean(text: str) -> str:
    """Text from outside, safe for a terminal: escape sequences removed, other controls shown as U+FFFD."""
    return _CONTROLS.sub("\ufffd", _ESCAPES.sub("", text))


SHARED: dict[str, Callable[[F], F]] = {
    "db": click.option("--db", metavar="FILE", help="The catalogue's file [autolabel.duckdb]."),
    "model": click.option("--model", metavar="NAME", help="A model's name in the catalogue [the only one]."),
    "seed": click.option("--seed", type=int, help="Of everything random [0]."),
    "device": click.option("--device", metavar="NAME", help="auto, cpu, cuda [auto]."),
    "dtype": click.option("--dtype", metavar="NAME", help="auto, float32, bfloat16, float16 [auto]."),
    "batch_size": click.option("--batch-size", type=int, help="Excerpts per forward pass [32]."),
    "threads": click.option("--threads", type=int, help="CPU threads [what the machine has]."),
    "revision": click.option("--revision", metavar="REV", help="Revision of a hub model."),
    "prompts": click.option("--prompts", metavar="DIR", help="A folder of your own prompt templates, searched first."),
    "max_failures": click.option("--max-failures", type=int, help="More failed units than this: exit code 1 [0]."),
    "hierarchy": click.option("--hierarchy", metavar="FILE", help="Concepts of your own: TSV, WordNet TSV, SKOS, OWL [everyday ones]."),
    "budget": click.option("--budget", metavar="AMOUNT", help="Stop before this is exceeded, as in 5usd [no limit]."),
    "prices": click.option("--prices", metavar="FILE", help="A price table of your own, read before the built-in one."),
    "concurrency": click.option("--concurrency", type=int, metavar="N", help="LLM requests in flight at most [64]."),
    "requests_per_minute": click.option("--requests-per-minute", type=float, metavar="N", help="Of the LLM [no limit but the server's]."),
    "tokens_per_minute": click.option("--tokens-per-minute", type=float, metavar="N", help="Of the LLM [no limit but the server's]."),
    "quiet": click.option("-q", "--quiet", is_flag=True, help="No progress, no notes."),
    "verbose": click.option("-v", "--verbose", is_flag=True, help="More notes."),
    "json": click.option("--json", "as_json", is_flag=True, help="JSON on stdout instead of a table."),
    "llm": click.option("--llm", metavar="PROVIDER/MODEL", help="openai/MODEL (any compatible server), local/PATH, scripted/module:function."),
    "base_url": click.option("--base-url", metavar="URL", help="Of an OpenAI-compatible server, as in http://localhost:11434/v1."),
    "key_file": click.option("--key-file", metavar="FILE", help="A file with the API key [OPENAI_API_KEY]."),
    "redo": click.option("--redo", is_flag=True, help="Start over instead of going on where it stopped."),
    "units": click.option("--units", metavar="SELECTION", help="5/1330, 3-5, 5/100-199, a list with commas, sample:100, sql:SELECT unit ..."),
    "limit": click.option("-n", "limit", type=click.IntRange(min=1), metavar="N", help="At most N units."),
}
COMPUTE = ("seed", "device", "dtype", "batch_size", "threads", "max_failures", "quiet", "verbose")


def shared(*names: str) -> Callable[[F], F]:
    """The named options of SHARED, in this order."""
    def apply(command: F) -> F:
        for name in reversed(names):
            command = SHARED[name](command)
        return command
    return apply


def settings_from(**flags: Any) -> Settings:
    """Settings with these flags on top; flags that are None were not given."""
    from autolabel.settings import resolve

    return resolve(flags).settings


def open_catalogue(db: str | None) -> Catalogue:
    """The catalogue that `--db`, the environment or autolabel.toml names."""
    from autolabel.catalogue import Catalogue

    return Catalogue.open(settings_from(db=db).db)


def out() -> Console:
    """Where data goes. Colour only on a terminal; NO_COLOR is honoured."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 140
    return Console(file=sys.stdout, highlight=False, width=width, soft_wrap=False)


def note(text: str, quiet: bool = False) -> None:
    """A line for the person, on stderr."""
    if not quiet:
        click.echo(clean(text), err=True)


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, as_json: bool = False, title: str | None = None) -> None:
    """A table for people, or a JSON array of objects for programs. Where the columns do not fit beside each other, a line for each value."""
    if as_json:
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], ensure_ascii=False, default=str))
        return
    from rich.markup import escape
    from rich.table import Table

    body = [[show_value(v) for v in row] for row in rows]
    numbers = [all(re.fullmatch(r"-?[\d.,e+%-]*", row[i]) for row in body) for i in range(len(columns))]
    least = [max((*map(len, name.split()), *(len(row[i]) for row in body if numbers[i]), *(min(NARROW, len(row[i])) for row in body)), default=0)
             for i, name in enumerate(columns)]
    if body and len(columns) > 2 and sum(least) + GAP * (len(least) - 1) > out().width:
        _print_values(columns, body, title)
        return
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name, numeric, width in zip(columns, numbers, least, strict=True):
        table.add_column(escape(clean(name)), justify="right" if numeric else "left", overflow="fold", min_width=width)
    for row in body:
        table.add_row(*(escape(clean(cell)) for cell in row))
    out().print(table)


def _print_values(columns: Sequence[str], body: Iterable[Sequence[str]], title: str | None) -> None:
    """Row below row, each value behind the name of its column; empty ones are left out."""
    from rich.markup import escape
    from rich.table import Table

    for number, row in enumerate(body):
        table = Table(title=title if number == 0 else None, title_justify="left", show_header=False, box=None, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, cell in zip(columns, row, strict=True):
            if cell:
                table.add_row(escape(clean(name)), escape(clean(cell)))
        if number:
            out().print()
        out().print(table)


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """CSV on stdout; text that a spreadsheet would run as a formula gets a ' in front."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"'{v}" if isinstance(v, str) and v[:1] in ("=", "+", "-", "@", "\t", "\r") else v for v in row])


def show_value(value: Any) -> str:
    """One cell: NULL as empty, floats to three significant digits behind the point, lists shortened."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, (list, tuple)):
        body = ", ".join(show_value(v) for v in value[:8])
        return f"{body}, ..." if len(value) > 8 else body
    return str(value)


class Detail:
    """What the progress bar says beside its figures, as in tokens and dollars so far."""

    text: Callable[[], str] = staticmethod(lambda: "")


@contextmanager
def progress_bar(quiet: bool, db: str | None = None, detail: Detail | None = None) -> Iterator[Progress]:
    """A function (stage, done, total) that draws a bar with rate and time left; nothing when stderr is no terminal.

    `detail` is asked for a few words beside each figure. With `db` the same figures go to FILE.progress at most once a second, for
    `autolabel status` in another terminal.
    """
    from autolabel.pipeline.progress import Published, silent

    published = Published(db) if db else None
    try:
        if quiet or not sys.stderr.isatty() or os.environ.get("CI"):
            yield published.report if published else silent
            return
        yield from _drawn(published.report if published else silent, detail or Detail())
    finally:
        if published:
            published.close()


def _drawn(behind: Progress, detail: Detail) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
               TextColumn("[dim]{task.fields[detail]}"))
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bars:
        tasks: dict[str, Any] = {}
        began: dict[str, float] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage], began[stage] = bars.add_task(stage, total=total, rate="", detail=""), time.monotonic()
            seconds = max(time.monotonic() - began[stage], 1e-6)
            bars.update(tasks[stage], completed=done, total=total, rate=f"{done / seconds:,.0f}/s", detail=detail.text())
            behind(stage, done, total)

        yield report
