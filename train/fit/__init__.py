"""Training runs: configuration, losses, steps, checkpoints, log."""
