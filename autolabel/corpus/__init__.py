"""Corpora: documents from files, the interpreter or the hub; their ids, splits, near-duplicates and excerpts."""

from autolabel.corpus.normalise import document, normalise, split_of
from autolabel.corpus.report import Report
from autolabel.corpus.sources import Source, Sources, open_sources, read_documents
from autolabel.corpus.tokens import Encoder
from autolabel.corpus.windows import Window, cut, excerpt_id

__all__ = ["Encoder", "Report", "Source", "Sources", "Window", "cut", "document", "excerpt_id", "normalise", "open_sources",
           "read_documents", "split_of"]
