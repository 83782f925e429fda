"""Training: objectives, optimizer, schedule, the loop and its hooks, and a stage from its config to its weights."""
