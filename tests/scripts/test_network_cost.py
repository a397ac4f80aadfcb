from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "network_cost.py"


def row(*words: str) -> list[str]:
    """The cells of the last row, measured on small frames of the bundled model."""
    command = [sys.executable, SCRIPT, "fast", "--size", "96x64", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return [cell.strip() for cell in done.stdout.splitlines()[-1].split("|")[1:-1]]


def test_time_and_memory_of_a_network_are_measured() -> None:
    name, _, ratio, gib = row("--frames", "3")
    assert name == "fast"
    assert 0.2 < float(ratio) < 5  # of itself, on a busy machine
    assert 0.1 < float(gib) < 1


def test_a_network_that_needs_too_much_has_a_row_that_says_so() -> None:
    assert row("--memory", "0.1") == ["fast", "", "more than 0.1 GiB", ""]
