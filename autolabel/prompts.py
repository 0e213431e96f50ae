"""Prompt templates and few-shot sets: read, check, fill, digest. The prose lies in `prompts/`; `assets.py` finds it.

A template is a Markdown file. What stands above its first section is for people and never sent. Sections are `## system`,
`## user` and, where an explainer uses them, `## assistant` (the answer to one few-shot example, whose question is `## user`
filled for it) and `## retry` (what is said to a reply that cannot be used). `$name` or `${name}` is a variable, `$$` a
dollar. There is nothing else: no conditions, no loops.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolabel.errors import SettingsError
from autolabel.protocols import Message
from autolabel.types import digest

SECTIONS = ("system", "user", "assistant", "retry")
_HEADING = re.compile(r"^## (\S+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Template:
    """One file of `prompts/`."""

    name: str  # for messages: the file's name without its ending
    sections: Mapping[str, str]  # of SECTIONS
    digest: str  # of the text of the sections


@dataclass(frozen=True)
class Prompt:
    """Exactly what is sent, and what it was made from."""

    messages: tuple[Message, ...]
    template: str  # digest of the template and its few-shot set: `Maker.prompt`
    excerpts: tuple[int, ...] = ()  # Excerpt.id of every excerpt shown
    dropped: int = 0  # excerpts left out so that the prompt fits its budget

    @property
    def digest(self) -> str:
        """Of the messages alone: what labels written by hand cite."""
        return prompt_digest(self.messages)


def prompt_digest(messages: Sequence[Message]) -> str:
    """16 hex digits over roles and contents, in order; anyone who has the messages can compute it."""
    return digest([[message["role"], message["content"]] for message in messages])


def parse(name: str, text: str) -> Template:
    """Read a template. Raises SettingsError: no `## user`, an unknown section, one that comes twice, a stray dollar."""
    text = text.replace("\r\n", "\n")
    found = list(_HEADING.finditer(text))
    sections: dict[str, str] = {}
    for heading, following in zip(found, [*found[1:], None], strict=True):
        section = heading[1]
        if section not in SECTIONS:
            raise SettingsError(f"the prompt {name} has the unknown section {section!r}: known are {', '.join(SECTIONS)}")
        if section in sections:
            raise SettingsError(f"the prompt {name} has the section {section!r} twice")
        sections[section] = text[heading.end():following.start() if following else len(text)].strip("\n")
        if not string.Template(sections[section]).is_valid():
            raise SettingsError(f"the section {section!r} of the prompt {name} has a $ that begins no variable: write $$ for a dollar")
    if "user" not in sections:
        raise SettingsError(f"the prompt {name} has no section `## user`")
    return Template(name, sections, digest(sections))


def check(template: Template, known: Mapping[str, Sequence[str]], required: Mapping[str, Sequence[str]]) -> None:
    """Refuse a template before a call is paid for: section -> variables that may, and that must, occur in it. Raises SettingsError."""
    for section, text in template.sections.items():
        if section not in known:
            raise SettingsError(f"the prompt {template.name} has a section {section!r}, which nothing fills: it may have {', '.join(known)}")
        used = set(string.Template(text).get_identifiers())
        if unknown := sorted(used - set(known[section])):
            raise SettingsError(f"the section {section!r} of the prompt {template.name} has the unknown variable ${unknown[0]}: "
                                f"known are {', '.join('$' + name for name in known[section]) or 'none'}")
    for section, names in required.items():
        if section not in template.sections:
            raise SettingsError(f"the prompt {template.name} has no section `## {section}`")
        used = set(string.Template(template.sections[section]).get_identifiers())
        if missing := [name for name in names if name not in used]:
            raise SettingsError(f"the section {section!r} of the prompt {template.name} lacks the variable ${missing[0]}")


def check_like(template: Template, shipped: Template) -> None:
    """Refuse a template of the user's that uses a variable, or lacks one, other than the shipped one of this name does. Raises SettingsError."""
    known = {section: sorted(set(string.Template(text).get_identifiers())) for section, text in shipped.sections.items()}
    check(template, known, {"user": [name for name in known["user"] if name != "word"]})


def fill(template: Template, section: str, values: Mapping[str, str]) -> str:
    """One section with its variables replaced; what a value holds is never read again. Raises SettingsError for a missing one."""
    try:
        return string.Template(template.sections[section]).substitute(values)
    except KeyError as error:
        raise SettingsError(f"the section {section!r} of the prompt {template.name} needs {error}, which has no value") from None


def conversation(template: Template, values: Mapping[str, str], examples: Sequence[tuple[Mapping[str, str], Mapping[str, str]]] = ()) -> tuple[Message, ...]:
    """System, then user and assistant for each few-shot example (values of either), then user."""
    messages: list[Message] = [{"role": "system", "content": fill(template, "system", values)}] if "system" in template.sections else []
    for question, answer in examples:
        messages.append({"role": "user", "content": fill(template, "user", question)})
        messages.append({"role": "assistant", "content": fill(template, "assistant", answer)})
    messages.append({"role": "user", "content": fill(template, "user", values)})
    return tuple(messages)


def few_shot(name: str, text: str) -> tuple[Mapping[str, Any], ...]:
    """The objects of a JSONL file, one a line. Raises SettingsError with the line that is wrong."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise SettingsError(f"line {number} of the few-shot set {name} is not valid JSON: {error.msg}") from error
        if not isinstance(value, dict):
            raise SettingsError(f"line {number} of the few-shot set {name} is no JSON object")
        found.append(value)
    return tuple(found)
