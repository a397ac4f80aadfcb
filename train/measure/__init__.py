"""Measurement: scores, flicker, detection, harm, reports, model cards."""
