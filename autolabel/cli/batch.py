"""LLM calls through files: batch write, read, submit, status."""

from __future__ import annotations

from typing import Any

import click

from autolabel.cli.build import compute_of, concepts_from, setting
from autolabel.cli.common import COMPUTE, note, open_catalogue, print_rows, progress_bar, settings_from, shared
from autolabel.cli.llm import access_of


@click.group()
def batch() -> None:
    """LLM calls through files: half the price, and the only way without a network.

    \b
    Each round: autolabel batch write OUT.jsonl --llm openai/MODEL ... ; have it answered ; autolabel batch read REPLIES.jsonl
    The same `batch write` again asks what follows from the answers, until nothing is open and the labels are chosen.
    """


@batch.command()
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--explainer", "explainers", multiple=True, metavar="NAME", help="May be repeated [structured, induce, ngram, tokens].")
@click.option("-E", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the explainers that have it.")
@click.option("--simulator", metavar="NAME", help="Reads sentences without a pattern [digits].")
@click.option("-S", "scorer_settings", multiple=True, metavar="KEY=VALUE", help="A setting of the scorer simulation.")
@click.option("--revise", "rounds", type=click.IntRange(min=0), default=0, metavar="N", help="Rounds in which the worst mistakes go back to the LLM [0].")
@click.option("--scorer", "scorers", multiple=True, metavar="NAME", help="Another scorer on select, as detection or fuzzing; may be repeated.")
@shared("units", "limit", "db", "model", "llm", "base_url", "prompts", "hierarchy", *COMPUTE, "redo")
def write(out: str, explainers: tuple[str, ...], settings: tuple[str, ...], simulator: str | None, scorer_settings: tuple[str, ...],
          rounds: int, scorers: tuple[str, ...], units: str | None, limit: int | None, db: str | None, model: str | None, redo: bool, **flags: Any) -> None:
    """Do what can be done (explain, score, choose), and write every call that it needs to OUT."""
    from autolabel.pipeline.rounds import one_round

    catalogue = open_catalogue(db)
    with progress_bar(flags["quiet"], str(catalogue.path)) as progress:
        done = one_round(catalogue, out, access_of(flags), explainers=explainers or None, settings=setting(settings), simulator=simulator or "",
                         scorer_settings=setting(scorer_settings), rounds=rounds, scorers=scorers, prompts=settings_from(prompts=flags.get("prompts")).prompts,
                         units=units, limit=limit, model=model or "", hierarchy=concepts_from(flags), redo=redo, progress=progress, **compute_of(flags))
    if done.written.requests:
        roles = ", ".join(f"{n:,} {role}" for role, n in sorted(done.written.by_role.items()))
        note(f"{', '.join(done.written.files)}: {done.written.requests:,} calls to answer ({roles}); then: autolabel batch read REPLIES.jsonl", flags["quiet"])
    else:
        note(f"nothing is open: {done.count.done:,} of {done.count.asked:,} labelled now, {done.count.before:,} before, {done.count.failed:,} failed",
             flags["quiet"])


@batch.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False))
@shared("db", "llm", "base_url", "key_file", "prices", "quiet")
def read(files: tuple[str, ...], db: str | None, quiet: bool, **flags: Any) -> None:
    """Take in replies from FILES; without files, from the batches that were submitted."""
    from autolabel.pipeline import batching, submitting

    catalogue, prices = open_catalogue(db), settings_from(prices=flags.get("prices")).prices
    if files:
        came = [batching.read(catalogue, file, prices=prices) for file in files]
    else:
        under_way, came = submitting.fetch(catalogue, access_of(flags), prices=prices)
        for one in under_way:
            note(f"{one.batch or one.key}: {one.state}, {len(one.digests):,} calls", quiet)
    for t in came:
        note(f"{t.lines:,} lines: {t.answered:,} answered, {t.failed:,} failed, {t.open:,} stay open, {t.before:,} known before, {t.unknown:,} of "
             f"other catalogues, {t.repeated:,} repeated, {t.broken:,} broken{f' ({t.first_broken[0]})' if t.broken else ''}", quiet)


@batch.command()
@shared("db", "llm", "base_url", "key_file", "quiet")
def submit(db: str | None, quiet: bool, **flags: Any) -> None:
    """Hand all open calls to the provider's batch service."""
    from autolabel.pipeline import submitting

    handed = submitting.submit(open_catalogue(db), access_of(flags), say=lambda text: note(text, quiet))
    for one in handed:
        note(f"{one.batch}: {one.state}, {len(one.digests):,} calls; later: autolabel batch read --llm {one.llm}", quiet)
    if not handed:
        note("nothing to hand in: no call is open, or all are under way", quiet)


@batch.command()
@shared("db", "json")
def status(db: str | None, as_json: bool) -> None:
    """What is still open, by role and model."""
    from dataclasses import astuple

    from autolabel.pipeline.batching import status as lines

    print_rows(("role", "llm", "asked", "answered", "failed", "open", "submitted"), [astuple(line) for line in lines(open_catalogue(db))], as_json=as_json)


COMMANDS = (batch,)
