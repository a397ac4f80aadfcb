"""A training run: configuration, losses, steps, checkpoints, log."""
