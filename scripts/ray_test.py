#!/usr/bin/env python3
"""Kill nodes of a Ray cluster at random moments, and compare its outputs with those of a single machine.

    scripts/ray_test.py [--kills N] [--nodes N] [--clips N] [--minutes N] [--model-clips N] [--seed N]

All nodes of the cluster are processes of this machine. A batch of many short clips and a long one runs until
every file is restored; meanwhile nodes are killed with SIGKILL, one at a time, and replaced. Should the batch
end before all kills are done, it is repeated. The driver is killed once and started again. Every output must
have the bytes of the plain command's, and nothing else may be left in the folder.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

_IDENTITY = ("--model", "identity")


@dataclass
class Tally:
    """What happened.

    Attributes:
        kills: nodes killed.
        batches: batches finished.
        outputs: outputs compared.
        faults: one line each.
    """

    kills: int = 0
    batches: int = 0
    outputs: int = 0
    faults: list[str] = field(default_factory=list)


def make_clip(path: Path, seconds: float, number: int, size: str) -> None:
    """Make a moving picture with sound; every third clip has B-frames and long groups of pictures."""
    words = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={seconds},hue=h={37 * number}"]
    words += ["-f", "lavfi", "-i", f"sine=f={200 + number}:d={seconds}:r=48000"]
    coding = ["-preset", "veryfast", "-bf", "2"] if number % 3 == 0 else ["-preset", "ultrafast", "-g", "50"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, "-c:v", "libx264", *coding, path], check=True)


def digests(folder: Path) -> dict[str, str]:
    """Names of everything in a folder, and the sha256 of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def command(source: Path, target: Path, *more: str) -> list[str]:
    """The program's command line for a folder."""
    return [sys.executable, "-m", "rtdeblur", *more, str(source), "-o", f"{target}/"]


class Nodes:
    """A Ray cluster on this machine, whose nodes come and go.

    Args:
        number: nodes that restore, besides the head.
    """

    def __init__(self, number: int) -> None:
        # Short, since the paths of sockets are limited to about a hundred characters.
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        os.environ |= {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "RAY_TMPDIR": self._folder.name,
        }
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = [self._add() for _ in range(number)]

    @property
    def address(self) -> str:
        """Address for --ray."""
        return str(self._cluster.address)

    def kill(self, draw: random.Random) -> None:
        """Kill a node, and start another."""
        node = draw.choice(self.nodes)
        self._cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)
        self.nodes.append(self._add())

    def close(self) -> None:
        """Stop all nodes."""
        self._cluster.shutdown()
        self._folder.cleanup()

    def _add(self) -> Any:
        for _ in range(4):  # Ray gives up after 30 s, which a busy machine may need
            with suppress(Exception):
                return self._cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        return self._cluster.add_node(num_cpus=1, object_store_memory=100 << 20)


def run_batch(
    words: list[str], nodes: Nodes, tally: Tally, kills: int, pause: float, draw: random.Random, *, fall: bool
) -> None:
    """Run a batch to its end, killing nodes, and once the driver itself if `fall` is set."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(words, stderr=log)
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0.3, 1.7) * pause)
                break
            if fall:
                fall = False
                process.kill()
                process.wait()
                process = subprocess.Popen(words, stderr=log)
            elif tally.kills < kills:
                nodes.kill(draw)
                tally.kills += 1
                print(f"  {tally.kills} kills", flush=True)
        log.seek(0)
        said = [line for line in log.read().splitlines() if line.startswith("rtdeblur:")]
    print("\n".join(f"  {line}" for line in said[-1:]), flush=True)
    tally.batches += 1
    if process.returncode:
        tally.faults.append(f"exit code {process.returncode}: {[line for line in said if 'error' in line]}")


def compare(expected: dict[str, str], target: Path, tally: Tally) -> None:
    """Compare all outputs, and what else is there."""
    found = digests(target.parent)
    wanted = {f"{target.name}/{name}": digest for name, digest in expected.items()} | {target.name: "folder"}
    tally.outputs += len(expected)
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            what = "is missing" if name not in found else "is left" if name not in wanted else "differs"
            tally.faults.append(f"{name} {what}")


@click.command()
@click.option("--kills", default=20, show_default=True)
@click.option("--nodes", "number", default=3, show_default=True)
@click.option("--clips", default=30, show_default=True, help="Short clips.")
@click.option("--minutes", default=10.0, show_default=True, help="Length of the long clip.")
@click.option("--model-clips", default=3, show_default=True, help="Clips restored with the default model.")
@click.option("--size", default="160x120", show_default=True)
@click.option("--pause", default=8.0, show_default=True, help="Mean seconds between kills.")
@click.option("--seed", default=0, show_default=True)
def main(
    kills: int,
    number: int,
    clips: int,
    minutes: float,
    model_clips: int,
    size: str,
    pause: float,
    seed: int,
) -> None:
    """Kill nodes of a Ray cluster at random moments, and compare bytes with the plain command's."""
    draw, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        jobs = [("identity", folder / "in", _IDENTITY), ("model", folder / "in-model", ())]
        for _, source, _ in jobs:
            source.mkdir()
        for i in range(clips):
            make_clip(folder / "in" / f"clip{i:02}.mp4", draw.uniform(2, 6), i, size)
        make_clip(folder / "in" / "long.mkv", 60 * minutes, 0, size)
        for i in range(model_clips):
            make_clip(folder / "in-model" / f"clip{i:02}.mp4", 14, i, "96x64")
        jobs = jobs if model_clips else jobs[:1]
        expected = {}
        for name, source, words in jobs:
            began = time.monotonic()
            target = folder / f"single-{name}"
            subprocess.run([*command(source, target), *words, "-q"], check=True)
            expected[name] = digests(target)
            print(f"{name}: single machine {time.monotonic() - began:.0f} s", flush=True)
        nodes = Nodes(number)
        try:
            first = True
            while not tally.faults and (first or tally.kills < kills):
                for name, source, words in jobs:
                    out = folder / "cluster" / name
                    out.parent.mkdir(exist_ok=True)
                    split = "1000" if name == "identity" else "300"
                    batch = [*command(source, out, "batch"), *words, "--ray", nodes.address, "--split", split]
                    began = time.monotonic()
                    run_batch(batch, nodes, tally, kills, pause, draw, fall=first)
                    print(f"{name}: cluster {time.monotonic() - began:.0f} s", flush=True)
                    compare(expected[name], out, tally)
                    shutil.rmtree(out.parent)
                    first = False
        finally:
            nodes.close()
    print(f"{tally.kills} kills, {tally.batches} batches, {tally.outputs} outputs compared")
    for fault in tally.faults:
        print(f"fault: {fault}")
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
