"""API keys: read from the environment or a file, never stored, logged or shown.

A key is a value that does not print, and pickles as the place where it was found. Its literal text, once read, is taken out
of every log record of this process, and `redact` takes it out of texts that come from a server (some echo the key).
"""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autolabel.errors import SetupError

VARIABLE = "OPENAI_API_KEY"
SHOWN = "[key]"  # what stands in a key's place
SHORTEST = 8  # characters; shorter ones are placeholders of local servers (EMPTY, none, ollama), and words of ordinary text
_hidden: set[str] = set()
_guard = threading.Lock()


class Key:
    """One key and where it was found."""

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str) -> None:
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise SetupError(f"the key in {origin} is no key: it is empty, or has blanks or other characters that no key has")
        self._value, self.origin = value, origin
        hide(value)

    def reveal(self) -> str:
        """The key itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return f"<key from {self.origin}>"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _found, (self.origin,)


def find_key(file: str | os.PathLike[str] | None = None, environment: Mapping[str, str] | None = None) -> Key | None:
    """The first line of `file`, else OPENAI_API_KEY; None where neither is given. Raises SetupError for a file that cannot be read."""
    if file:
        try:
            lines = Path(file).expanduser().read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"the key file {file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
        return Key(lines[0].strip() if lines else "", str(file))
    value = (os.environ if environment is None else environment).get(VARIABLE, "").strip()
    return Key(value, VARIABLE) if value else None


def _found(origin: str) -> Key | None:  # how a key comes out of a pickle: it is read again
    return find_key(None if origin == VARIABLE else origin)


def hide(value: str) -> None:
    """From now on, `value` is in no log record and in no text that went through `redact`."""
    with _guard:
        if len(value) >= SHORTEST and value not in _hidden:
            if not _hidden:
                _filter_records()
            _hidden.add(value)


def redact(text: str) -> str:
    """The text without any hidden value; the longest go first, as one key may begin with another."""
    for value in sorted(_hidden, key=len, reverse=True):
        if value in text:
            text = text.replace(value, SHOWN)
    return text


def _filter_records() -> None:
    """Redact where records are made: filters of loggers miss those of their children, and handlers may come later."""
    make = logging.getLogRecordFactory()

    def factory(*arguments: Any, **named: Any) -> logging.LogRecord:  # Any: whatever logging passes
        record = make(*arguments, **named)
        try:
            said = record.getMessage()
        except Exception:  # wrong arguments: logging itself reports them, with the arguments in full
            said = f"{record.msg} {record.args}"
        if redact(said) != said:
            record.msg, record.args = redact(said), ()
        if record.exc_info and record.exc_info[0]:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if redact(text) != text:
                record.exc_text = redact(text)
        return record

    logging.setLogRecordFactory(factory)
