"""A concept hierarchy: which concept lies under which, and the words for each. Read from TSV, WordNet, SKOS or OWL.

A term matches whole words, case-folded. Its last word also matches in the inflected forms that English spelling gives it
(`inflections.py`). Terms of several words match consecutive words. Labels are no terms.
"""

from autolabel.hierarchy.inflections import bases, inflections, matches_of
from autolabel.hierarchy.tree import Concept, Hierarchy

__all__ = ["Concept", "Hierarchy", "bases", "inflections", "matches_of"]
