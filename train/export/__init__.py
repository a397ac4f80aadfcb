"""Exports: the video graph, model bundles, engines straight from a checkpoint."""
