"""Progress of a batch, as bars."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from rtdeblur.cli.batch_progress import Watch, shown
from rtdeblur.cli.plan import Job


def test_files_of_one_name_have_a_bar_each(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[str] = []
    add_task = Progress.add_task

    def noted(self: Progress, description: str, **options: Any) -> Any:
        added.append(description)
        return add_task(self, description, **options)

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(Progress, "add_task", noted)
    watch = Watch({}, total=2)
    with shown(watch, quiet=False) as show:
        watch.running = {Job(Path(d, "x.mp4"), Path("out", d, "x.mp4")): 1 for d in ("a", "b")}
        show()
        show()
    assert added == ["starting", "  x.mp4", "  x.mp4"]
