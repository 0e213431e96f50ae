"""Scores that are put to the test: corrupted labels must score worse, intervals must hold, nulls must be null."""
