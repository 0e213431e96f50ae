"""What is in the box is what its README says."""

from __future__ import annotations

import json

from eval.data_card import DATA, files, readme


def test_the_readme_is_up_to_date() -> None:
    assert (DATA / "README.md").read_text("utf-8") == readme(), "run python -m eval.data_card"


def test_documents_are_whole() -> None:
    seen: set[str] = set()
    for path in files():
        if path.suffix != ".jsonl":
            continue
        for line in path.read_text("utf-8").splitlines():
            document = json.loads(line)
            assert set(document) == {"id", "text", "topic", "register", "language"} and all(document.values())
            assert document["id"] not in seen
            seen.add(document["id"])
    assert len(seen) > 1000


def test_the_box_stays_small() -> None:
    assert sum(p.stat().st_size for p in files()) < 6_000_000
