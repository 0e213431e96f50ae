"""What a run would cost, before anything is spent: plan label, plan extract."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from autolabel.cli.build import compute_of, setting
from autolabel.cli.common import COMPUTE, note, open_catalogue, print_rows, settings_from, shared
from autolabel.cli.llm import access_of


@click.group()
def plan() -> None:
    """What a run would cost: tokens, calls, dollars, time, disk. Nothing is sent or stored."""


@plan.command("label")
@click.option("--explainer", "explainers", multiple=True, metavar="NAME", help="May be repeated [structured].")
@click.option("-E", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the explainers.")
@click.option("--tokenizer", metavar="PATH", help="A folder or hub id whose tokenizer counts [estimated; a local model's own].")
@click.option("--start", type=int, default=40, show_default=True, help="Excerpts that a simulator reads of a label, at least ...")
@click.option("--cap", type=int, default=120, show_default=True, help="... and at most.")
@click.option("--batch", is_flag=True, help="Prices of batch files.")
@shared("units", "limit", "db", "model", "llm", "base_url", "prices", "concurrency", "requests_per_minute", "prompts", *COMPUTE, "json")
def label_(explainers: tuple[str, ...], settings: tuple[str, ...], tokenizer: str | None, start: int, cap: int, batch: bool, units: str | None,
           limit: int | None, db: str | None, model: str | None, as_json: bool, **flags: Any) -> None:
    """What explaining, scoring and choosing would ask of an LLM."""
    from autolabel.pipeline.planning import plan_label

    made = plan_label(open_catalogue(db), access_of(flags), explainers=explainers or ("structured",), settings=setting(settings), units=units, limit=limit,
                      model=model or "", prompts=settings_from(prompts=flags.get("prompts")).prompts, start=start, cap=cap, tokenizer=tokenizer or "",
                      batch=batch, **compute_of(flags))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made), default=str))
        return
    rows = [(s.stage, bound, *(f"{v:,}" for v in (calls, tokens_in, tokens_out)), _money(dollars))
            for s in (*made.stages, made.total)
            for bound, calls, tokens_in, tokens_out, dollars in (("likely", s.calls, s.tokens_in, s.tokens_out, s.dollars),
                                                                 ("at most", s.calls_most, s.tokens_in_most, s.tokens_out_most, s.dollars_most))]
    print_rows(("stage", "", "calls", "tokens in", "tokens out", "dollars"), rows)
    paid = f" {made.total.paid:,} calls more are paid already: their answers are in the catalogue." if made.total.paid else ""
    note(f"Prompts counted by {made.counted_by}. {_span(made.hours_low, made.hours_high)}, if an answer is written at 100 to 20 tokens a second.{paid}",
         flags["quiet"])


@plan.command("extract")
@click.argument("subject")
@click.option("--corpus", "-c", multiple=True, required=True, metavar="C", help="demo, python, a file or folder, hf:...; may be repeated.")
@click.option("--context", type=int, help="Content tokens per excerpt [64].")
@click.option("--max-tokens", type=int, help="Stop reading the corpus after about so many tokens.")
@shared(*COMPUTE, "json")
def extract_(subject: str, corpus: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Tokens, time, disk and memory of an extraction."""
    from autolabel.pipeline.plan_extract import plan_extract

    s = settings_from(context=flags.get("context"), max_tokens=flags.get("max_tokens"))
    made = plan_extract(subject, corpus=corpus, context=s.context, max_tokens=s.max_tokens, text_column=s.text_column, split_on=s.split_on,
                        revision=s.revision, **compute_of(flags))
    rows = [("documents", f"{made.documents:,}"), ("tokens", f"{made.tokens:,}"), ("neurons (both sides)", f"{made.neurons:,}"),
            ("time", f"{made.seconds_low:,.0f} to {made.seconds_high:,.0f} s"), ("disk, about", f"{made.disk_bytes / 1e6:,.0f} MB"),
            ("memory beside the model, about", f"{made.memory_bytes / 1e6:,.0f} MB")]
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made)))
        return
    print_rows(("", ""), rows)


def _span(low: float, high: float) -> str:
    """Two durations in hours, in a unit that suits the longer."""
    unit, factor = next((u, f) for u, f, least in (("hours", 1.0, 1.0), ("minutes", 60.0, 1 / 60), ("seconds", 3600.0, 0.0)) if high >= least)
    return f"About {low * factor:.2g} to {high * factor:.2g} {unit}"


def _money(value: Any) -> str:
    return "unknown" if value is None else f"${value:,.4f}" if value < 1 else f"${value:,.2f}"


COMMANDS = (plan,)
