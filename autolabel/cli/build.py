"""Commands that make a catalogue: demo, extract, explain, score, choose, label, run."""

from __future__ import annotations

from typing import Any

import click

from autolabel.cli.common import COMPUTE, Detail, note, open_catalogue, print_rows, progress_bar, settings_from, shared
from autolabel.cli.llm import LLM, asking


def compute_of(flags: dict[str, Any]) -> dict[str, Any]:
    """The compute settings of a verb, from flags, environment, autolabel.toml and defaults."""
    s = settings_from(**{k: flags.get(k) for k in ("seed", "device", "dtype", "batch_size", "threads")})
    return {"seed": s.seed, "device": s.device, "dtype": s.dtype, "batch_size": s.batch_size, "threads": s.threads}


def concepts_from(flags: dict[str, Any]) -> str:
    """The file of concepts of one's own, empty where there is none."""
    return settings_from(hierarchy=flags.get("hierarchy")).hierarchy


def setting(pairs: tuple[str, ...]) -> dict[str, str]:
    """`key=value` of the command line as a mapping."""
    wrong = [p for p in pairs if "=" not in p]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not key=value")
    return dict(p.split("=", 1) for p in pairs)


def _report(what: str, count: Any, flags: dict[str, Any]) -> int:
    """Say what was done; 1 when more units failed than allowed."""
    note(f"{what}: {count.done:,} of {count.asked:,} done now, {count.before:,} before, {count.abstained:,} abstained, {count.failed:,} failed",
         flags["quiet"])
    if count.unscored:
        note(f"{count.unscored:,} cannot be scored so: see `autolabel sql \"SELECT scorer, reason, count(*) FROM scores WHERE value IS NULL GROUP BY ALL\"`",
             flags["quiet"])
    if count.shortened:
        note(f"{count.shortened:,} prompts were too long: excerpts were left out of them until they fitted (dropped_excerpts in explanations.settings)",
             flags["quiet"])
    allowed = settings_from(max_failures=flags["max_failures"]).max_failures
    if count.failed > allowed:
        note(f"{count.failed:,} failed, more than --max-failures {allowed}: see `autolabel sql \"SELECT * FROM failures\"`")
        return 1
    return 0


@click.command()
@click.option("-o", "--out", metavar="DIR", default="autolabel-demo", show_default=True, help="Where the catalogue goes.")
@click.option("--quick", is_flag=True, help="Two layers instead of all: under a minute.")
@shared("hierarchy", "seed", "threads", "quiet")
def demo(out: str, quick: bool, quiet: bool, **flags: Any) -> None:
    """Label every neuron of a real model, with no GPU, no key and no hub."""
    from autolabel.cli.summary import print_demo
    from autolabel.demo import run

    with progress_bar(quiet, f"{out}/autolabel.duckdb") as progress:
        settings = settings_from(**flags)
        result = run(out, quick=quick, hierarchy=settings.hierarchy, seed=settings.seed, threads=settings.threads, progress=progress)
    print_demo(result)


@click.command()
@click.argument("subject")
@click.option("--corpus", "-c", multiple=True, required=True, metavar="C", help="demo, python, a file or folder, hf:...; may be repeated.")
@click.option("--site", metavar="NAME", help="Where in the block neurons are read [mlp].")
@click.option("--layers", metavar="RANGE", help="0-5, 3, e0,d2 [all].")
@click.option("--context", type=int, help="Content tokens per excerpt [64].")
@click.option("--max-tokens", type=int, help="Stop reading the corpus after about so many tokens.")
@click.option("--text-column", metavar="NAME", help="Column with the text of .jsonl and .parquet [text].")
@click.option("--split-on", metavar="TEXT", help="Cut a long .txt at this text.")
@click.option("--control", is_flag=False, flag_value="shuffled", metavar="KIND",
              help="A random-weights copy instead: shuffled, initialised, embeddings-kept.")
