#!/usr/bin/env python3
"""Time a configuration's network in PyTorch, eager and compiled, to compare with `rtdeblur bench`.

    scripts/bench_torch.py train/configs/paper.toml --size 720p --batch 1

Uses half precision on a GPU and bfloat16 on a CPU. Weights are random, which does not affect the time. The
whole video graph runs, planes in and planes out, as in an engine; the planes stay on the device.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

from rtdeblur.backends.base import colour_inputs
from rtdeblur.backends.tensorrt.profiles import parse_size
from rtdeblur.bench import noise
from train.export.graph import VideoGraph
from train.fit.config import load_config

WARM_UP = 3


def milliseconds(call: Callable[[], object], device: str, seconds: float) -> list[float]:
    """Times of calls after a warm-up, each until the device has finished."""

    def timed() -> float:
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) * 1000

    for _ in range(WARM_UP):
        timed()
    times: list[float] = []
    while sum(times) < seconds * 1000 or len(times) < 5:
        times.append(timed())
    return times


@click.command(help=__doc__)
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--size", default="720p", show_default=True)
@click.option("--batch", default=1, show_default=True)
@click.option("--seconds", default=3.0, show_default=True)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
def main(config: Path, size: str, batch: int, seconds: float, device: str) -> None:
    """Measure and print one JSON object per way of running."""
    height, width = parse_size(size)
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    generator = load_config(config).generator.build().eval()
    generator.to(device, dtype)
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    graph = VideoGraph(generator).eval().to(device)
    frames = noise(batch, height, width)
    tables = generator.sites.off(height, width) if generator.sites else ()
    arrays = [*frames.planes, *colour_inputs(frames.colour).values(), *tables]
    inputs = [torch.from_numpy(array).to(device) for array in arrays]
    compiled = torch.compile(graph)
    with torch.inference_mode():
        for name, run in (("eager", graph), ("compile", compiled)):
            times = milliseconds(lambda run=run: run(*inputs), device, seconds)  # type: ignore[misc]
            median, p95 = (round(float(np.percentile(times, share)), 3) for share in (50, 95))
            where = torch.cuda.get_device_name() if device == "cuda" else "processor"
            print(
                json.dumps(
                    {
                        "runs": f"torch {torch.__version__} {name} {str(dtype).removeprefix('torch.')}",
                        "device": where,
                        "config": config.stem,
                        "size": f"{width}x{height}",
                        "batch": batch,
                        "median_ms": median,
                        "p95_ms": p95,
                        "fps": round(batch * 1000 * len(times) / sum(times), 3),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
