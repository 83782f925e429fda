"""Processes and what they share: who we are, sums and gathers, checkpoints. Knows nothing of MM1 or of training."""
