"""The house itself: imports go down, the public names are exact, importing is light, every command is documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import autolabel
from tests.conftest import ROOT

PACKAGE = ROOT / "autolabel"
FLOORS: tuple[tuple[str, ...], ...] = (
    ("types", "errors", "threads", "memory", "compiled"),
    ("protocols", "registry", "assets", "settings"),
    ("excerpts", "neurons", "stats", "render", "prompts", "patterns", "hierarchy", "quantised", "passes"),
    ("catalogue",),
    ("llms", "subjects", "embeddings"),
    ("corpus", "ingest", "elsewhere", "sampling", "checkpoint", "extraction", "splits"),
    ("explainers", "simulators", "scorers", "verdicts", "audits", "unitkinds", "polysemy"),
    ("pipeline", "evaluate", "suites", "comparing", "demo", "audited", "probing", "card", "why", "summary", "curves", "searching", "status", "doctor"),
    ("cli", "web", "__main__"),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "_assets" not in p.parts)


def room(path: Path) -> str:
    """The top-level name below autolabel/: `autolabel/cli/main.py` -> `cli`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def type_checking_only(tree: ast.Module) -> set[ast.stmt]:
    """Statements below `if TYPE_CHECKING`: names of types, no dependency at run time."""
    return {inner for node in ast.walk(tree) if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
            for child in node.body for inner in ast.walk(child) if isinstance(inner, ast.stmt)}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in FLOOR, f"{here} stands on no floor: add it to FLOORS"
    tree = ast.parse(path.read_text("utf-8"))
    light = type_checking_only(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("autolabel") and node not in light:
            parts = node.module.split(".")
            targets = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names if alias.name in FLOOR]
            for target in targets:
                assert FLOOR[target] <= FLOOR[here], f"{path.name} (floor {FLOOR[here]}) imports {target} (floor {FLOOR[target]})"


def test_public_names_are_exact() -> None:
    assert list(autolabel.__all__) == sorted(autolabel.__all__)
    assert set(autolabel.__all__) == set(autolabel._WHERE)
    for name in autolabel.__all__:
        assert getattr(autolabel, name) is not None
    with pytest.raises(AttributeError):
        autolabel.no_such_name  # noqa: B018


@pytest.mark.parametrize("statement", ["import autolabel", "import autolabel.cli.main"])
def test_importing_is_light(statement: str) -> None:
    heavy = "[m for m in ('torch', 'transformers', 'duckdb', 'numpy', 'scipy', 'sklearn', 'openai', 'numba') if m in sys.modules]"
    code = f"import sys; {statement}; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_is_documented() -> None:
    from autolabel.cli import cli

    readme = (ROOT / "README.md").read_text("utf-8")
    for name, command in cli.commands.items():
        assert command.help, f"{name} has no help"
        assert f"autolabel {name}" in readme, f"{name} is not in the README"


def test_readme_is_generated_from_the_code() -> None:
    done = subprocess.run([sys.executable, "-m", "cogapp", "--check", "README.md"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_too_long_and_no_machine_path_is_named() -> None:
    for path in modules():
        text = path.read_text("utf-8")
        assert text.count("\n") <= 350, f"{path} asks to be split"
        assert not re.search(r"/(?:home|root|work|Users)/", text), f"{path} names a path of some machine"
        if room(path) != "cli":
            tree = ast.parse(text)
            assert not [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"], f"{path} prints"


def test_no_public_name_is_hidden_by_a_module_of_the_same_name() -> None:
    code = ("import autolabel as al, importlib, pkgutil\n"
            "for m in pkgutil.iter_modules(al.__path__):\n"
            "    if not m.name.startswith('__'): importlib.import_module(f'autolabel.{m.name}')\n"
            "print([n for n in al.__all__ if al._WHERE[n] and not callable(getattr(al, n))])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
