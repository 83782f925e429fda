"""Measurements: a part of mm1 beside its peer, in one process and one run, on the same material. None is a test."""
