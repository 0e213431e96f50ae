"""What the tables are called, what identifies a row, and how a connection is set up."""

from __future__ import annotations

from pathlib import Path

SQL = Path(__file__).parent / "sql"
FORMAT = "autolabel-catalogue"  # meta.format of every catalogue
STORAGE = "v1.4.0"  # the oldest DuckDB that must be able to read the file: the current long-term release

# What identifies a row: `insert(..., ignore_existing=True)` leaves out rows whose key is there already.
KEYS: dict[str, tuple[str, ...]] = {
    "runs": ("id",),
    "models": ("name",),
    "corpora": ("id",),
    "t_documents": ("corpus_id", "id"),
    "bands": ("corpus_id", "document", "band"),
    "t_excerpts": ("corpus_id", "id"),
    "units": ("model", "layer", "site", "neuron", "side"),
    "activations": ("model", "layer", "site", "neuron", "side", "split", "band", "rank"),
    "type_means": ("model", "layer", "side", "type"),
    "position_means": ("model", "layer", "side", "position"),
    "priority": ("model", "layer", "side", "split", "neuron", "rank"),
    "explanations": ("id",),
    "t_senses": ("model", "layer", "site", "neuron", "side", "sense"),
    "simulations": ("explanation", "simulator", "excerpt"),
    "scores": ("explanation", "split", "scorer", "simulator"),
    "baselines": ("model", "layer", "side", "neuron"),
    "choices": ("model", "layer", "site", "neuron", "side"),
    "t_failures": ("run", "model", "layer", "site", "neuron", "side", "explainer", "stage", "kind"),
    "t_audits": ("model", "number"),
    "t_accounting": ("model", "layer", "site", "scope", "predictor"),
    "t_kinds": ("model", "layer", "site", "neuron", "side"),
    "t_nulls": ("model", "layer", "site", "neuron", "side", "kind"),
    "calls": ("digest",),
    "prompts_excerpts": ("call", "excerpt"),
    "batches": ("key",),
    "elsewhere": ("id",),
    "t_validity": ("elsewhere", "explanation", "subgroup"),
    "t_stale": ("subject_hash", "explanation"),
    "vectors": ("embedder", "text"),
}
TABLES = tuple(KEYS)  # all but the two the store keeps for itself: meta, ledger
VIEWS = ("neurons", "labels", "candidates", "exemplars", "leaderboard", "failures", "documents", "excerpts", "audits", "coverage", "accounting",
         "kinds", "senses",
         "validity", "weakest", "stale", "nulls")


def table_name(name: str) -> str:
    """The base table of a name: `documents` -> `t_documents`. Raises KeyError for a table that does not exist."""
    if name in KEYS:
        return name
    if f"t_{name}" in KEYS:
        return f"t_{name}"
    raise KeyError(f"no table {name!r}; there are {', '.join(TABLES)}")


def read_config(memory: str = "512MB", threads: int = 2) -> dict[str, str]:
    """The locked profile: a catalogue is code (its views run when they are read), so every reader is fenced in.

    Nothing outside the file can be reached, nothing is spilled to disk, no extension is loaded, and none of it can be undone.
    """
    return _FENCE | {"memory_limit": memory, "threads": str(threads), "max_temp_directory_size": "0B"}


def write_config(memory: str = "512MB") -> dict[str, str]:
    """The same for the writer, whose sorts may spill beside the file.

    One thread: a second one fills row groups of its own and costs a large insert a quarter more. No vacuum: to spare one row group it
    writes up to four anew, a third of the work of an extraction's commits; row groups of which all rows were deleted go without it.
    """
    return _FENCE | {"memory_limit": memory, "threads": "1", "max_vacuum_tasks": "0"}


_FENCE = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
