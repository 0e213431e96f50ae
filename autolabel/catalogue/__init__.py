"""The store: one DuckDB file with migrations, documented views, one writer and any number of readers.

Start at `store.py`. Tables: sql/001_tables.sql; views: sql/views.sql.
"""

from autolabel.catalogue.store import Catalogue
from autolabel.catalogue.writer import Writer

__all__ = ["Catalogue", "Writer"]
