"""`score --corpus` and `score --subject`: labels beyond their corpus and beyond their checkpoint."""

from __future__ import annotations

from typing import Any

import click

from autolabel.cli.common import note, open_catalogue, print_rows, progress_bar, settings_from


def score_beyond(flags: dict[str, Any], taken: dict[str, Any], compute: dict[str, Any], hierarchy: str) -> int:
    """Either, by the flags of `score` that it takes; `taken`: those that it does not. Raises click.UsageError."""
    what = "--corpus" if flags["corpus"] else "--subject"
    if flags["corpus"] and flags["subject"]:
        raise click.UsageError("--corpus and --subject do not go together: one at a time")
    if given := next((name for name, value in taken.items() if value), None):
        raise click.UsageError(f"{what} scores the chosen labels exactly: it does not go with {given}")
    shared = {"units": flags["units"], "limit": flags["limit"], "model": flags["model"] or "", "redo": flags["redo"], "hierarchy": hierarchy, **compute}
    return (_elsewhere if flags["corpus"] else _checkpoint)(flags, shared)


def _elsewhere(flags: dict[str, Any], shared: dict[str, Any]) -> int:
    from autolabel.pipeline.validity import compared, score_on

    catalogue = open_catalogue(flags["db"])
    s = settings_from(**{name: flags[name] for name in ("text_column", "max_tokens")})
    with progress_bar(flags["quiet"], str(catalogue.path)) as progress:
        count = score_on(catalogue, list(flags["corpus"]), group=flags["group"] or "", text_column=s.text_column, max_tokens=s.max_tokens,
                         progress=progress, notes=lambda text: note(text, flags["quiet"]), **shared)
    note(f"scored elsewhere: {count.done:,} of {count.asked:,} labels now, {count.before:,} before", flags["quiet"])
    print_rows(*compared(catalogue, shared["model"]), as_json=flags["as_json"])
    return 0


def _checkpoint(flags: dict[str, Any], shared: dict[str, Any]) -> int:
    from dataclasses import asdict

    from autolabel.pipeline.staleness import score_checkpoint

    catalogue = open_catalogue(flags["db"])
    with progress_bar(flags["quiet"], str(catalogue.path)) as progress:
        found = asdict(score_checkpoint(catalogue, flags["subject"], revision=flags["revision"] or "", progress=progress, **shared))
    count = found.pop("count")
    note(f"scored on {found['subject']}: {count['done']:,} of {count['asked']:,} labels now, {count['before']:,} before", flags["quiet"])
    print_rows(("figure", "value"), list(found.items()), as_json=flags["as_json"])
    return 0
