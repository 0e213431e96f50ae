"""`eval`: runs a suite from eval/suites/ and writes its report, which names the command, the seed, the machine and the date."""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel.assets import eval_path
from autolabel.errors import SettingsError
from autolabel.pipeline.session import versions

if TYPE_CHECKING:
    from autolabel.suites.world import Line

COLUMNS = ("what", "measured", "bar", "held")
KEYS = ("title", "about", "run", "settings", "quick")


@dataclass(frozen=True, slots=True)
class Suite:
    """One file of eval/suites/."""

    name: str
    title: str
    about: str  # what is measured and why, a few sentences
    run: str  # `module:function` below autolabel.suites
    settings: Mapping[str, Any]  # what the function takes
    quick: Mapping[str, Any]  # what replaces some of them for a look


def suites() -> tuple[str, ...]:
    """Names of the suites that come with autolabel."""
    return tuple(sorted(path.stem for path in eval_path("suites").glob("*.toml")))


def read_suite(name: str) -> Suite:
    """A suite by name. Raises SettingsError for one that does not exist or has unknown keys."""
    path = eval_path("suites", f"{name}.toml")
    if name not in suites():
        raise SettingsError(f"there is no suite {name!r}: {', '.join(suites())}")
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read the suite {path}: {error}") from error
    if unknown := sorted(set(table) - set(KEYS)):
        raise SettingsError(f"the suite {path} has no key {unknown[0]!r}; it has {', '.join(KEYS)}")
    return Suite(name, table["title"], table["about"], table["run"], table["settings"], table.get("quick", {}))


def evaluate(name: str, *, seed: int = 0, quick: bool = False, out: str | Path | None = None,
             tell: Callable[[Line], None] = lambda line: None) -> list[Line]:
    """Run a suite; `tell` hears each line as it comes. out: where the report is written (Markdown); nowhere where it is None.

    quick: with the settings for a look, which no report is made of. Raises SettingsError.
    """
    suite = read_suite(name)
    if quick and out is not None:
        raise SettingsError("a quick run makes no report: leave --quick or -o out")
    module, function = suite.run.split(":")
    settings = {**suite.settings, **(suite.quick if quick else {})}
    lines, started = [], time.process_time()
    for line in getattr(importlib.import_module(f"autolabel.suites.{module}"), function)(**settings, seed=seed):
        lines.append(line)
        tell(line)
    if out is not None:
        text = report(suite, settings, lines, seed, time.process_time() - started)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(text, "utf-8")
    return lines


def rows(lines: Iterable[Line]) -> list[tuple[str, str, str, str]]:
    """Rows of COLUMNS."""
    held = {True: "yes", False: "NO", None: ""}
    return [(line.what, line.measured, line.bar, held[line.held]) for line in lines]


def report(suite: Suite, settings: Mapping[str, Any], lines: Iterable[Line], seed: int, seconds: float) -> str:
    """Markdown."""
    found = versions()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}; Python {found['python']}, torch {found.get('torch', '-')}"
    table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows(lines))
    chosen = "\n".join(f"* `{key}` = {value}" for key, value in settings.items())
    return (f"# {suite.title}\n\n{suite.about.strip()}\n\n`autolabel eval {suite.name} --seed {seed}`, {datetime.date.today().isoformat()}. "
            f"Machine: {machine}. {seconds:,.0f} s of CPU time.\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n{table}\n\nSettings:\n\n{chosen}\n")
