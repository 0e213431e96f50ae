"""Where a setting comes from: flag, then `AUTOLABEL_<NAME>` in the environment, then autolabel.toml, then the default.

An unknown key is an error that lists the known ones. Nothing here holds a key or a password.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.errors import SettingsError

FILE = "autolabel.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the commands share. One line each: what it is, its unit or range."""

    db: str = "autolabel.duckdb"  # the catalogue's file
    model: str = ""  # a model's name in the catalogue; empty: the only one
    site: str = "mlp"  # where in the block neurons are read
    context: int = 64  # content tokens per excerpt, 8 or more
    max_tokens: int = 0  # stop reading the corpus after about so many content tokens; 0: read all
    batch_size: int = 32  # excerpts per forward pass
    seed: int = 0  # of everything random
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # auto, float32, bfloat16, float16
    threads: int = 0  # CPU threads; 0: what the machine has
    revision: str = ""  # revision of a hub model; empty: the default branch
    text_column: str = "text"  # column that holds the text of .jsonl and .parquet
    split_on: str = ""  # literal text at which a long .txt is cut; empty: <|endoftext|>, else blank lines
    hierarchy: str = ""  # file of a concept hierarchy of your own (TSV, WordNet TSV, SKOS, OWL); empty: the everyday concepts
    base_url: str = ""  # of an OpenAI-compatible server; empty: OPENAI_BASE_URL, else OpenAI's own
    key_file: str = ""  # a file whose first line is the API key; empty: OPENAI_API_KEY
    prices: str = ""  # a price file of your own, read before the one that comes with autolabel
    concurrency: int = 64  # LLM requests in flight at most; fewer where the server says so
    requests_per_minute: float = 0.0  # LLM requests; 0: as many as the server takes
    tokens_per_minute: float = 0.0  # LLM tokens; 0: as many as the server takes
    llm_timeout: float = 120.0  # seconds without a sign of an LLM server
    max_failures: int = 0  # more failed units than this end a command with exit code 1
    prompts: str = ""  # a folder of your own prompt templates, searched before those that come with autolabel
    llm: str = ""  # who is asked: openai/MODEL (any compatible server), local/PATH_OR_ID, scripted/module:function
    budget: str = ""  # dollars that a run must not exceed, as in 5usd; empty: no limit
    timeout: float = 5.0  # seconds that a query of yours may take


RANGES: Mapping[str, tuple[float, float]] = {
    "context": (8, 1_000_000), "batch_size": (1, 65_536), "max_tokens": (0, float("inf")), "threads": (0, 4096),
    "max_failures": (0, float("inf")), "timeout": (0.1, 3600),
    "concurrency": (1, 4096), "requests_per_minute": (0, float("inf")), "tokens_per_minute": (0, float("inf")), "llm_timeout": (1, 86_400),
}


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and where each value came from: `flag`, `environment`, `autolabel.toml` or `default`."""

    settings: Settings
    origins: Mapping[str, str]


def resolve(flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None, file: Path | None = None) -> Resolved:
    """Put the four sources together. `flags` whose value is None were not given. Raises SettingsError."""
    environment = os.environ if environment is None else environment
    fields = {f.name: f for f in dataclasses.fields(Settings)}
    from_file = read_toml(file or Path(FILE)) if file or Path(FILE).is_file() else {}
    unknown = sorted(set(from_file) - set(fields))
    if unknown:
        raise SettingsError(f"{file or FILE} has the unknown key {unknown[0]!r}: known are {', '.join(sorted(fields))}")
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, field in fields.items():
        variable = f"AUTOLABEL_{name.upper()}"
        given = (flags or {}).get(name)
        if given is not None:
            value, origin = given, "flag"
        elif environment.get(variable):
            value, origin = environment[variable], "environment"
        elif name in from_file:
            value, origin = from_file[name], FILE
        else:
            value, origin = field.default, "default"
        values[name], origins[name] = _check(name, value, type(field.default)), origin
    return Resolved(Settings(**values), origins)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a mapping. Raises SettingsError with the line that is wrong."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path} does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def _check(name: str, value: Any, kind: type) -> Any:
    try:
        if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
            raise ValueError
        converted = kind(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name} must be of type {kind.__name__}: {value!r} is not") from error
    low, high = RANGES.get(name, (float("-inf"), float("inf")))
    if kind in (int, float) and not low <= converted <= high:
        raise SettingsError(f"{name} must be between {low:g} and {high:g}, not {converted}")
    return converted
