"""Counts in messages: 1 frame, 2 frames."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a number and its noun, whose plural takes an s: `1 frame`, `2 frames`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
