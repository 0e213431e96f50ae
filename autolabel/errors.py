"""The tree of things that go wrong. Catch the branch you mean.

    AutolabelError                 anything this package raises on purpose
    ├── SetupError                 the user's mistake or set-up: one line, no traceback, exit code 2
    │   ├── CorpusError            a corpus that cannot be read, or is too small for three splits
    │   ├── SubjectError           a model folder that cannot be loaded, or has no neurons of the kind asked for
    │   ├── UnitError              an address that cannot be read, or does not exist (the message says which do)
    │   ├── SettingsError          an unknown key, a value out of range
    │   ├── ExtraError             an optional package is missing (the message names the extra)
    │   ├── QueryError             SQL that is refused or wrong
    │   └── CatalogueError         the file is not a catalogue, newer, corrupt, or holds something else under this name
    │       └── LockedError        another process may write to it (the message names it)
    ├── PatternError               a pattern that does not parse: message, position, line, column
    ├── ReplyError                 an LLM's reply that cannot be read; carries the reply
    ├── StoppedError               stopped by budget, quota or time; resumable, exit code 3
    └── CheckError                 a check did not hold, exit code 4
"""

from __future__ import annotations


class AutolabelError(Exception):
    """Anything this package raises on purpose. `exit_code` is what the command line ends with."""

    exit_code = 2


class SetupError(AutolabelError):
    """The user's mistake or set-up: shown as one line without a traceback."""


class CorpusError(SetupError):
    """A corpus that cannot be read, or has too few documents for three splits."""


class SubjectError(SetupError):
    """A model that cannot be loaded, or has no neurons of the kind asked for."""


class UnitError(SetupError):
    """A unit, layer or site that cannot be read or does not exist."""


class SettingsError(SetupError):
    """An unknown setting, or a value out of its range."""


class ExtraError(SetupError):
    """An optional package is missing."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'autolabel[{extra}]'")
        self.package, self.extra = package, extra


class QueryError(SetupError):
    """SQL that is refused, wrong, or over its limits."""


class CatalogueError(SetupError):
    """The file is not a catalogue, is newer than this program, is corrupt, or holds something else under this name."""


class LockedError(CatalogueError):
    """Another process may write to the catalogue; the message names it."""


class PatternError(AutolabelError):
    """A pattern that does not parse. `position` is the character offset in the text that was given."""

    def __init__(self, message: str, text: str = "", position: int = 0) -> None:
        line = text.count("\n", 0, position) + 1
        column = position - (text.rfind("\n", 0, position) + 1) + 1
        super().__init__(f"{message} (line {line}, column {column})" if text else message)
        self.message, self.text, self.position, self.line, self.column = message, text, position, line, column


class ReplyError(AutolabelError):
    """An LLM's reply that cannot be read. `reply` is kept as it came."""

    def __init__(self, message: str, reply: str) -> None:
        super().__init__(message)
        self.reply = reply


class StoppedError(AutolabelError):
    """Stopped by budget, quota or time. The same command goes on where it stopped."""

    exit_code = 3


class CheckError(AutolabelError):
    """A check did not hold."""

    exit_code = 4
