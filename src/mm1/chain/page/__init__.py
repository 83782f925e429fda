"""The parts of a run's report: reading the run folder, and one file a section."""
