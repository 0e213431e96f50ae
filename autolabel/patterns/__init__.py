"""Patterns: labels that run. `syntax` reads and writes them, `run` executes them, `english` says them."""

from autolabel.patterns.english import english
from autolabel.patterns.syntax import Atom, Clause, Pattern, dump, n_words, notes, parse, requires
from autolabel.patterns.wordclasses import FUNCTION_CLASSES

__all__ = ["FUNCTION_CLASSES", "Atom", "Clause", "Pattern", "dump", "english", "n_words", "notes", "parse", "requires"]
