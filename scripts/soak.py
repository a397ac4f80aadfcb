#!/usr/bin/env python3
"""Soak test: a long live session whose source is killed and restarted, observed from outside.

    python scripts/soak.py [--minutes 30] [--kills 20] [--size 320x180] [--rate 30]

The session is the program as users run it: it reads a stream over HTTP from an `ffmpeg` that is killed
(SIGKILL) and restarted after one to eight seconds, restores it with the bundled model, records it, and sends
it out over UDP. Memory, threads and open files are read from /proc. Exit code 0 means that the session
survived every kill, memory stayed within 5 % after the warm-up, and nothing leaked.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
MEMORY_TOLERANCE = 0.05


@dataclass(frozen=True)
class Sample:
    """Resource use of the session's process at one moment."""

    seconds: float
    kills: int
    rss_mib: float
    threads: int
    files: int

    @classmethod
    def take(cls, pid: int, began: float, kills: int) -> Sample:
        """Read /proc."""
        proc = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return cls(
            time.monotonic() - began,
            kills,
            int(status["VmRSS"].split()[0]) / 1024,
            int(status["Threads"]),
            sum(1 for _ in (proc / "fd").iterdir()),
        )

    def row(self) -> str:
        """Format as a table row."""
        return (
            f"| {self.seconds / 60:7.1f} | {self.kills:5} | {self.rss_mib:9.1f} | {self.threads:7} "
            f"| {self.files:5} |"
        )


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return an unused local port."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_source(port: int, size: str, rate: int) -> subprocess.Popen[bytes]:
    """Serve a moving picture to the first client."""
    words = ["ffmpeg", "-nostdin", "-v", "quiet", "-re", "-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}"]
    words += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(rate)]
    return subprocess.Popen([*words, "-f", "mpegts", "-listen", "1", f"http://127.0.0.1:{port}"])


def start_session(port: int, folder: Path) -> subprocess.Popen[str]:
    """Start the program as users do."""
    words = [sys.executable, "-m", "rtdeblur", "live", f"http://127.0.0.1:{port}", "--wait", "--no-window"]
    words += ["-o", str(folder / "soak.mkv"), "--json"]
    words += ["--send", f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def await_picture(session: subprocess.Popen[str], folder: Path) -> None:
    """Wait for the first picture in the recording; libraries and model load before it."""
    while not any(folder.iterdir()):
        if session.poll() is not None:
            raise SystemExit(
                f"the session ended with exit code {session.returncode} before its first picture"
            )
        time.sleep(0.1)


def soak(minutes: float, kills: int, size: str, rate: int) -> tuple[list[Sample], dict[str, object]]:
    """Run the session; return samples taken while pictures flow, and its own summary."""
    samples: list[Sample] = []
    port, done = free_port(), 0
    period = minutes * 60 / (kills + 1)
    with tempfile.TemporaryDirectory() as folder:
        session, source = start_session(port, Path(folder)), start_source(port, size, rate)
        try:
            await_picture(session, Path(folder))
            began = time.monotonic()
            while (now := time.monotonic() - began) < minutes * 60:
                time.sleep(min(period / 4, minutes * 60 - now))
                samples.append(Sample.take(session.pid, began, done))
                print(samples[-1].row(), flush=True)
                if done < kills and time.monotonic() - began >= (done + 1) * period:
                    source.kill()
                    source.wait()
                    done += 1
                    time.sleep(1 + done % 8)
                    source = start_source(port, size, rate)
                    time.sleep(min(12, period / 4))  # until it has reconnected
            session.send_signal(signal.SIGINT)
            summary = json.loads(session.communicate(timeout=60)[0])
        finally:
            for process in (session, source):
                process.kill()
                process.wait()
    return samples, summary


def faults(samples: list[Sample], summary: dict[str, object], kills: int) -> list[str]:
    """Return the failures, one line each."""
    steady = samples[len(samples) // 10 :]  # the first tenth is warm-up
    first, last = steady[0], steady[-1]
    found = []
    for sample in steady:
        if abs(sample.rss_mib / first.rss_mib - 1) > MEMORY_TOLERANCE:
            found.append(f"memory {sample.rss_mib:.1f} MiB after {first.rss_mib:.1f} MiB")
            break
    if last.threads > first.threads or last.files > first.files:
        found.append(f"leaked: {last.threads - first.threads} threads, {last.files - first.files} files")
    if summary["reconnects"] != kills:
        found.append(f"{summary['reconnects']} reconnects after {kills} kills")
    return found


@click.command(help=__doc__)
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--kills", default=20, show_default=True)
@click.option("--size", default="320x180", show_default=True)
@click.option("--rate", default=30, show_default=True)
def main(minutes: float, kills: int, size: str, rate: int) -> None:
    """Run, print the table and report failures."""
    # A shell starts background jobs with SIGINT ignored; the session would keep it so, and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("| minutes | kills | RSS (MiB) | threads | files |")
    print("|--------:|------:|----------:|--------:|------:|")
    samples, summary = soak(minutes, kills, size, rate)
    print(json.dumps(summary))
    wrong = faults(samples, summary, kills)
    print("\n".join(wrong) or "within bounds")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
