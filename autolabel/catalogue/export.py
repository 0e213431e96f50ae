"""A view or a query as a file: parquet, csv, jsonl. Written under another name, synced, then renamed: old or new, never half."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from autolabel.catalogue import locked
from autolabel.catalogue.schema import VIEWS
from autolabel.catalogue.snapshot import sync_folder
from autolabel.errors import QueryError, SetupError

Format = Literal["parquet", "csv", "jsonl"]
FORMATS: tuple[Format, ...] = ("parquet", "csv", "jsonl")


def export(path: Path, what: str, target: Path, format: str | None = None, *, timeout: float = 3600.0, memory: str = "4GiB") -> int:
    """Write `what` (a view's name or one statement) of the catalogue `path` to `target`; how many rows.

    `format` is taken from the ending where it is None. In csv, text that begins with = + - @ (what a spreadsheet would run)
    gets a ' in front. The statement runs like a user's: in the locked profile, in a child, and reaches no file but the target.
    Raises QueryError, SetupError.
    """
    chosen = format or target.suffix.removeprefix(".").lower()
    if chosen not in FORMATS:
        raise QueryError(f"cannot export as {chosen or 'a file without ending'!r}: choose {', '.join(FORMATS)}")
    if what.isidentifier() and what not in VIEWS:
        raise QueryError(f"there is no view {what!r}: choose {', '.join(VIEWS)}, or write a SELECT statement")
    query = f"SELECT * FROM {what}" if what in VIEWS else what
    target = target.absolute()
    if not target.parent.is_dir():
        raise SetupError(f"cannot write {target}: there is no folder {target.parent}")
    temporary = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        result = locked.run(path, query, timeout=timeout, memory=memory, export={"target": str(temporary), "format": chosen})
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise SetupError(f"cannot write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return int(result.rows[0][0])
