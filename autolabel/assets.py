"""Finds prompts/, eval/ and data/: inside the installed wheel (`autolabel/_assets`), or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from autolabel.errors import SetupError

PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds prompts/, eval/ and data/. Raises SetupError where there is none."""
    for place in (PACKAGE / "_assets", PACKAGE.parent):
        if (place / "data").is_dir():
            return place
    raise SetupError(f"the folders prompts/, eval/ and data/ are missing beside {PACKAGE}: install autolabel again")


def data_path(*parts: str) -> Path:
    """A file or folder below data/; it need not exist."""
    return root().joinpath("data", *parts)


def prompts_path(*parts: str) -> Path:
    """A file or folder below prompts/; it need not exist."""
    return root().joinpath("prompts", *parts)


def eval_path(*parts: str) -> Path:
    """A file or folder below eval/; it need not exist."""
    return root().joinpath("eval", *parts)