@shared("db", *COMPUTE, "revision", "redo")
def extract(subject: str, corpus: tuple[str, ...], layers: str | None, control: str | None, redo: bool, db: str | None, **flags: Any) -> None:
    """Read the neurons of SUBJECT (demo, a hub id, a folder) on a corpus."""
    from autolabel.pipeline import extract as verb

    names = ("context", "max_tokens", "text_column", "split_on", "revision", "site")
    s = settings_from(db=db, **{k: flags.get(k) for k in names})
    with progress_bar(flags["quiet"], s.db) as progress:
        catalogue = verb(subject, corpus=corpus, db=s.db, layers=layers, context=s.context, max_tokens=s.max_tokens, control=control,
                         revision=s.revision, text_column=s.text_column, split_on=s.split_on, site=s.site, redo=redo, progress=progress,
                         notes=lambda text: note(text, flags["quiet"]), **compute_of(flags))
    note(f"{catalogue.path}: extracted; next: autolabel label --db {catalogue.path}", flags["quiet"])


@click.command()
@click.option("--explainer", default="induce", show_default=True, metavar="NAME", help="See `autolabel plugins`, or module:Class.")
@click.option("-E", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the explainer.")
@shared("units", "limit", "db", "model", *LLM, "hierarchy", *COMPUTE, "redo")
def explain(explainer: str, settings: tuple[str, ...], units: str | None, limit: int | None, db: str | None,
            model: str | None, redo: bool, **flags: Any) -> int:
    """Propose labels from the explain split."""
    from autolabel.pipeline import explain as verb

    catalogue, detail = open_catalogue(db), Detail()
    with asking(catalogue, flags, detail) as how, progress_bar(flags["quiet"], str(catalogue.path), detail) as progress:
        count = verb(catalogue, explainer, settings=setting(settings), units=units, limit=limit, model=model or "", redo=redo,
                     progress=progress, hierarchy=concepts_from(flags), **how, **compute_of(flags))
    return _report(f"explained by {explainer}", count, flags)


@click.command()
@click.option("--scorer", default="correlation", show_default=True, metavar="NAME", help="See `autolabel plugins`, or module:Class.")
@click.option("--simulator", metavar="NAME", help="Of the scorer simulation [the one that fits the LLM]; with --corpus and --subject it reads the labels "
              "without a pattern [the one that read each on test, else embedding].")
@click.option("-E", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the scorer (with --corpus and --subject: simulation).")
@click.option("--unit", metavar="UNIT", help="Score your own label for this unit ...")
@click.option("--label", "text", metavar="TEXT", help="... this sentence ...")
@click.option("--pattern", metavar="JSON", help="... and this pattern.")
@click.option("--corpus", "-c", multiple=True, metavar="C", help="Score the chosen labels on another corpus: contrast:parallel, a file, demo, hf:...")
@click.option("--group", metavar="COLUMN", help="... one score for each value of this column of it, as in language.")
@click.option("--text-column", metavar="NAME", help="Column with the text of .jsonl and .parquet [text].")
@click.option("--max-tokens", type=int, help="Stop reading that corpus after about so many tokens [2,000,000].")
@click.option("--subject", metavar="SUBJECT", help="Score the chosen labels on another checkpoint of the model: a folder or hub id.")
@shared("revision", "units", "limit", "db", "model", *LLM, "hierarchy", *COMPUTE, "redo", "json")
def score(scorer: str, simulator: str | None, settings: tuple[str, ...], unit: str | None, text: str | None, pattern: str | None,
          corpus: tuple[str, ...], group: str | None, text_column: str | None, max_tokens: int | None, subject: str | None, revision: str | None,
          units: str | None, limit: int | None, db: str | None, model: str | None, redo: bool, as_json: bool, **flags: Any) -> int:
    """Score candidates on the select split, a label of your own (--unit, --label), or chosen labels beyond their corpus or checkpoint."""
    from autolabel.cli.beyond import score_beyond
    from autolabel.pipeline import score as verb
    from autolabel.pipeline import score_label

    shared_: dict[str, Any] = {"model": model or "", "hierarchy": concepts_from(flags), "simulator": simulator or "", "settings": setting(settings),
                               **compute_of(flags)}
    if corpus or subject:
        taken = {"--scorer": scorer != "correlation", "--unit": unit, "--label": text, "--pattern": pattern}
        given = {"corpus": corpus, "group": group, "text_column": text_column, "max_tokens": max_tokens, "subject": subject, "revision": revision,
                 "db": db, "as_json": as_json, **flags}
        return score_beyond(given, taken, {"units": units, "limit": limit, "redo": redo, **shared_})
    if beyond := next((name for name, value in (("--group", group), ("--text-column", text_column), ("--max-tokens", max_tokens)) if value), None):
        raise click.UsageError(f"{beyond} belongs to --corpus")
    catalogue, detail = open_catalogue(db), Detail()
    with asking(catalogue, flags, detail) as how, progress_bar(flags["quiet"], str(catalogue.path), detail) as progress:
        shared_ |= {"progress": progress, **how}
        if unit or text or pattern:
            if not unit or not text:
                raise click.UsageError("a label of your own needs both --unit and --label")
            if scorer not in ("correlation", "simulation"):
                raise click.UsageError(f"--scorer {scorer} is for the candidates of units: a label of your own is run as a --pattern, or read by a --simulator")
            result = score_label(catalogue, unit, text, pattern, **shared_)
            print_rows(("figure", "value"), list(result.items()), as_json=as_json)
            return 0
        count = verb(catalogue, scorer=scorer, units=units, limit=limit, redo=redo, **shared_)
    return _report(f"scored by {scorer}", count, flags)


@click.command()
@click.option("--simulator", metavar="NAME", help="That read the sentences, where several did.")
@click.option("-E", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the scorer simulation.")
@shared("units", "limit", "db", "model", *LLM, "hierarchy", *COMPUTE, "redo")
def choose(simulator: str | None, settings: tuple[str, ...], units: str | None, limit: int | None, db: str | None, model: str | None, redo: bool,
           **flags: Any) -> int:
    """Choose one label per unit on the select split and score it on the test split, once."""
    from autolabel.pipeline import choose as verb

    catalogue, detail = open_catalogue(db), Detail()
    with asking(catalogue, flags, detail) as how, progress_bar(flags["quiet"], str(catalogue.path), detail) as progress:
        count = verb(catalogue, units=units, limit=limit, model=model or "", redo=redo, progress=progress, hierarchy=concepts_from(flags),
                     simulator=simulator or "", settings=setting(settings), **how, **compute_of(flags))
    return _report("chosen", count, flags)


@click.command()
@click.option("--explainer", "explainers", multiple=True, metavar="NAME", help="May be repeated [induce, tokens, ngram; with --llm structured too].")
@click.option("-E", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the explainers that have it.")
@click.option("--simulator", metavar="NAME", help="Reads sentences without a pattern [the one that fits the LLM].")
@click.option("-S", "scorer_settings", multiple=True, metavar="KEY=VALUE", help="A setting of the scorer simulation.")
@click.option("--revise", "rounds", type=click.IntRange(min=0), default=0, metavar="N", help="Rounds in which the worst mistakes go back to the LLM [0].")
@shared("units", "limit", "db", "model", *LLM, "hierarchy", *COMPUTE, "redo")
def label(explainers: tuple[str, ...], settings: tuple[str, ...], simulator: str | None, scorer_settings: tuple[str, ...], rounds: int, units: str | None,
          limit: int | None, db: str | None, model: str | None, redo: bool, **flags: Any) -> int:
    """explain + score + choose."""
    from autolabel.pipeline import label as verb

    catalogue, detail = open_catalogue(db), Detail()
    with asking(catalogue, flags, detail) as how, progress_bar(flags["quiet"], str(catalogue.path), detail) as progress:
        count = verb(catalogue, explainers=explainers or None, settings=setting(settings), simulator=simulator or "",
                     scorer_settings=setting(scorer_settings), rounds=rounds, units=units, limit=limit, model=model or "", redo=redo, progress=progress,
                     hierarchy=concepts_from(flags), **how, **compute_of(flags))
    return _report("labelled", count, flags)


@click.command()
@click.argument("file", type=click.Path(exists=False, dir_okay=False))
@shared("quiet", "redo")
def run(file: str, quiet: bool, redo: bool) -> None:
    """Everything from one TOML file: extract, explain, score, choose."""
    from autolabel.cli.summary import print_summary
    from autolabel.pipeline import run as verb
    from autolabel.summary import summarise

    with progress_bar(quiet) as progress:
        catalogue = verb(file, redo=redo, progress=progress)
    print_summary(summarise(catalogue))


COMMANDS = (demo, extract, explain, score, choose, label, run)
