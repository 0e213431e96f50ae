"""Exemplars to text and text to numbers: what an LLM sees of a unit, and how what it says is read.

Levels are 0..10: the activation over the unit's largest, in tenths, rounded (Bills et al. 2023 discretise the same way).
Text from the corpus is untrusted: what cannot be seen is written as an escape, and the marks around excerpts and active
tokens carry a word of letters that occurs in none of the texts, drawn anew for every prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import regex

from autolabel.types import ActivationRecord, Excerpt, hash63

TOP = 10  # the highest level
ACTIVE = 2  # the smallest level that is marked: about .2 of the largest activation, as tau
REACH = 5  # tokens within which a window is moved to the edge of a word
EMPTY = r"\_"  # a token that covers no character of its own (a later byte of a character)
BAR = r"\|"  # a bar inside a mark that has a grade
_NAMED = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
_NAMES = {escape: char for char, escape in _NAMED.items()}
# controls, zero-width and bidirectional marks, tags, variation selectors, line separators, halves of surrogate pairs
_UNSEEN = regex.compile(r"[\\\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]")
_ESCAPE = re.compile(r"\\(?:[\\tnr|]|u[0-9a-f]{4}|U[0-9a-f]{8})|\\")
_LINE = re.compile(r"(.*)\t *(10|[0-9]) *", re.DOTALL)
_JOINT = regex.compile(r"^[\p{L}\p{M}\p{N}]*$")  # two characters between which no word ends
_LETTERS = "bcdfghjkmnpqrstvwxz"  # no vowels: no word of any text
_EXAMPLE = regex.compile(r"(\s*)(?:\{([^{}|]+)\|(10|[0-9])\}|(\{|[\p{L}\p{M}\p{N}]+|[^\s{]))")


def level(activation: float, largest: float) -> int:
    """An activation in tenths of the unit's largest, 0 to 10; halves go up. 0 where the unit never fires."""
    return min(TOP, int(TOP * max(activation, 0.0) / largest + 0.5)) if largest > 0 else 0


def show(text: str) -> str:
    """Text on one line in which everything can be seen. `read_shown(show(text)) == text`."""
    return str(_UNSEEN.sub(lambda m: _NAMED.get(m[0]) or (f"\\u{ord(m[0]):04x}" if ord(m[0]) < 0x10000 else f"\\U{ord(m[0]):08x}"), text))


def read_shown(text: str) -> str:
    """What `show` was given. Raises ValueError for a backslash that `show` does not write."""
    def one(m: re.Match[str]) -> str:
        if m[0] == "\\":
            raise ValueError(f"a stray backslash at character {m.start()} of {text!r}")
        return _NAMES.get(m[0]) or ("|" if m[0] == BAR else chr(int(m[0][2:], 16)))
    return _ESCAPE.sub(one, text)


def show_token(token: str) -> str:
    """A token on one line, never empty."""
    return show(token) or EMPTY


def read_token(text: str) -> str:
    """What `show_token` was given. Raises ValueError."""
    return "" if text == EMPTY else read_shown(text)


def pieces(excerpt: Excerpt) -> tuple[str, ...]:
    """The text of each token, with what stands between it and the token before; together they are the excerpt's text.

    Several tokens of one character: the first has it, the others are empty.
    """
    found, last = [], 0
    for _, end in excerpt.offsets:
        found.append(excerpt.text[last:end] if end > last else "")
        last = max(last, end)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Snippet:
    """What is shown of one excerpt."""

    tokens: tuple[str, ...]  # as `pieces`
    levels: tuple[int, ...]  # 0..10, one per token
    before: bool = False  # text before it was left out
    after: bool = False  # text after it was left out
    excerpt: int | None = None  # Excerpt.id; None for a few-shot example

    @property
    def text(self) -> str:
        """The tokens together."""
        return "".join(self.tokens)

    @property
    def highest(self) -> int:
        """The highest level."""
        return max(self.levels, default=0)


