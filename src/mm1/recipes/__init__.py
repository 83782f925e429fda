"""Whole runs as functions that return configs. No logic: what they say is what is run."""
