"""Chosen labels on other corpora and other checkpoints: what is left out, exact scores, the least of them, and nothing twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import autolabel as al
from autolabel.card import read_card
from autolabel.corpus import Report, open_sources
from autolabel.elsewhere import read_elsewhere
from autolabel.errors import CorpusError, SettingsError, SubjectError
from autolabel.patterns.syntax import parse
from autolabel.pipeline.labels import hierarchy, runner
from autolabel.pipeline.session import model_row, subject_of
from tests.cli.test_commands import run as command


@pytest.fixture(scope="module")
def catalogue(small: Path, tmp_path_factory: pytest.TempPathFactory) -> al.Catalogue:
    """A copy that may be written to."""
    target = tmp_path_factory.mktemp("validity") / "copy.duckdb"
    shutil.copy(small, target)
    return al.open_catalogue(target)


def texts_of(catalogue: al.Catalogue, split: str) -> list[str]:
    """Documents of one window, as they stand in the corpus."""
    return [t for (t,) in catalogue.read("SELECT any_value(e.text) FROM t_excerpts e JOIN t_documents d ON d.corpus_id = e.corpus_id AND d.id = e.document "
                                         "WHERE d.split = ? GROUP BY d.id HAVING sum(e.n_tokens) = any_value(d.n_tokens) AND count(*) = 1 ORDER BY d.id", [split])]


def windows_of(catalogue: al.Catalogue, split: str) -> list[str]:
    """Texts of first windows of longer documents."""
    return [t for (t,) in catalogue.read("SELECT text FROM t_excerpts WHERE split = ? AND start = 0 AND n_tokens = 64 ORDER BY id", [split])]


def whole(catalogue: al.Catalogue, split: str) -> str:
    """The longest document, put together."""
    rows = catalogue.read("SELECT text FROM t_excerpts WHERE document = (SELECT document FROM t_excerpts WHERE split = ? GROUP BY document "
                          "ORDER BY count(*) DESC, document LIMIT 1) ORDER BY start", [split])
    return " ".join(t for (t,) in rows)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents in two groups."""
    path = tmp_path_factory.mktemp("other") / "news.jsonl"
    rng = np.random.default_rng(0)
    words = ["the", "a", "of", "and", "it", "she", "was", "not", "two", "seven", "doctor", "river", "train", "bread", "never", "before", "which", "were", "in", "on"]
    with path.open("w") as file:
        for i in range(60):
            file.write(json.dumps({"text": " ".join(rng.choice(words, 40)) + f" number {i}.", "kind": "even" if i % 2 == 0 else "odd"}) + "\n")
    return path


def test_what_was_seen_before_is_left_out_and_counted(catalogue: al.Catalogue, tmp_path: Path) -> None:
    row = model_row(catalogue, "minilm")
    subject = subject_of(catalogue, row)
    seen, near = windows_of(catalogue, "explain")[0], whole(catalogue, "select")
    rows = [{"text": "Something that nobody has ever written about herons, for certain."}, {"text": near + " Extra."}, {"text": seen + " And then it goes on for a while yet."},
            {"text": "Something  that nobody has ever WRITTEN about herons, for certain."}, {"text": windows_of(catalogue, "test")[0] + " More of the same here."}]
    for split in ("explain", "select"):
        rows += [{"text": f"  {t.upper()} "} for t in texts_of(catalogue, split)[:2]]
    equal = len(rows) - 5
    path = tmp_path / "o.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows))
    found = read_elsewhere(catalogue, row.corpus_id, open_sources([str(path)], report=Report()), subject.tokenizer, subject.tokenizer_hash, row.context)
    left = dict(found.left_out)
    left.pop("tokens in short last windows", None)
    assert left == {k: n for k, n in {"copies": 1, "documents of explain or select": equal, "near-duplicates of explain or select": 1,
                                      "windows of explain or select": 1}.items() if n}
    kept = [d.text for d, _ in found.parts[None].documents]
    assert seen not in [w.text for _, windows in found.parts[None].documents for w in windows]
    assert len(kept) == 3 and kept[0].startswith("Something that") and found.parts[None].n_tokens == sum(len(w.tokens) for _, ws in found.parts[None].documents for w in ws)
    path.write_text(json.dumps({"text": f"{near} Extra."}))
    with pytest.raises(CorpusError, match=r"nothing of .* is left to score on .*1 near-duplicates"):
        read_elsewhere(catalogue, row.corpus_id, open_sources([str(path)], report=Report()), subject.tokenizer, subject.tokenizer_hash, row.context)


