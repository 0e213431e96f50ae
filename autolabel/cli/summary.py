"""How a summary and the end of the demo look on a terminal."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from autolabel.cli.common import out, print_rows
from autolabel.cli.plot import blocks

if TYPE_CHECKING:
    from autolabel.demo import DemoResult
    from autolabel.summary import Headline, Summary


def print_summary(summary: Summary, *, as_json: bool = False) -> None:
    """Best labels, layers, leaderboard, verdicts, headline with its control; or one JSON object."""
    from autolabel.summary import BEST_COLUMNS, LAYER_COLUMNS

    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary), ensure_ascii=False, default=str))
        return
    print_rows(BEST_COLUMNS, summary.best, title="The best labels of each layer (scores on the test split, 95 % intervals)")
    click.echo()
    print_rows(LAYER_COLUMNS, summary.layers, title="Layer by layer")
    click.echo()
    print_rows(*summary.leaderboard, title="Explainers (each one's best candidate per unit, on test; the control's rows beside)")
    click.echo()
    print_rows(("verdict", "units", "best example"), summary.verdicts, title="Verdicts")
    click.echo()
    heads = [summary.headline, *([summary.control] if summary.control else [])]
    print_rows(("", *(head.model for head in heads)), list(zip(LINES, *(_column(h) for h in heads), strict=True)),
               title="Headline: the model, and beside it the same pipeline on random weights" if summary.control else "Headline")
    if summary.pairs:
        click.echo()
        print_rows(("figure", "LLM", "against", "units", "mean", "mean", "difference", "low", "high", "ahead on"),
                   [(p.figure, p.first, p.second, p.units, p.mean_first, p.mean_second, p.difference, p.low, p.high, p.better) for p in summary.pairs],
                   title="Labels by an LLM, beside those of explainers that ask none: the same units, on test (95 % intervals over units)")
    if summary.coverage:
        click.echo("\nCoverage against mean rho, and against the share that is not confirmed (best labels first)")
        out().print(blocks(summary.coverage), highlight=False)


LINES = ("units attempted", "labelled", "confirmed (q < .05)", "partial", "rejected", "imprecise", "unscored", "abstained", "failed",
         "contextual", "carries over", "informative", "mean rho", "mean peak")


def _column(head: Headline) -> tuple[object, ...]:
    """The values of LINES: counts with their share of the attempted units."""
    def share(count: int) -> str:
        return f"{count:,} ({count / head.attempted:.1%})" if head.attempted else "0"

    counts = (head.labelled, head.confirmed, head.partial, head.rejected, head.imprecise, head.unscored, head.abstained, head.failed,
              head.contextual, head.carries_over, head.informative)
    return (f"{head.attempted:,}", *map(share, counts), head.mean_score, head.mean_peak)


def print_demo(result: DemoResult) -> None:
    """The summary, five queries to try, and where the files are."""
    print_summary(result.summary)
    click.echo("\nFive queries to try:")
    for query in result.queries:
        click.echo(f'  autolabel sql --db {result.db} "{query}"')
    click.echo(f"\n  autolabel show --db {result.db} {result.example}")
    click.echo(f"  autolabel probe --db {result.db} \"{result.probe}\"")
    click.echo(f"\n{result.db}: {result.megabytes:,.0f} MB, {result.seconds:,.0f} s")
