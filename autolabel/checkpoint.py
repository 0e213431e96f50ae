"""Half-done work beside the catalogue: one .npz of arrays and a line of JSON, replaced atomically, removed at the end."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import CatalogueError

_META = "__meta__"


def save(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write and rename: a reader finds the old file or the new one, never half. Raises CatalogueError when the disk is full.

    meta: any JSON.
    """
    temporary = path.with_name(path.name + ".tmp")
    text = np.frombuffer(json.dumps(dict(meta)).encode(), np.uint8)
    try:
        with temporary.open("wb") as file:
            np.savez(file, **{_META: text, **{f"a/{key}": value for key, value in arrays.items()}})  # type: ignore[arg-type]  # numpy's stub takes the names for its own options
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CatalogueError(f"cannot write the checkpoint {path}: {error.strerror}; make room and run the same command again") from error


def load(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """meta (any JSON) and arrays; None where there is no checkpoint, or one that cannot be read (then the work is done again)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key.removeprefix("a/"): file[key] for key in file.files if key != _META}
            meta = json.loads(bytes(file[_META]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None
    return (meta, arrays) if isinstance(meta, dict) else None