def test_scores_elsewhere_are_exact_and_made_once(catalogue: al.Catalogue, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks = catalogue.read("SELECT sum(test_looks) FROM labels")
    count = al.score_on(catalogue, str(other), group="kind", units="4/0-39", model="minilm")
    assert count.done == count.asked > 30 and catalogue.read("SELECT sum(test_looks) FROM labels") == looks
    rows = catalogue.read("SELECT neuron, subgroup, score, reason, n FROM validity WHERE NOT own AND corpus = 'news' AND score IS NOT NULL")
    assert {r[1] for r in rows} == {"kind=even", "kind=odd"} and len(rows) > 40
    row = model_row(catalogue, "minilm")
    subject = subject_of(catalogue, row)
    parts = read_elsewhere(catalogue, row.corpus_id, open_sources([str(other)], report=Report()), subject.tokenizer, subject.tokenizer_hash, row.context, key="kind").parts
    patterns = dict(catalogue.read("SELECT neuron, pattern FROM labels WHERE neuron < 40 AND pattern IS NOT NULL"))
    for subgroup, part in parts.items():
        (e,) = part.chunks()
        site = next(s for s in subject.sites if s.layer == "4")
        a = np.concatenate([np.maximum(subject.activations(b.tokens, site).numpy(), 0).reshape(-1, site.width) for b in e.batches(32)]).astype(np.float64)
        c = np.asarray(runner(subject, hierarchy())([parse(p) for p in patterns.values()], e).csr().todense(), np.float64)
        want = {n: np.corrcoef(a[:, n], c[i])[0, 1] for i, n in enumerate(patterns) if c[i].std() > 0 and a[:, n].std() > 0}
        got = {n: s for n, g, s, _, _ in rows if g == subgroup}
        assert got == pytest.approx(want, abs=1e-5) and all(n == part.n_excerpts for _, g, _, _, n in rows if g == subgroup)
    again = al.score_on(catalogue, str(other), group="kind", units="4/0-39", model="minilm")
    assert (again.done, again.before) == (0, count.asked)
    code, out, err = command(capsys, "score", "--corpus", str(other), "--group", "kind", "--units", "4/0-49", "--model", "minilm", "--db", str(catalogue.path), "--json")
    assert code == 0 and [r["subgroup"] for r in json.loads(out)] == ["kind=even", "kind=odd"] and f"{count.asked} before" in err and "10 of 50" in err


def test_the_least_score_is_shown_and_where(catalogue: al.Catalogue, other: Path) -> None:
    al.score_on(catalogue, str(other), group="kind", units="4/0-39", model="minilm")
    rows = catalogue.read("SELECT unit, min_score, min_corpus, min_subgroup, corpora, left_out FROM weakest WHERE corpora + left_out > 1")
    assert len(rows) > 30
    everything = catalogue.read("SELECT score, corpus, subgroup, reason, unit FROM validity")
    for unit, least, corpus, subgroup, corpora, left_out in rows:
        relied = [s for s in everything if s[4] == unit and s[3] is None]
        assert corpora == len(relied) and left_out == 3 - corpora
        assert (least, corpus, subgroup) == (min(relied)[:3] if relied else (None, None, None))
    unit = next(r[0] for r in rows if r[3] is not None)
    assert read_card(catalogue, unit).weakest["min_subgroup"].startswith("kind=") and read_card(catalogue, "4/1000").weakest is None


def test_an_interrupt_leaves_whole_groups_and_the_rest_is_made_later(catalogue: al.Catalogue, other: Path) -> None:
    def stop(stage: str, done: int, total: int | None) -> None:
        if stage.startswith("scoring") and 0 < done < total:
            raise KeyboardInterrupt

    units, mine = "4/100-107", "SELECT neuron, subgroup, run FROM t_validity WHERE neuron BETWEEN 100 AND 107"
    with pytest.raises(KeyboardInterrupt):
        al.score_on(catalogue, str(other), group="kind", units=units, model="minilm", progress=stop)
    first = catalogue.read(mine)
    assert {g for _, g, _ in first} == {"kind=even"}
    count = al.score_on(catalogue, str(other), group="kind", units=units, model="minilm")
    rows = catalogue.read(mine)
    assert count.done == len(first) and set(first) < set(rows) and len(rows) == len({r[:2] for r in rows}) == 2 * len(first)


def test_built_in_sets_are_corpora(catalogue: al.Catalogue) -> None:
    row = model_row(catalogue, "minilm")
    subject = subject_of(catalogue, row)
    found = read_elsewhere(catalogue, row.corpus_id, open_sources(["contrast:parallel"], report=Report()), subject.tokenizer, subject.tokenizer_hash, row.context,
                           key="language", max_tokens=3_000)
    assert len(found.parts) == 11 and {"language=de", "language=en-scotland", "language=zh"} <= set(found.parts)
    with pytest.raises(CorpusError, match="no contrast set 'nosuch'"):
        al.score_on(catalogue, "contrast:nosuch", model="minilm")
    with pytest.raises(CorpusError, match="has 200 values"):
        al.score_on(catalogue, "contrast:comments", group="pair", model="minilm")
    with pytest.raises(CorpusError, match=r"nothing of contrast:comments is left .*documents without language"):
        al.score_on(catalogue, "contrast:comments", group="language", model="minilm")


@pytest.mark.parametrize(("arguments", "words"), [
    (["--corpus", "demo", "--scorer", "detection"], "does not go with --scorer"), (["--corpus", "demo", "--subject", "x"], "one at a time"),
    (["--group", "language"], "belongs to --corpus"), (["--corpus", "nosuch.jsonl"], "no such corpus"), (["--subject", "./nosuch"], "nosuch"),
])
def test_mistakes_are_one_line(small: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, _, err = command(capsys, "score", *arguments, "--model", "minilm", "--db", str(small))
    assert code == 2 and words in err and "Traceback" not in err


def later(folder: Path, units: list[int]) -> Path:
    """A copy of the demo's model in which the weights of each of these units of layer 4 have the other sign."""
    from safetensors.torch import load_file, save_file

    from autolabel.subjects.loading import demo_folder

    for file in demo_folder().iterdir():
        if file.is_file() and file.name != "model.safetensors":
            shutil.copy(file, folder / file.name)
    weights = load_file(demo_folder() / "model.safetensors")
    weights[next(n for n in weights if n.endswith("layer.4.intermediate.dense.weight"))][units] *= -1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_labels_of_changed_units_are_stale_and_no_others(catalogue: al.Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = [n for (n,) in catalogue.read("SELECT neuron FROM labels WHERE verdict = 'confirmed' AND score > .4 ORDER BY score DESC LIMIT 40")]
    changed, looks = best[::4], dict(catalogue.read("SELECT neuron, test_looks FROM labels"))
    folder = later(tmp_path, changed)
    units = ",".join(f"4/{n}" for n in best)
    found = al.score_checkpoint(catalogue, str(folder), units=units, model="minilm")
    assert {n for (n,) in catalogue.read("SELECT neuron FROM stale WHERE stale")} == set(changed) and found.stale == len(changed)
    assert catalogue.read("SELECT count(*), max(abs(fall)) FROM stale WHERE NOT stale") == [(30, 0.0)]
    assert found.planted == found.compared == 40 and found.power > 0.6 and found.power_low < found.power < found.power_high and 0 < found.half_width < 0.2
    assert dict(catalogue.read("SELECT neuron, test_looks FROM labels")) == looks | {n: looks[n] + 1 for n in best}
    code, out, _ = command(capsys, "score", "--subject", str(folder), "--units", units, "--model", "minilm", "--db", str(catalogue.path), "--json")
    assert code == 0 and {r["figure"]: r["value"] for r in json.loads(out)}["stale"] == 10
    assert dict(catalogue.read("SELECT neuron, test_looks FROM labels")) == looks | {n: looks[n] + 1 for n in best}  # nothing was read again
    code, out, _ = command(capsys, "show", f"4/{changed[0]}", "--db", str(catalogue.path))
    assert code == 0 and f"on {folder.name}: stale: rho fell by " in out and "a fall of .2 is noticed" in " ".join(out.split())
    with pytest.raises(SubjectError, match="has the weights that minilm was extracted with"):
        al.score_checkpoint(catalogue, subject_of(catalogue, model_row(catalogue, "minilm")), model="minilm")
    with pytest.raises(SettingsError, match="no chosen labels among these units"):
        al.score_checkpoint(catalogue, "demo", model="minilm", units=f"4/{catalogue.read('SELECT neuron FROM labels WHERE label IS NULL LIMIT 1')[0][0]}")
