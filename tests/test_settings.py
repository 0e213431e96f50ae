"""Where a setting comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.errors import SettingsError
from autolabel.registry import build, load, targets
from autolabel.settings import resolve


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "autolabel.toml"
    file.write_text('db = "file.duckdb"\nseed = 3\nthreads = 1\n')
    found = resolve({"db": "flag.duckdb", "seed": None}, {"AUTOLABEL_DB": "env.duckdb", "AUTOLABEL_SEED": "7"}, file)
    assert (found.settings.db, found.settings.seed, found.settings.threads, found.settings.context) == ("flag.duckdb", 7, 1, 64)
    assert [found.origins[k] for k in ("db", "seed", "threads", "context")] == ["flag", "environment", "autolabel.toml", "default"]


@pytest.mark.parametrize(("text", "message"), [
    ("dbb = 'x'", "unknown key 'dbb': known are base_url, batch_size, budget"),
    ("context = 4", "context must be between 8"),
    ("seed = 'many'", "seed must be of type int"),
    ("db = [1]", "db must be of type str"),
    ("db = ", "not valid TOML"),
])
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "autolabel.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        resolve({}, {}, file)
    assert "\n" not in str(caught.value)


def test_plugins_are_found_by_name_and_by_path() -> None:
    assert {"induce", "tokens", "ngram", "constant"} <= set(targets("explainers"))
    for name in targets("explainers"):
        assert load("explainers", name)
    assert load("explainers", "autolabel.types:Unit").__name__ == "Unit"


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("inducee", {}, "no explainer is called 'inducee': choose from constant, contrastive"),
    ("os:no_such", {}, "cannot load"),
    ("no_module_of_this_name:X", {}, "cannot load"),
    ("os:getcwd", {}, "no class"),
    ("tokens", {"wordz": "1"}, "tokens has no setting 'wordz': it has"),
    ("tokens", {"words": "many"}, "tokens.words must be int"),
])
def test_a_bad_plugin_is_one_clear_line(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build("explainers", name, settings)
