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
@click.option("-E", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the explainer.")
@shared("prompts", "db", "model", "device", "dtype", "threads", "quiet", "json")
def show_(name: str, unit: str, settings: tuple[str, ...], db: str | None, model: str | None, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Exactly what the explainer NAME would send for one unit; nothing is sent."""
    from autolabel.pipeline.prompting import show_prompt

    s = settings_from(**flags)
    shown = show_prompt(open_catalogue(db), name, unit, settings=setting(settings), prompts=s.prompts, model=model or "", device=s.device, dtype=s.dtype,
                        threads=s.threads)
    if as_json:
        click.echo(json.dumps(shown, ensure_ascii=False))
        return
    for message in shown["messages"]:
        click.echo(f"=== {message['role']} ===\n{clean(message['content'])}\n")
    left_out = f", {shown['dropped']} excerpts left out to fit" if shown["dropped"] else ""
    note(f"about {shown['tokens']:,} tokens, {len(shown['excerpts'])} excerpts{left_out}; prompt {shown['digest']}, template {shown['template']}", quiet)


COMMANDS = (prompt,)
