"""The corpus `python`: docstrings of the standard library and the language reference, from the user's own interpreter.

About 2 MB of real prose on every machine. Docstrings are read from source files with `ast`: nothing is imported or run but the
table of help topics.
"""

from __future__ import annotations

import ast
import platform
import re
import sysconfig
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

from autolabel.corpus.report import Report

SHORTEST = 8  # words: "Return self." says nothing
# Vendored, generated or test code: its docstrings are not about Python, or are no prose.
SKIPPED = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "ensurepip", "__pycache__", "pydoc_data"})

_HEADING = re.compile(r"(?m)^[^\n]+\n([=*~^\-])\1{2,}[ \t]*(?:\n|\Z)")

Item = tuple[str, dict[str, str]]  # text, metadata: topic, module, name, kind


def identity() -> str:
    """Which interpreter's documentation it is."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def items(report: Report) -> Iterator[Item]:
    """All texts in a fixed order: modules by name, their docstrings by line, then the help topics by name and section."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).parts):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED.intersection(parts) or parts[0].startswith(("config-", "_sysconfigdata")):
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
            report.add("module that does not parse", f"{module}: {error}")
            continue
        for kind, name, text in _docstrings(tree):
            if len(text.split()) < SHORTEST:
                report.add(f"docstring under {SHORTEST} words", f"{module}.{name}" if name else module)
            else:
                yield text, {"topic": module.split(".")[0], "module": module, "name": name or module, "kind": kind}
    yield from _topics(report)


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """(kind, qualified name, text) of each docstring of a module, in the order of the source."""
    stack: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]] = [("", tree)]
    while stack:
        name, node = stack.pop()
        if text := ast.get_docstring(node, clean=False):
            kind = "module" if isinstance(node, ast.Module) else "class" if isinstance(node, ast.ClassDef) else "function"
            yield kind, name, cleandoc(text)
        inner = [n for n in node.body if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
        stack += [(f"{name}.{n.name}".lstrip("."), n) for n in reversed(inner)]


def _topics(report: Report) -> Iterator[Item]:
    """The language reference as `help()` prints it, cut at its headings: many topics contain others whole, section by section."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        report.add("this interpreter has no help topics", "pydoc_data.topics")
        return
    for topic in sorted(topics):
        for number, section in enumerate(sections(topics[topic])):
            if len(section.split()) < SHORTEST:
                report.add(f"section under {SHORTEST} words", f"{topic}:{number}")
            else:
                yield section, {"topic": "language reference", "module": "pydoc_data.topics", "name": topic, "kind": "topic"}


def sections(text: str) -> list[str]:
    """The bodies between underlined headings, stripped. The headings go: their underlines differ from topic to topic."""
    bodies, at = [], 0
    for heading in _HEADING.finditer(text):
        bodies.append(text[at:heading.start()])
        at = heading.end()
    return [body for part in (*bodies, text[at:]) if (body := part.strip())]
