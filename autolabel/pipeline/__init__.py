"""The public verbs: extract, explain, score, choose, and what is made of them. Resumable, counted, never silent."""

from __future__ import annotations

from autolabel.pipeline.accounting import account
from autolabel.pipeline.auditing import audit
from autolabel.pipeline.choosing import choose
from autolabel.pipeline.explaining import explain
from autolabel.pipeline.extracting import extract
from autolabel.pipeline.kinding import kinds
from autolabel.pipeline.nulling import nulls
from autolabel.pipeline.own import score_label
from autolabel.pipeline.runfile import label, run
from autolabel.pipeline.scoring import score
from autolabel.pipeline.sensing import senses
from autolabel.pipeline.session import open_catalogue
from autolabel.pipeline.staleness import score_checkpoint
from autolabel.pipeline.validity import score_on

__all__ = ["account", "audit", "choose", "explain", "extract", "kinds", "label", "nulls", "open_catalogue", "run", "score", "score_checkpoint",
           "score_label", "senses", "score_on"]