def snippet(record: ActivationRecord, largest: float, window: int = 0, at: int | None = None) -> Snippet:
    """A record in levels. With `window`, at most so many tokens around the strongest (around token `at`), from the start of a word."""
    tokens, levels = pieces(record.excerpt), tuple(level(a, largest) for a in record.activations)
    if len(levels) != len(tokens):
        raise ValueError(f"excerpt {record.excerpt.id} has {len(tokens)} tokens and {len(levels)} activations")
    whole = Snippet(tokens, levels, excerpt=record.excerpt.id)
    if not window or len(tokens) <= window:
        return whole
    peak = at if at is not None else levels.index(whole.highest)  # of the level, so that a last bit of the activation does not move the window
    first = min(max(0, peak - window * 2 // 3), len(tokens) - window)
    last = first + window
    first += next((i for i in range(REACH) if first and first + i <= peak and tokens[first + i][:1].isspace()), 0)
    last -= next((i for i in range(REACH) if last < len(tokens) and last - i > peak and tokens[last - i][:1].isspace()), 0)
    return replace(whole, tokens=tokens[first:last], levels=levels[first:last], before=first > 0, after=last < len(tokens))


def example(text: str) -> Snippet:
    """A few-shot excerpt as it is written by hand: words, and `{word|7}` where the unit is active at level 7."""
    found = [(m[1] + (m[2] or m[4]), int(m[3] or 0)) for m in _EXAMPLE.finditer(text)]
    return Snippet(tuple(token for token, _ in found), tuple(n for _, n in found))


def nonce(seed: object, texts: Iterable[str], length: int = 2) -> str:
    """Letters that occur in none of the texts, drawn by `seed`: no text can hold a mark made with them."""
    whole = "\n".join(texts)
    for attempt in range(10_000):
        number, word = hash63("nonce", seed, attempt), ""
        for _ in range(length + attempt // 32):
            number, letter = divmod(number, len(_LETTERS))
            word += _LETTERS[letter]
        if word not in whole:
            return word
    raise AssertionError("no such word")


def token_lines(one: Snippet, levels: bool = True) -> str:
    """One line per token: token, tab, level (Bills et al. 2023)."""
    return "\n".join(f"{show_token(token)}\t{n}" if levels else show_token(token) for token, n in zip(one.tokens, one.levels, strict=True))


def read_token_lines(text: str) -> list[tuple[str, int]]:
    """(token, level) of every line. Raises ValueError for a line of another form."""
    found = []
    for line in text.split("\n"):
        if not (m := _LINE.fullmatch(line)):
            raise ValueError(f"{line!r} is no token, tab and number from 0 to 10")
        found.append((read_token(m[1]), int(m[2])))
    return found


def aligned(reply: str, tokens: Sequence[str]) -> list[int | None]:
    """The levels that a reply gives to these tokens, line by line and checked token by token; None from the first line that does not fit."""
    found: list[int | None] = [None] * len(tokens)
    lines = reply.strip("\n").split("\n")
    for i, (line, token) in enumerate(zip(lines, tokens, strict=False)):
        m = _LINE.fullmatch(line)
        if not m or m[1].strip() != show_token(token).strip():
            break
        found[i] = int(m[2])
    return found


def spans(one: Snippet, least: int = ACTIVE, words: bool = False) -> list[tuple[int, int, int]]:
    """(first token, one past the last, highest level) of each run of active tokens; `words`: a run stays within one word."""
    found: list[tuple[int, int, int]] = []
    for i, (token, n) in enumerate(zip(one.tokens, one.levels, strict=True)):
        if n < least:
            continue
        if found and found[-1][1] == i and not (words and not _JOINT.search(one.tokens[i - 1][-1:] + token[:1])):
            found[-1] = (found[-1][0], i + 1, max(found[-1][2], n))
        else:
            found.append((i, i + 1, n))
    return found


def marked(one: Snippet, word: str, *, grades: bool = False, least: int = ACTIVE) -> str:
    """The text on one line, active runs as <<WORD:run:WORD>> (Paulo et al. 2024); `grades`: active words as <<WORD:text|LEVEL>>."""
    out, at = ["..." if one.before else ""], 0
    for first, last, highest in spans(one, least, words=grades):
        run = "".join(one.tokens[first:last])
        body = run.lstrip() or run
        out.append(show("".join(one.tokens[at:first]) + run[:len(run) - len(body)]))
        out.append(f"<<{word}:{show(body).replace('|', BAR)}|{highest}>>" if grades else f"<<{word}:{show(body)}:{word}>>")
        at = last
    out.append(show("".join(one.tokens[at:])))
    return "".join(out) + (" ..." if one.after else "")


def plain(one: Snippet) -> str:
    """The text on one line, without marks."""
    return ("..." if one.before else "") + show(one.text) + (" ..." if one.after else "")


def read_marked(text: str, word: str, *, grades: bool = False) -> tuple[str, list[tuple[str, int | None]]]:
    """The plain text of a marked line, and (text, level) of each mark; level is None without `grades`."""
    marks: list[tuple[str, int | None]] = []

    def one(m: re.Match[str]) -> str:
        marks.append((read_shown(m[1]), int(m[2]) if grades else None))
        return m[1]
    own = re.escape(word)  # a word of letters that we drew
    if grades:
        text = re.sub(rf"<<{own}:((?:\\.|[^\\|])*)\|(\d+)>>", one, text, flags=re.DOTALL)
    else:
        text = re.sub(rf"<<{own}:(.*?):{own}>>", one, text, flags=re.DOTALL)
    return read_shown(text), marks


def active_list(one: Snippet, least: int = ACTIVE) -> str:
    """`word (9), other (4)`: the active words, each once, strongest first."""
    best: dict[str, int] = {}
    for first, last, n in spans(one, least, words=True):
        word = show("".join(one.tokens[first:last]).strip()) or EMPTY
        best[word] = max(best.get(word, 0), n)
    return ", ".join(f"{word} ({n})" for word, n in sorted(best.items(), key=lambda item: (-item[1], item[0])))


def listed(tokens: Iterable[str]) -> str:
    """Tokens in a row, each in quotes."""
    return ", ".join(f'"{show_token(token)}"' for token in tokens)
