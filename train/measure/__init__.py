"""Measurements: scores, flicker, detection, harm, reports, model cards."""
