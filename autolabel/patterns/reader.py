"""JSON that knows where each of its values stands, so that an error can point at the offending one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]  # there since 2.6, not in typeshed

from autolabel.errors import PatternError

MAX_BYTES = 65_536  # of a whole pattern
MAX_DEPTH = 8  # of nesting; a well-formed pattern needs 6
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?(?![0-9a-zA-Z.+-])")
_LITERALS: tuple[tuple[str, bool | None], ...] = (("true", True), ("false", False), ("null", None))


@dataclass(frozen=True, slots=True)
class Node:
    """One JSON value and where it begins."""

    value: dict[str, Node] | list[Node] | str | int | float | bool | None
    position: int  # character offset of its first character
    keys: dict[str, int] = field(default_factory=dict)  # of an object: character offset of each key

    @property
    def kind(self) -> str:
        """What a person would call it."""
        if self.value is None:
            return "null"
        names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
        return names.get(type(self.value), "a number")


def read(text: str) -> Node:
    """The one JSON value that `text` holds. Strict: no duplicate keys, NaN, comments, lone surrogates. Raises PatternError."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise PatternError(f"a pattern may have {MAX_BYTES:,} bytes at most", text, 0)
    start = _skip(text, 0)
    node, end = _value(text, start, 1)
    end = _skip(text, end)
    if end < len(text):
        raise PatternError("something follows the end of the pattern", text, end)
    return node


def _skip(text: str, at: int) -> int:
    m = _SPACE.match(text, at)
    return m.end() if m else at


def _value(text: str, at: int, depth: int) -> tuple[Node, int]:
    if at >= len(text):
        raise PatternError("the text ends where a value should stand", text, at)
    if depth > MAX_DEPTH:
        raise PatternError(f"nested more than {MAX_DEPTH} deep", text, at)
    c = text[at]
    if c == '"':
        string, end = _string(text, at)
        return Node(string, at), end
    if c == "{":
        return _object(text, at, depth)
    if c == "[":
        return _list(text, at, depth)
    for word, value in _LITERALS:
        if text.startswith(word, at):
            return Node(value, at), at + len(word)
    if m := _NUMBER.match(text, at):
        digits = m.group()
        return Node(float(digits) if set(digits) & set(".eE") else int(digits), at), m.end()
    raise PatternError(f"{c!r} does not begin a JSON value", text, at)


def _string(text: str, at: int) -> tuple[str, int]:
    try:
        string, end = scanstring(text, at + 1, True)
    except JSONDecodeError as error:
        raise PatternError(f"not a JSON string: {error.msg[:1].lower()}{error.msg[1:]}", text, min(error.pos, len(text))) from None
    if any("\ud800" <= c <= "\udfff" for c in string):
        raise PatternError("the string holds half a surrogate pair, which is no character", text, at)
    return string, end


def _object(text: str, at: int, depth: int) -> tuple[Node, int]:
    items: dict[str, Node] = {}
    keys: dict[str, int] = {}
    end = _skip(text, at + 1)
    if text.startswith("}", end):
        return Node(items, at, keys), end + 1
    while True:
        if not text.startswith('"', end):
            raise PatternError("a key in double quotes should stand here", text, end)
        key_at = end
        key, end = _string(text, end)
        if key in items:
            raise PatternError(f"the key {key!r} stands here for the second time", text, key_at)
        end = _skip(text, end)
        if not text.startswith(":", end):
            raise PatternError("a colon should stand here", text, end)
        items[key], end = _value(text, _skip(text, end + 1), depth + 1)
        keys[key] = key_at
        end = _skip(text, end)
        if text.startswith("}", end):
            return Node(items, at, keys), end + 1
        if not text.startswith(",", end):
            raise PatternError("a comma or } should stand here", text, end)
        end = _skip(text, end + 1)


def _list(text: str, at: int, depth: int) -> tuple[Node, int]:
    items: list[Node] = []
    end = _skip(text, at + 1)
    if text.startswith("]", end):
        return Node(items, at), end + 1
    while True:
        node, end = _value(text, end, depth + 1)
        items.append(node)
        end = _skip(text, end)
        if text.startswith("]", end):
            return Node(items, at), end + 1
        if not text.startswith(",", end):
            raise PatternError("a comma or ] should stand here", text, end)
        end = _skip(text, end + 1)
