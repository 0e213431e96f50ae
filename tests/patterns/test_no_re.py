"""Regular expressions from outside run on RE2 alone: `re` and `regex` see only patterns that are written in the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import autolabel

FUNCTIONS = {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn", "template"}
# f-strings over names of a closed list, or over an escaped word of our own, in the same file
ALLOWED = {("patterns/classes.py", r"\p{Script="), ("render.py", "<<")}


def offences(source: str, name: str) -> list[str]:
    tree = ast.parse(source)
    modules = {"re", "regex"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {a.asname for a in node.names if a.name in ("re", "regex") and a.asname}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("re", "regex") and any(a.name in FUNCTIONS for a in node.names):
            found.append(f"{name}:{node.lineno} imports functions of {node.module} by name")
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS
                and isinstance(node.func.value, ast.Name) and node.func.value.id in modules):
            continue
        pattern = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "pattern"), None)
        if isinstance(pattern, ast.Constant) and isinstance(pattern.value, str):
            continue
        head = pattern.values[0] if isinstance(pattern, ast.JoinedStr) else None
        if isinstance(head, ast.Constant) and (name, head.value) in ALLOWED:
            continue
        found.append(f"{name}:{node.lineno} runs {node.func.value.id}.{node.func.attr} on a pattern that is no literal")
    return found


def test_re_is_never_used_on_a_pattern_from_outside() -> None:
    root = Path(autolabel.__file__).parent
    found = [o for path in sorted(root.rglob("*.py")) if "_assets" not in path.parts
             for o in offences(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix())]
    assert found == []


@pytest.mark.parametrize("source", ["import re\nre.search(x, 'a')", "import regex as r\nr.compile(f'{x}')", "from re import match\nmatch(x, y)", "import re\nre.sub(pattern=x, repl='', string='')"])
def test_the_guard_sees_what_it_should(source: str) -> None:
    assert offences(source, "x.py")
    assert not offences("import re\nre.search('a+', x)", "x.py")
