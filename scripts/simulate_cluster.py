#!/usr/bin/env python3
"""Simulate a batch on a large cluster: nodes fail, files differ in length.

    scripts/simulate_cluster.py [--nodes N] [--files N] [--days N] [--picture FILE.png]

Three ways are compared: files in the order they come, restarted from their beginning when a node fails; the
same with finished segments kept; and longest first, as `rtdeblur batch` sends them. A node restores one file
at a time. It fails after an exponential time, comes back after a while, and its file continues elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

FPS = 8 * 5.8
"""720p frames per second of a node: README's figure for two cores, times eight for sixteen."""
DECODED_FPS = 8 * 132.6
"""Same for decoding, which a resumed file does again."""
SEGMENT_FRAMES = 250
START_SECONDS = 0.5
"""Time of a task besides its frames."""
REPAIR_SECONDS = 600.0


@dataclass(frozen=True)
class Outcome:
    """What a simulated batch took.

    Attributes:
        seconds: from the start to the last file.
        lost_seconds: work that was done twice.
        failures: failures of nodes that restored a file.
        ends: when each node ended its last file, in seconds.
    """

    seconds: float
    lost_seconds: float
    failures: int
    ends: NDArray[np.float64]


def lengths(files: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Draw lengths in frames: log-normal with a median of 10 minutes at 25 per second, at most 12 hours."""
    return np.minimum(15_000 * draw.lognormal(0, 1.2, files), 12 * 3600 * 25).round()


def simulate(frames: NDArray[np.float64], nodes: int, days: float, *, keeps: bool, seed: int = 0) -> Outcome:
    """Run a batch.

    Args:
        frames: length of each file, in the order of the queue.
        nodes: number of nodes.
        days: mean time between failures of a node.
        keeps: whether finished segments survive a failure.
        seed: of the failures.
    """
    draw = np.random.default_rng(seed)
    mean = days * 86_400
    failing = draw.exponential(mean, nodes).tolist()
    free = [(0.0, node) for node in range(nodes)]
    again: list[tuple[float, float, float]] = []  # when known, frames left, frames to decode first
    ends = np.zeros(nodes)
    lost, failures, place, work = 0.0, 0, 0, frames.tolist()
    while place < len(work) or again:
        now, node = heappop(free)
        while failing[node] < now:  # it failed while idle
            failing[node] += draw.exponential(mean)
        if again and (again[0][0] <= now or place == len(work)):
            known, left, before = heappop(again)
            now = max(now, known)
        else:
            left, before, place = work[place], 0.0, place + 1
        took = START_SECONDS + before / DECODED_FPS + left / FPS
        if now + took <= failing[node]:
            ends[node] = now + took
            heappush(free, (now + took, node))
            continue
        end = failing[node]
        done = max(0.0, (end - now - START_SECONDS - before / DECODED_FPS) * FPS)
        kept = done // SEGMENT_FRAMES * SEGMENT_FRAMES if keeps else 0.0
        lost += end - now - kept / FPS
        failures += 1
        ends[node] = end
        heappush(again, (end, left - kept, before + kept))
        failing[node] = end + REPAIR_SECONDS + draw.exponential(mean)
        heappush(free, (end + REPAIR_SECONDS, node))
    return Outcome(float(ends.max()), lost, failures, np.sort(ends))


@click.command()
@click.option("--nodes", default=1_000, show_default=True)
@click.option("--files", default=1_000_000, show_default=True)
@click.option("--days", default=7.0, show_default=True, help="Mean days between failures of a node.")
@click.option("--seed", default=0, show_default=True)
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the nodes at work towards the end.")
def main(nodes: int, files: int, days: float, seed: int, picture: Path | None) -> None:
    """Simulate a batch on a large cluster."""
    frames = lengths(files, np.random.default_rng(seed))
    best = frames.sum() / FPS / nodes
    print(f"{files} files, {frames.sum() / 25 / 3600:.0f} hours of video, {nodes} nodes")
    print(f"without failures and waiting: {best / 86_400:.2f} days")
    ways = {
        "from the beginning": (frames, False),
        "segments kept": (frames, True),
        "longest first": (np.sort(frames)[::-1], True),
    }
    lines = {}
    for name, (queue, keeps) in ways.items():
        outcome = simulate(queue, nodes, days, keeps=keeps, seed=seed + 1)
        idle = (nodes * outcome.seconds - outcome.ends.sum()) / 3600
        print(
            f"{name:20} {outcome.seconds / 86_400:6.2f} days ({outcome.seconds / best - 1:+.2%}); "
            f"{outcome.failures} failures lost {outcome.lost_seconds / 3600:.0f} node-hours, "
            f"waiting for the last file {idle:.0f}"
        )
        hours = (outcome.ends - best) / 3600
        lines[name] = [(float(h), float(nodes - i)) for i, h in enumerate(hours) if i % 4 == 0]
    if picture is not None:
        from PIL import Image

        from train.measure.chart import line_chart

        drawn = line_chart("nodes at work", "hours after the shortest possible end", lines)
        Image.fromarray(drawn).quantize(16).save(picture, optimize=True)


if __name__ == "__main__":
    main()
