"""The guard around every test finds what a test leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import leaks
import pytest

LEAVES = {
    "thread": "threading.Thread(target=time.sleep, args=(2,), name='sleeper').start()",
    "process": "kept.append(subprocess.Popen(['sleep', '2']))",
    "process that nobody waits for": "kept.append(subprocess.Popen(['true']))",
    "variable": "os.environ['LEFT'] = 'here'",
    "variable that is gone": "del os.environ['HOME']",
    "folder": "os.chdir('/')",
}
FOUND = [
    "thread sleeper", "(sleep 2)", "(ended, and not waited for)", "variable LEFT", "variable HOME",
    "directory /",
]  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not list child processes")
def test_what_a_test_leaves_behind_fails_it(tmp_path: Path) -> None:
    lines = [
        "import os, subprocess, threading, time",
        "import leaks",
        "leaks.PATIENCE_SECONDS = 0.1",
        "kept = []",
    ]
    for number, statement in enumerate(LEAVES.values()):
        lines += [f"def test_{number}():", f"    {statement}"]
        lines += [f"def test_{number}_is_the_only_one_to_fail():", "    assert 'LEFT' not in os.environ"]
        lines += ["    assert 'HOME' in os.environ", "    assert os.getcwd() != '/'"]
    (tmp_path / "test_leaving.py").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "leaks", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(leaks.__file__).parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert f"{2 * len(LEAVES)} passed, {len(LEAVES)} errors" in done.stdout
    assert [word for word in FOUND if word not in done.stdout] == []
