"""Templates: substitution only, and every mistake is found before a call is paid for."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel import prompts
from autolabel.assets import prompts_path, read_prompt
from autolabel.errors import SettingsError

TEXT = "# notes, with $anything in them\n\n## system\nYou read ${what}.\n\n## user\nPay $$5 for $item.\n\n## assistant\n$answer\n"


def test_a_template_is_its_sections() -> None:
    one = prompts.parse("x", TEXT)
    assert one.sections == {"system": "You read ${what}.", "user": "Pay $$5 for $item.", "assistant": "$answer"}
    assert prompts.fill(one, "user", {"item": "$answer ${what} $$"}) == "Pay $5 for $answer ${what} $$."
    messages = prompts.conversation(one, {"what": "texts", "item": "b"}, [({"item": "a"}, {"answer": "A"})])
    assert [(m["role"], m["content"]) for m in messages] == [("system", "You read texts."), ("user", "Pay $5 for a."), ("assistant", "A"), ("user", "Pay $5 for b.")]


def test_digests_follow_what_is_sent() -> None:
    one, notes, other = (prompts.parse("x", text) for text in (TEXT, TEXT.replace("notes", "other notes"), TEXT.replace("Pay", "pay")))
    assert one.digest == notes.digest != other.digest
    a = ({"role": "user", "content": "x"},)
    assert prompts.prompt_digest(a) == prompts.prompt_digest([{"content": "x", "role": "user"}]) != prompts.prompt_digest([{"role": "system", "content": "x"}])
    assert prompts.Prompt(a, "t", (1,), 2).digest == prompts.Prompt(a, "u").digest == prompts.prompt_digest(a)


@pytest.mark.parametrize(("text", "message"), [
    ("## system\nx", "no section `## user`"), ("## user\nx\n## usr\ny", "unknown section 'usr'"), ("## user\nx\n## user\ny", "twice"),
    ("## user\ncosts 5$", "begins no variable"), ("## user\n${open", "begins no variable")])
def test_a_broken_template_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        prompts.parse("x", text)


def test_unknown_and_missing_variables_are_refused() -> None:
    one = prompts.parse("x", TEXT)
    known = {"system": ("what",), "user": ("item", "more"), "assistant": ("answer",)}
    prompts.check(one, known, {"user": ("item",)})
    for changed, required, message in (
            (known | {"user": ("thing",)}, {}, r"unknown variable \$item: known are \$thing"), (known, {"user": ("more",)}, r"lacks the variable \$more"),
            (known, {"retry": ("error",)}, "no section `## retry`"), ({"user": ("item",)}, {}, "nothing fills")):
        with pytest.raises(SettingsError, match=message):
            prompts.check(one, changed, required)
    with pytest.raises(SettingsError, match="needs 'item'"):
        prompts.fill(one, "user", {})


def test_a_template_of_ones_own_has_the_variables_of_the_shipped_one(tmp_path: Path) -> None:
    from autolabel.simulators.text import template

    (tmp_path / "detect.md").write_text("## user\n$label, then $texts", "utf-8")
    assert template("detect", str(tmp_path)).sections == {"user": "$label, then $texts"}
    for text, message in (("## user\n$label", r"lacks the variable \$texts"), ("## user\n$label $texts $score", r"unknown variable \$score")):
        (tmp_path / "detect.md").write_text(text, "utf-8")
        with pytest.raises(SettingsError, match=message):
            template("detect", str(tmp_path))


def test_a_few_shot_set_names_the_line_that_is_wrong() -> None:
    assert prompts.few_shot("s", '{"a": 1}\n\n{"a": 2}\n') == ({"a": 1}, {"a": 2})
    with pytest.raises(SettingsError, match="line 2 of the few-shot set s is not valid JSON"):
        prompts.few_shot("s", '{"a": 1}\n{"a": }\n')
    with pytest.raises(SettingsError, match="line 1 of the few-shot set s is no JSON object"):
        prompts.few_shot("s", "[]\n")


def test_the_users_own_folder_comes_first(tmp_path: Path) -> None:
    assert read_prompt("structured.md", own=tmp_path) == read_prompt("structured.md")
    (tmp_path / "structured.md").write_text("## user\nmine", "utf-8")
    assert read_prompt("structured.md", own=tmp_path) == "## user\nmine" and prompts_path("structured.md", own=tmp_path).parent == tmp_path
    with pytest.raises(SettingsError, match="does not exist"):
        read_prompt("structured.md", own=tmp_path / "missing")
    with pytest.raises(SettingsError, match=r"there is no prompt nosuch\.md"):
        read_prompt("nosuch.md", own=tmp_path)
