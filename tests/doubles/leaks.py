"""Guard for every test: everything it starts or changes must end with it."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

# Processes that Python starts once and keeps for the next user.
_KEPT_PROCESSES = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
# Modules that change the process once, as they are imported.
_CHANGE_ONCE = ("rtdeblur.backends.openvino", "cv2")
PATIENCE_SECONDS = 10


@cache
def _import_libraries() -> None:
    for name in _CHANGE_ONCE:
        with suppress(ImportError):
            importlib.import_module(name)


def _children() -> dict[int, str]:
    """Return child processes not waited for; empty if the system does not list them."""
    found = {}
    for listed in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread ended meanwhile
            for pid in listed.read_text().split():
                words = Path("/proc", pid, "cmdline").read_text(errors="replace").replace("\0", " ").strip()
                if not any(kept in words for kept in _KEPT_PROCESSES):
                    found[int(pid)] = words or "ended, and not waited for"
    return found


def _threads() -> list[threading.Thread]:
    """Return threads started by Python; a dummy is one of FFmpeg's threads that has written to the log."""
    return [t for t in threading.enumerate() if not isinstance(t, threading._DummyThread)]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, a process, a change of the environment or another folder behind.

    What wider-scoped fixtures started before the test is ignored.
    """
    _import_libraries()
    threads, children, environment, folder = set(_threads()), _children(), _environment(), Path.cwd()
    yield
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        left = [f"thread {t.name}" for t in _threads() if t not in threads]
        left += [f"process {pid} ({what})" for pid, what in _children().items() if pid not in children]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    changed = dict(set(_environment().items()) ^ set(environment.items()))
    for name in changed:
        os.environ.pop(name, None)
        if name in environment:
            os.environ[name] = environment[name]
    left += [f"environment variable {name}" for name in sorted(changed)]
    if folder != Path.cwd():
        left.append(f"working directory {Path.cwd()}")
        os.chdir(folder)
    assert not left, f"left behind: {', '.join(left)}"
