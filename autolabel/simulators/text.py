"""What simulators and scorers send: a label on one line, and the templates of `prompts/`."""

from __future__ import annotations

import json
from functools import lru_cache

from autolabel.assets import read_prompt
from autolabel.explainers.hygiene import tidy
from autolabel.prompts import Template, check_like, parse


def clean(label: str) -> str:
    """A label in plain sight on one line, whoever wrote it."""
    return tidy(label)[0]


def quoted(label: str) -> str:
    """A label in quotes, on one line."""
    return json.dumps(clean(label), ensure_ascii=False)


def template(name: str, own: str | None = None) -> Template:
    """A file of prompts/, the user's own folder searched first; one of the user's has the variables of the shipped one. Raises SettingsError."""
    return _parsed(name, read_prompt(f"{name}.md", own=own), read_prompt(f"{name}.md") if own else "")


@lru_cache(maxsize=64)
def _parsed(name: str, text: str, shipped: str) -> Template:
    template = parse(name, text)
    if shipped and shipped != text:
        check_like(template, parse(name, shipped))
    return template
