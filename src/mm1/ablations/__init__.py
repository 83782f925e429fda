"""Studies: variants of a recipe over seeds, run as one command and told as a table."""
