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
    ├── LLMError                   a call to an LLM that brought no answer; `kind` is what the view `failures` calls it
    │   ├── EndpointError          unreachable, reset, timed out, 5xx: worth another try
    │   ├── RateError              429: worth another try, not before `retry_after` seconds
    │   ├── AuthError              the key is missing or refused: ends the run
    │   ├── QuotaError             the account's quota is used up: pauses the run
    │   ├── RequestError           the request is refused for what it is: the prompt is too long, ...
    │   │   └── ModelError         there is no such model: ends the run
    │   ├── RefusedError           the model refuses, or its filter does
    │   ├── TruncatedError         the reply was cut at the token limit: never parsed
    │   └── ReplyError             a reply that cannot be read; carries the reply
    ├── PendingError               the answer to a batched call is not there yet: no failure, asked again in the next round
    ├── StoppedError               stopped by budget, quota or time; resumable, exit code 3
    │   └── BudgetError            the next call could pass the budget: it was not made
    └── CheckError                 a check did not hold, exit code 4
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from autolabel.types import Usage


class AutolabelError(Exception):
    """Anything this package raises on purpose. `exit_code` is what the command line ends with."""

    exit_code = 2
    state: ClassVar[str] = "stopped"  # of a run that it ends, in the table `runs`


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


class LLMError(AutolabelError):
    """A call to an LLM that brought no answer. `reply` is what came, as it came (empty where nothing did)."""

    kind: ClassVar[str] = "llm"  # in the view `failures`
    retryable: ClassVar[bool] = False  # the same call may succeed later
    fatal: ClassVar[bool] = False  # every further call would end the same way: the run stops, after one clear line

    def __init__(self, message: str, reply: str = "", retry_after: float | None = None, usage: Usage | None = None, sent: bool = True) -> None:
        super().__init__(message)
        self.reply = reply
        self.retry_after = retry_after  # seconds that the server asked to wait, None where it did not say
        self.usage = usage  # what it cost all the same, None where the server did not say
        self.sent = sent  # the request may have reached the model, so that it may be paid for
        self.cost_usd: float | None = None  # of `usage`, set by who knows the prices

class EndpointError(LLMError):
    """The server cannot be reached, broke off, timed out, or answered with a 5xx status."""

    kind, retryable = "server", True


class RateError(LLMError):
    """429: too many requests or tokens. Nothing is sent before `retry_after`."""

    kind, retryable = "rate", True


class AuthError(LLMError):
    """The key is missing or refused."""

    kind, fatal = "auth", True


class QuotaError(LLMError):
    """The account's quota is used up: asked once, then the run pauses."""

    kind, fatal, state = "quota", True, "quota"
    exit_code = 3


class RequestError(LLMError):
    """The request is refused for what it is: a prompt longer than the model's context, ..."""

    kind = "request"


class ModelError(RequestError):
    """The server has no such model: no other request will do better."""

    fatal = True


class RefusedError(LLMError):
    """The model refuses to answer, or a content filter does."""

    kind = "refused"


class TruncatedError(LLMError):
    """The reply was cut at the token limit. It is never parsed."""

    kind = "truncated"


class ReplyError(LLMError):
    """An LLM's reply that cannot be read. `reply` is kept as it came."""

    kind = "reply"


class PendingError(AutolabelError):
    """The answer to a batched call is not there yet: no failure; the next round asks again."""

    exit_code = 0


class StoppedError(AutolabelError):
    """Stopped by budget, quota or time. The same command goes on where it stopped."""

    exit_code = 3


class BudgetError(StoppedError):
    """The next call could pass the budget, so it was not made."""

    state = "budget"


class CheckError(AutolabelError):
    """A check did not hold."""

    exit_code = 4
