"""Signals still reach a process that ran models: Ctrl-C ends it in good order and crashes nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to one process")

PROGRAM = """
import gc, os, signal
from rtdeblur.backends import open_backend
from rtdeblur.model import Model

def opened(precision):
    return open_backend("openvino", Model.load("fast"), precision=precision)

received = []
signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
first, second = opened("fp32"), opened("auto")
first.close()
del first
gc.collect()
second.close()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGINT)
assert received == [signal.SIGINT]
"""


def test_a_signal_arrives_after_two_backends_closed_in_the_order_they_opened() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
