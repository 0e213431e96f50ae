"""Content tokens of texts, with the characters that each token covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Tokens = tuple[list[int], list[tuple[int, int]]]  # ids, and the characters [from, to) of each; a split character is shared


class Encoder:
    """A fast tokenizer that neither truncates nor pads, adds nothing, and reads `[SEP]` or `<s>` in a text as text.

    BPE without bytes and without an unknown token skips characters it does not know, and then (tokenizers 0.23) all later
    offsets of the text are wrong. For such a tokenizer those characters are taken out first, which leaves the tokens as they
    are, and the offsets are put back. A skipped character between two tokens belongs to neither.
    """

    def __init__(self, tokenizer: Any) -> None:  # Any: a transformers fast tokenizer; transformers is not imported here
        from tokenizers import Tokenizer

        self._core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy: the caller's keeps its settings
        self._core.no_truncation()
        self._core.no_padding()
        self._core.encode_special_tokens = True  # a marker that a document spells out must not become a control token
        self._vocabulary: set[str] = set()
        self._known: dict[str, bool] = {}
        self._skips = self._may_skip()
        if self._skips:
            self._vocabulary = set(self._core.get_vocab())

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text. All cores are used."""
        if not self._skips:
            return [(e.ids, e.offsets) for e in self._core.encode_batch(list(texts), add_special_tokens=False)]
        kept = [[i for i, c in enumerate(text) if self._knows(c)] for text in texts]
        cleaned = ["".join([text[i] for i in at]) for text, at in zip(texts, kept, strict=True)]
        found = self._core.encode_batch(cleaned, add_special_tokens=False)
        return [(e.ids, [(at[a], at[b - 1] + 1) if b > a else (at[a] if a < len(at) else 0,) * 2 for a, b in e.offsets] if at else [])
                if at else ([], []) for e, at in zip(found, kept, strict=True)]

    def _may_skip(self) -> bool:
        """BPE that knows neither every byte nor an unknown token."""
        model = self._core.model
        if type(model).__name__ != "BPE" or "ByteLevel" in f"{self._core.pre_tokenizer}{self._core.normalizer}":
            return False
        if model.byte_fallback and all(self._core.token_to_id(f"<0x{byte:02X}>") is not None for byte in range(256)):
            return False  # some vocabularies ask for the fallback and have no bytes
        return model.unk_token is None or self._core.token_to_id(model.unk_token) is None

    def _knows(self, character: str) -> bool:
        """Does any token come of it? Asked of the tokenizer's own steps, once per character."""
        known = self._known.get(character)
        if known is None:
            text = self._core.normalizer.normalize_str(character) if self._core.normalizer else character
            parts = [part for part, _ in self._core.pre_tokenizer.pre_tokenize_str(text)] if self._core.pre_tokenizer else [text]
            symbols = set("".join(parts)) - ({"▁"} if character not in " ▁" else set())
            known = self._known[character] = bool(symbols) and symbols <= self._vocabulary
        return known
