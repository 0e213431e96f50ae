"""What commands that ask an LLM share: flags, the LLM for as long as the command runs, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from autolabel.cli.common import Detail, note, settings_from

if TYPE_CHECKING:
    from autolabel.catalogue import Catalogue
    from autolabel.pipeline.asked import Access

LLM = ("llm", "base_url", "key_file", "budget", "prices", "concurrency", "requests_per_minute", "tokens_per_minute", "prompts")


def access_of(flags: Mapping[str, Any]) -> Access:
    """The settings about an LLM, from flags, environment, autolabel.toml and defaults."""
    from autolabel.pipeline.asked import Access

    s = settings_from(**{name: flags.get(name) for name in (*LLM, "llm_timeout", "device", "dtype")})
    return Access(s.llm, s.base_url, s.key_file, s.budget, s.prices, s.requests_per_minute, s.tokens_per_minute, s.concurrency,
                  s.llm_timeout, s.device, s.dtype)


@contextmanager
def asking(catalogue: Catalogue, flags: Mapping[str, Any], detail: Detail | None = None) -> Iterator[dict[str, Any]]:
    """What a verb takes of an LLM (`llm`, `concurrency`, `prompts`); nothing of it where none is named. What was spent is said at the end."""
    from autolabel.pipeline.asked import asking as opened
    from autolabel.pipeline.asked import spent_line

    access = access_of(flags)
    how = {"prompts": settings_from(prompts=flags.get("prompts")).prompts, "concurrency": access.concurrency}
    if not access.llm:
        yield how
        return
    with opened(catalogue, access, say=lambda text: note(text, flags["quiet"])) as stack:
        if detail is not None:
            detail.text = lambda: spent_line(stack)
        try:
            yield {"llm": stack.llm, **how}
        finally:
            note(f"{access.llm}: {spent_line(stack)}", flags["quiet"])
