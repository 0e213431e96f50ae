"""The regular inflected forms of English words, and back.

-s, -es, -ed, -ing and 's, of those only the ones whose Snowball stem is the word's own, so that `bus` does not match `busing`
by accident of a rule that does not fit. Irregular forms (`went`, `mice`) are terms of their own.
"""

from __future__ import annotations

from functools import lru_cache

from autolabel.patterns import segment

_VOWELS = "aeiou"


@lru_cache(maxsize=1 << 16)
def matches_of(term: str) -> tuple[tuple[str, ...], ...]:
    """The case-folded word sequences that count as `term`: itself first, then its inflected forms."""
    words = folded(term)
    return tuple((*words[:-1], form) for form in inflections(words[-1])) if words else ()


def folded(term: str) -> tuple[str, ...]:
    """The case-folded words of a term."""
    lower = term.casefold()
    return (lower,) if segment.is_one_word(lower) else tuple(segment.words(lower))


def inflections(word: str) -> tuple[str, ...]:
    """`word` (case-folded) and its regular English forms that share its stem; only itself where it is not of letters a-z."""
    if not (word.isascii() and word.isalpha() and len(word) > 2):
        return (word,)
    forms = [word + "s", word + "'s", word + "’s"]
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.append(word + "es")
    if word.endswith("y") and word[-2] not in _VOWELS:
        forms += [word[:-1] + "ies", word[:-1] + "ied", word + "ing"]
    elif word.endswith("e"):
        forms += [word + "d", word[:-1] + "ing"]
    else:
        forms += [word + "ed", word + "ing"]
        if word[-1] not in _VOWELS + "wxy" and word[-2] in _VOWELS and word[-3] not in _VOWELS:
            forms += [word + word[-1] + "ed", word + word[-1] + "ing"]
    stem = segment.stem(word)
    return (word, *(form for form in dict.fromkeys(forms) if segment.stem(form) == stem))


def bases(word: str) -> tuple[str, ...]:
    """Every word that `word` (case-folded) could be a form of, itself first: whatever `inflections` maps to it is among them."""
    out = [word]
    if word.endswith(("'s", "’s")):
        out.append(word[:-2])
    elif word.endswith("s"):
        out += [word[:-1], word[:-2], word[:-3] + "y"]
    elif word.endswith("d"):
        out += [word[:-1], word[:-2], word[:-3], word[:-3] + "y"]
    elif word.endswith("ing"):
        out += [word[:-3], word[:-4], word[:-3] + "e"]
    return tuple(dict.fromkeys(base for base in out if base))
