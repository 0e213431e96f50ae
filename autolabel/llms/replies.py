"""JSON in what an LLM says: the elements of one named list, as far as they can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_START = re.compile(r'\{\s*"(\w+)"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")


def entries(text: str, key: str) -> Iterator[tuple[object, int]]:
    """The elements of the list in `{"KEY": [...]}` and where each ends, up to what is no JSON (a reply may be broken off).

    Text around it does not matter; of several such lists the last counts: some models think aloud first.
    """
    starts = [m.end() for m in _START.finditer(text) if m[1] == key]
    if not starts:
        return
    decoder, at = json.JSONDecoder(), starts[-1]
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text
        try:
            entry, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield entry, at
