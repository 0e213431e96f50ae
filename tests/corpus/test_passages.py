from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from autolabel.corpus.passages import LONGEST_LINE, block_size, lines, n_words, passages, pieces


def chunks(text: str, size: int) -> Iterator[str]:
    return (text[i:i + size] for i in range(0, len(text), size))


def paragraph(i: int, n: int = 50) -> str:
    return f"Paragraph {i}: " + "word " * (n - 2)


@given(st.text(st.sampled_from("ab \r\n\n"), max_size=60), st.integers(1, 9))
def test_lines_do_not_depend_on_chunks(text: str, size: int) -> None:
    found = list(lines(chunks(text, size)))
    assert "".join(found) == text
    assert found == [line for line in text.replace("\n", "\n\0").split("\0") if line]


@given(st.lists(st.text(st.sampled_from("ab \n|"), max_size=8), max_size=6), st.integers(1, 9))
def test_pieces_do_not_depend_on_chunks(parts: list[str], size: int) -> None:
    text = "<|>".join(parts)
    assert list(pieces(chunks(text, size), "<|>")) == [p.strip() for p in text.split("<|>") if p.strip()]


def test_passages_end_at_blank_lines_and_hold_about_200_words() -> None:
    text = "\n\n".join(paragraph(i) for i in range(100))
    found = list(passages(chunks(text, 1000)))
    assert len(found) == 25 and all(n_words(p) == 200 and p.startswith("Paragraph") for p in found)
    assert " ".join(" ".join(found).split()) == " ".join(text.split()), "nothing is lost"
    assert found == list(passages([text]))


def test_text_without_blank_lines_is_cut_at_line_ends() -> None:
    text = "\n".join(f"line {i} has these six words" for i in range(1000))
    found = list(passages([text]))
    assert all(200 <= n_words(p) <= 420 and p.startswith("line") for p in found[:-1])
    assert "\n".join(found) == text


def test_a_single_endless_line_is_cut_at_white_space_and_streams() -> None:
    words = [f"w{i}" for i in range(60_000)]
    found = list(passages(chunks(" ".join(words), 5000)))
    assert " ".join(found).split() == words
    assert max(n_words(p) for p in found) <= 600
    assert all(len(line) <= LONGEST_LINE for line in lines(chunks("x" * 1_000_000, 70_000)))


def test_scripts_without_spaces_are_cut_too() -> None:
    text = "日本語のテキスト" * 5000
    found = list(passages(chunks(text, 3000)))
    assert "".join(found) == text and len(found) > 50 and max(len(p) for p in found) <= 1300


def test_windows_line_ends_stay_inside_passages() -> None:
    assert list(passages(["one\r\ntwo\r\n\r\nthree"])) == ["one\r\ntwo\r\n\r\nthree"]


def test_block_size_fills_the_splits_of_a_small_corpus() -> None:
    assert [block_size(n) for n in (0, 1, 59, 60, 120, 1200, 3000, 10**6)] == [1, 1, 1, 1, 2, 20, 50, 50]
