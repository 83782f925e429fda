"""The parts of a run's report: reading the run folder, markup, figures, and one file a section."""
