"""`score --corpus` and `score --subject`: labels beyond their corpus and beyond their checkpoint."""

from __future__ import annotations

from typing import Any

import click

from autolabel.cli.common import Detail, note, open_catalogue, print_rows, progress_bar, settings_from
from autolabel.cli.llm import asking


def score_beyond(flags: dict[str, Any], taken: dict[str, Any], shared: dict[str, Any]) -> int:
    """Either, by the flags of `score` that it takes; `taken`: those that it does not; `shared`: what both verbs take. Raises click.UsageError."""
    what = "--corpus" if flags["corpus"] else "--subject"
    if flags["corpus"] and flags["subject"]:
        raise click.UsageError("--corpus and --subject do not go together: one at a time")
    if given := next((name for name, value in taken.items() if value), None):
        raise click.UsageError(f"{what} scores the chosen labels as they were scored on test: it does not go with {given}")
    return (_elsewhere if flags["corpus"] else _checkpoint)(flags, shared)


def _elsewhere(flags: dict[str, Any], shared: dict[str, Any]) -> int:
    from autolabel.pipeline.validity import compared, score_on

    catalogue = open_catalogue(flags["db"])
    s = settings_from(**{name: flags[name] for name in ("text_column", "max_tokens")})
    detail = Detail()
    with asking(catalogue, flags, detail) as how, progress_bar(flags["quiet"], str(catalogue.path), detail) as progress:
        count = score_on(catalogue, list(flags["corpus"]), group=flags["group"] or "", text_column=s.text_column, max_tokens=s.max_tokens,
                         progress=progress, notes=lambda text: note(text, flags["quiet"]), **how, **shared)
    print_rows(*compared(catalogue, shared["model"]), as_json=flags["as_json"])
    return _ended("scored elsewhere", count.done, count.asked, count.before, count.failed, flags)


def _checkpoint(flags: dict[str, Any], shared: dict[str, Any]) -> int:
    from dataclasses import asdict

    from autolabel.pipeline.staleness import score_checkpoint

    catalogue = open_catalogue(flags["db"])
    detail = Detail()
    with asking(catalogue, flags, detail) as how, progress_bar(flags["quiet"], str(catalogue.path), detail) as progress:
        found = asdict(score_checkpoint(catalogue, flags["subject"], revision=flags["revision"] or "", progress=progress,
                                        notes=lambda text: note(text, flags["quiet"]), **how, **shared))
    count = found.pop("count")
    print_rows(("figure", "value"), list(found.items()), as_json=flags["as_json"])
    return _ended(f"scored on {found['subject']}", count["done"], count["asked"], count["before"], count["failed"], flags)


def _ended(what: str, done: int, asked: int, before: int, failed: int, flags: dict[str, Any]) -> int:
    """Say what was done; 1 when calls failed for more labels than allowed."""
    note(f"{what}: {done:,} of {asked:,} labels now, {before:,} before, {failed:,} failed", flags["quiet"])
    return int(failed > settings_from(max_failures=flags["max_failures"]).max_failures)
