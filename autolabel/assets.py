"""Finds prompts/, eval/ and data/: inside the installed wheel (`autolabel/_assets`), or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from autolabel.errors import SettingsError, SetupError

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


def prompts_path(*parts: str, own: str | Path | None = None) -> Path:
    """A file or folder below prompts/; it need not exist. `own`: the user's folder, whose files come first. Raises SettingsError."""
    if own:
        if not Path(own).is_dir():
            raise SettingsError(f"the folder of prompts {own} does not exist")
        if (mine := Path(own).joinpath(*parts)).is_file():
            return mine
    return root().joinpath("prompts", *parts)


def read_prompt(*parts: str, own: str | Path | None = None) -> str:
    """The text of a file below prompts/, the user's own folder searched first. Raises SettingsError."""
    path = prompts_path(*parts, own=own)
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise SettingsError(f"there is no prompt {'/'.join(parts)}{f' in {own} nor' if own else ''} among those that come with autolabel") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the prompt {path}: {error}") from error


def eval_path(*parts: str) -> Path:
    """A file or folder below eval/; it need not exist."""
    return root().joinpath("eval", *parts)
