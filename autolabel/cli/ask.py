"""Commands about what is asked of an LLM: prompt show."""

from __future__ import annotations

import json
from typing import Any

import click

from autolabel.cli.build import setting
from autolabel.cli.common import clean, note, open_catalogue, settings_from, shared


@click.group()
def prompt() -> None:
    """What would be sent to an LLM."""


@prompt.command("show")
@click.argument("name")
@click.option("--unit", required=True, metavar="UNIT", help="For which unit, as in 5/1330.")
@click.option("-E", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the plug-in.")
@click.option("--label", metavar="TEXT", help="For a simulator or scorer: the label that it reads [the unit's own].")
@shared("prompts", "db", "model", "device", "dtype", "threads", "quiet", "json")
def show_(name: str, unit: str, settings: tuple[str, ...], label: str | None, db: str | None, model: str | None, quiet: bool, as_json: bool,
          **flags: Any) -> None:
    """Exactly what NAME (an explainer, a simulator, a scorer) would send for one unit; nothing is sent."""
    from autolabel.pipeline.prompting import show_prompt

    s = settings_from(**flags)
    shown = show_prompt(open_catalogue(db), name, unit, settings=setting(settings), label=label or "", prompts=s.prompts, model=model or "",
                        device=s.device, dtype=s.dtype, threads=s.threads)
    if as_json:
        click.echo(json.dumps(shown, ensure_ascii=False))
        return
    for message in shown["messages"]:
        click.echo(f"=== {message['role']} ===\n{clean(message['content'])}\n")
    extra = f", {shown['dropped']} excerpts left out to fit" if shown.get("dropped") else ""
    extra += f", the first of {shown['calls']} calls" if shown["calls"] > 1 else ""
    template = f", template {shown['template']}" if "template" in shown else ""
    note(f"about {shown['tokens']:,} tokens, {len(shown['excerpts'])} excerpts{extra}; prompt {shown['digest']}{template}", quiet)


COMMANDS = (prompt,)
