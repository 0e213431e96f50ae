"""The command line: a command parses, makes one library call, prints. Data on stdout, all else on stderr."""

from __future__ import annotations

from autolabel.cli.main import cli, main

__all__ = ["cli", "main"]
