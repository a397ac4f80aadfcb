"""Export: video graphs, model bundles, and engines made directly from a checkpoint."""
