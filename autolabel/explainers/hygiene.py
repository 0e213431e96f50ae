"""What a label may hold. A label is text from a model that is to be judged by a model: nothing in it may pass unseen between the two.

Hidden channels between an explainer and its judge were shown by Lermen et al. 2025 (arXiv 2504.07831): so characters that cannot be
seen are taken out, long runs that look like encoded data too, the length is bounded, and each of these is said beside the label.
"""

from __future__ import annotations

import regex

MAX_LABEL = 300  # characters
_UNSEEN = regex.compile(r"[\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Default_Ignorable_Code_Point}]")
_CONTROL = regex.compile(r"[^\S ]|\p{Cc}|[\p{Zl}\p{Zp}]|\p{Zs}")
_ENCODED = regex.compile(r"[A-Za-z0-9+/_=-]{41,}")  # more than 40 characters that look like base64


def tidy(text: str) -> tuple[str, tuple[str, ...]]:
    """The label in plain sight on one line, and what was done to it beyond white space, one flag each."""
    flags = []
    spaced = _CONTROL.sub(" ", text)
    clean = _UNSEEN.sub("", spaced)
    if n := len(spaced) - len(clean):
        flags.append(f"removed {n} unseen character{'s' if n > 1 else ''}")
    clean, runs = _ENCODED.subn("[...]", clean)
    if runs:
        flags.append(f"removed {runs} encoded run{'s' if runs > 1 else ''}")
    clean = " ".join(clean.split())
    if len(clean) > MAX_LABEL:
        flags.append(f"cut from {len(clean)} characters")
        clean = clean[:MAX_LABEL - 3].rsplit(" ", 1)[0].rstrip(" ,;:") + "..."
    return clean, tuple(flags)
