"""The closed list of classes: what each one holds for.

Word classes are properties of a word's characters and mark all its tokens. `url`, `email` and `code` are stretches of text
and mark every token they overlap. `any` and `space` are about tokens; `start` and `end` about the excerpt's first and last
word; `name` about a word and the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import re2
import regex

MAX_PROGRAM = 600  # instructions of a regular expression, its Unicode classes counted as byte classes: bounds nested repetition
MAX_PROGRAM_UTF8 = 20_000  # the same, Unicode classes spelt out
# Unicode scripts, as `class` names them
SCRIPTS: tuple[str, ...] = (
    "arabic", "armenian", "bengali", "cherokee", "cyrillic", "devanagari", "ethiopic", "georgian", "greek", "gujarati", "gurmukhi",
    "han", "hangul", "hebrew", "hiragana", "kannada", "katakana", "khmer", "lao", "latin", "malayalam", "mongolian", "myanmar",
    "oriya", "sinhala", "syriac", "tamil", "telugu", "thaana", "thai", "tibetan",
)
ANY, SPACE = "any", "space"  # of tokens
EDGES: tuple[str, ...] = ("start", "end")  # first and last word of the excerpt
STRETCHES: dict[str, str] = {
    # RE2 syntax, over the excerpt's text
    "url": r"(?i)\b(?:https?|ftp)://[^\s<>\"'()\[\]{}]+|\bwww\.[^\s<>\"'()\[\]{}]+",
    "email": r"(?i)\b[a-z0-9][a-z0-9._%+-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)+\b",
    # a call, an identifier with an underscore or a hump inside, an operator that prose does not use
    "code": r"\b[A-Za-z_][A-Za-z0-9_.]*\(|\b[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*_[A-Za-z0-9_]+\b"
            r"|\b_+[A-Za-z][A-Za-z0-9_]*\b|\b[a-z]+[a-z0-9]*(?:[A-Z][a-z0-9]+)+\b"
            r"|[=!<>+*/%-]=|->|=>|::|&&|\|\||[{};]|\b[a-z_]+\.[a-z_]+\.[a-z_]+\b|</?[a-z]+>|`[^`\n]+`",
}
_SCRIPT = {name: regex.compile(rf"\p{{Script={name.title()}}}", regex.V1) for name in SCRIPTS}  # names of our own list only
_EMOJI = regex.compile(r"[\p{Emoji_Presentation}\U0001F1E6-\U0001F1FF]|\p{Extended_Pictographic}\uFE0F|\p{Emoji}\uFE0F?\u20E3", regex.V1)
_MARK = regex.compile(r"[\p{P}\p{S}\p{M}]+", regex.V1)
_SENTENCE_END = frozenset(".!?…。！？:\"“”\u2018'(")


def _cased(word: str) -> str:
    return "".join(c for c in word if c.isalpha() and c.lower() != c.upper())


def is_word(word: str) -> bool:
    """Has a letter or a digit."""
    return any(c.isalnum() for c in word)


def is_digit(word: str) -> bool:
    """A number in digits: 7, 1,000.5, 1999; not 4th."""
    return any(c.isdecimal() for c in word) and not any(c.isalpha() for c in word)


def is_punct(word: str) -> bool:
    """Punctuation or symbols only, emoji excepted."""
    return bool(_MARK.fullmatch(word)) and not is_emoji(word)


def is_upper(word: str) -> bool:
    """Two or more letters with case, all capitals: NASA."""
    letters = _cased(word)
    return len(letters) > 1 and letters == letters.upper() and letters != letters.lower()


def is_title(word: str) -> bool:
    """A capital, then small letters only: Paris, I."""
    letters = _cased(word)
    return bool(letters) and letters[0] != letters[0].lower() and letters[1:] == letters[1:].lower()


def is_mixed(word: str) -> bool:
    """Capitals and small letters in another order: iPhone, McDonald."""
    letters = _cased(word)
    return letters != letters.lower() and letters != letters.upper() and not is_title(word)


def is_emoji(word: str) -> bool:
    """Holds a character that is shown as a picture."""
    return not word.isascii() and bool(_EMOJI.search(word))


WORDWISE: dict[str, Callable[[str], bool]] = {
    "word": is_word, "digit": is_digit, "punct": is_punct, "upper": is_upper, "title": is_title, "mixed": is_mixed, "emoji": is_emoji,
}
NAME = "name"  # begins with a capital, and no sentence begins there
CLASSES: tuple[str, ...] = (ANY, "word", "digit", "punct", SPACE, "upper", "title", "mixed", NAME, "url", "email", "code", "emoji",
                            *EDGES, *SCRIPTS)


def holds(name: str, words: Iterable[str]) -> list[bool]:
    """For each word, whether the word class or script `name` holds."""
    if name in _SCRIPT:
        search = _SCRIPT[name].search
        return [bool(search(word)) for word in words] if name != "latin" else [_is_latin(word) for word in words]
    return [WORDWISE[name](word) for word in words]


def _is_latin(word: str) -> bool:
    # ASCII is nearly all of most texts: no need to ask the Unicode tables
    return any(c.isalpha() for c in word) if word.isascii() else bool(_SCRIPT["latin"].search(word))


def may_be_name(word: str) -> bool:
    """Whether a word looks like a name, wherever it stands: a capital first (not the pronoun I), then anything."""
    letters = _cased(word)
    return bool(letters) and letters[0] != letters[0].lower() and not (word == "I" or word.startswith(("I'", "I’")))


def ends_sentence(word: str) -> bool:
    """Whether a capital after `word` may be there for the sentence's sake."""
    return word in _SENTENCE_END or word.endswith((".", "!", "?"))


def stretch(name: str) -> re2._Regexp:
    """The compiled regular expression of `url`, `email` or `code`."""
    return compile_regex(STRETCHES[name])


def compile_regex(pattern: str) -> re2._Regexp:
    """RE2 with its limits: linear time, 4 MiB, no captures kept. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 4 << 20
    return re2.compile(pattern.encode("utf-8"), options)


def oversize(pattern: str) -> int:
    """How many instructions a regular expression has where that is too many to run quickly, else 0. Raises re2.error."""
    size, shape = int(compile_regex(pattern).programsize), _program_shape(pattern)
    return max(size, shape) if size > MAX_PROGRAM_UTF8 or shape > MAX_PROGRAM else 0


def _program_shape(pattern: str) -> int:
    """Instructions when characters are bytes: \\pL is then small, and what is left is the pattern's own size."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    try:
        return int(re2.compile(pattern.encode("utf-8"), options).programsize)
    except re2.error:  # scripts beyond Latin-1 are empty classes there, which is fine; anything else was refused before
        return 0
