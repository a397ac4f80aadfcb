"""A window of `rtdeblur live` in its own process, driven by lines of JSON.

OpenCV's windows hang if PyAV was loaded before, as it is in the tests; and Qt ends only with its process.
"""

# ruff: noqa: T201

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class WindowProcess:
    """A `Display` whose window is in another process.

    Args:
        display: name of the X server.
    """

    def __init__(self, display: str) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests/doubles"), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"DISPLAY": display, "PYTHONPATH": path},
        )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout
        self._answer()

    def show(self, picture: Any, status: Any) -> list[Any]:
        """Show a flat picture: only its levels and size cross to the other process."""
        from rtdeblur.live.displays import Command

        flat = None
        if picture is not None:
            flat = [int(f.planes[0][0, 0]) for f in (picture.blurred, picture.restored)]
            flat += picture.restored.planes[0].shape
        answer = self._ask({"show": flat, "status": asdict(status)})
        return [Command(value) for value in answer]

    def close(self) -> None:
        """Close the window; the process stays, to be closed again."""
        self._ask({"close": True})

    def end(self) -> str:
        """Terminate the process; return its exit code."""
        self._in.close()
        self._out.close()
        return self._process.wait(30)

    def _ask(self, question: dict[str, Any]) -> Any:
        print(json.dumps(question), file=self._in, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        line = self._out.readline()
        assert line, f"the window's process ended with {self._process.wait(30)}"
        return json.loads(line)


def main() -> None:
    from rtdeblur.live.displays.window import Window  # isort: skip - OpenCV before PyAV

    from fake_live import flat

    from rtdeblur.live.displays import LivePicture, LiveStatus

    window = Window()
    print(json.dumps("open"), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        answer: list[str] = []
        if "close" in question:
            window.close()
        else:
            state = question["status"]
            for name in ("working_size", "latency_ms"):
                state[name] = state[name] and tuple(state[name])
            picture = None
            if question["show"]:
                blurred, restored, *size = question["show"]
                picture = LivePicture(flat(blurred, tuple(size)), flat(restored, tuple(size)), 0.0)
            answer = [command.value for command in window.show(picture, LiveStatus(**state))]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
