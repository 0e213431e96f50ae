"""Simulators read a label and predict; one file each. `pattern` runs executable labels, without any LLM."""
