"""QR codes for terminals."""

from __future__ import annotations

import importlib

_DARK_ON_LIGHT = "\x1b[30;107m"
_RESET = "\x1b[0m"
_QUIET_ZONE = 2


def qr_lines(text: str) -> list[str]:
    """Lines of a QR code, two rows of modules per line, dark on white whatever the colours of the terminal.

    Returns:
        The lines; none if the package segno (extra `live`) is missing.
    """
    try:
        segno = importlib.import_module("segno")
    except ImportError:
        return []
    rows = [list(row) for row in segno.make(text, error="l").matrix_iter(border=_QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    blocks = [[" ▄▀█"[2 * bool(top) + bool(low)] for top, low in zip(*pair, strict=True)] for pair in pairs]
    return [f"{_DARK_ON_LIGHT}{''.join(line)}{_RESET}" for line in blocks]
