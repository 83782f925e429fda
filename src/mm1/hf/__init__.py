"""Other projects' model folders in and out: what transformers saves and opens."""
