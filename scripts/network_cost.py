#!/usr/bin/env python3
"""Measure what imported networks cost per 720p frame: time as a multiple of `fast`, and peak memory.

    scripts/network_cost.py [NAME ...] [--size 720p] [--frames 2] [--limit 600] [--memory 8]

Builds each network as published, with random weights, which do not affect the cost; writes its video graph
as `python -m train import` does; and runs it with OpenVINO in a process of its own. Frames of `fast`, in
another process, alternate with the network's. Times are processor time, which other load on the machine
affects little. A network that needs more time or memory than the limits gets a row that says so.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

_FAST_PER_FRAME = 3
_MEMORY_SIGNS = (
    "MemoryError",
    "bad_alloc",
    "emory alloc",
    "allocate memory",
    "enough memory",
    "failed to map",
    "temporarily unavailable",
)
_NAFNET = {"middle_blk_num": 1, "enc_blk_nums": [1, 1, 1, 28], "dec_blk_nums": [1, 1, 1, 1]}


@dataclass(frozen=True)
class Network:
    """A network as published for deblurring.

    Attributes:
        architecture: a key of `train.networks.public.ARCHITECTURES`.
        kind: name of its class.
        sizes: arguments of the class.
    """

    architecture: str
    kind: str
    sizes: dict[str, Any] = field(default_factory=dict)


NETWORKS = {
    "NAFNet-width32": Network("NAFNet", "NAFNet", {"width": 32, **_NAFNET}),
    "NAFNet-width64": Network("NAFNet", "NAFNet", {"width": 64, **_NAFNET}),
    "M3SNet-32": Network("M3SNet", "M3SNet"),
    "MIRNetv2": Network("MIRNetv2", "MIRNet2"),
    "Restormer": Network("Restormer", "Restormer"),
    "KBNet-l": Network("KBNet", "KBNet_l"),
    "FFTformer": Network("FFTformer", "FFTformer"),
    "MPRNet": Network("MPRNet", "MPRNet", {"n_feat": 96, "scale_unetfeats": 48, "scale_orsnetfeats": 32}),
}


class CostError(Exception):
    """A process exceeded its limits; the text says which."""


def export_random(name: str, folder: Path) -> None:
    """Write the bundle of a network with random weights; print its number of parameters."""
    import torch

    from rtdeblur.model import FORMAT_VERSION
    from train.export.graph import export_onnx
    from train.networks import public
    from train.networks.public import ARCHITECTURES, PublicGenerator

    network = NETWORKS[name]
    public._spandrel()
    module = importlib.import_module(ARCHITECTURES[network.architecture].module)
    torch.manual_seed(0)
    generator = PublicGenerator(getattr(module, network.kind)(**network.sizes).eval(), network.architecture)
    path = folder / f"{name}.onnx"
    export_onnx(generator.eval(), path)
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "architecture": {"generator": generator.title},
        "stride": generator.stride,
        "precision": "fp32",
        "dropout": "off",
        "licence": "unstated",
        "training": {},
        "scores": {},
    }
    path.with_suffix(".json").write_text(json.dumps(manifest))
    parameters = sum(value.numel() for value in generator.parameters())
    print(json.dumps({"parameters": f"{parameters / 1e6:.1f}"}), flush=True)


def run_frames(model: str, size: str) -> None:
    """Restore a frame per line on standard input; print its seconds, and this process's peak memory."""
    from rtdeblur.backends import open_backend
    from rtdeblur.backends.tensorrt.profiles import parse_size
    from rtdeblur.bench import noise
    from rtdeblur.model import Model

    backend = open_backend("openvino", Model.load(model))
    batch = noise(1, *parse_size(size))
    for _ in sys.stdin:
        began = time.process_time()
        backend.infer(batch)
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak, "backend": backend.description}), flush=True)


@dataclass(frozen=True)
class Limits:
    """Limits of a process: processor time in seconds, and memory in GiB."""

    seconds: int
    memory_gib: float

    def apply(self) -> None:
        """Apply them to this process."""
        resource.setrlimit(resource.RLIMIT_CPU, (self.seconds, self.seconds))
        resource.setrlimit(resource.RLIMIT_DATA, (int(self.memory_gib * 2**30),) * 2)


class Worker:
    """A process of this script that works under limits."""

    def __init__(self, limits: Limits, *words: object) -> None:
        self._limits = limits
        options = ["--limit", limits.seconds, "--memory", limits.memory_gib, *words]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self) -> dict[str, Any]:
        """Send a line and return the answer.

        Raises:
            CostError: it exceeded a limit.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(BrokenPipeError):
            stdin.write("\n")
            stdin.flush()
        if line := stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        said = self._process.communicate()[1]
        if self._process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise CostError(f"more than {self._limits.seconds} s")
        if any(sign in said for sign in _MEMORY_SIGNS):
            raise CostError(f"more than {self._limits.memory_gib:g} GiB")
        raise CostError((said.strip().splitlines() or [f"ended with {self._process.returncode}"])[-1])

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def measure(name: str, size: str, frames: int, limits: Limits) -> str:
    """Return a network's row."""
    parameters = ""
    fast: list[dict[str, Any]] = []
    slow: list[dict[str, Any]] = []
    excess = ""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:

        def start(*words: object) -> Worker:
            worker = Worker(limits, *words)
            stack.callback(worker.close)
            return worker

        try:
            model = "fast"
            if name != "fast":
                model = f"{folder}/{name}.onnx"
                parameters = start("--export", name, "--folder", folder).ask()["parameters"]
            ours, theirs = start("--run", "fast", "--size", size), start("--run", model, "--size", size)
            fast.append(ours.ask())  # the first frame of each includes compilation
            while len(slow) <= frames:
                slow.append(theirs.ask())
                fast += [ours.ask() for _ in range(_FAST_PER_FRAME)]
        except CostError as error:
            excess = str(error)
    if not slow or len(fast) == 1:
        return f"| {name} | {parameters} | {excess} | |"
    one = statistics.median(answer["seconds"] for answer in fast[1:])
    many = statistics.median(answer["seconds"] for answer in slow[1:] or slow)
    print(f"{name}: {many:.2f} s, fast {one:.2f} s; {slow[0]['backend']} {excess}", file=sys.stderr)
    return f"| {name} | {parameters} | {many / one:.1f} | {slow[-1]['peak_mib'] / 1024:.1f} |"


@click.command(help=__doc__)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--size", default="720p", show_default=True)
@click.option("--frames", default=2, show_default=True, help="Frames per network, after a first one.")
@click.option("--limit", default=600, show_default=True, help="Processor time per process, in seconds.")
@click.option("--memory", default=8.0, show_default=True, help="GiB per process.")
@click.option("--export", "exported", hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
@click.option("--run", hidden=True)
def main(
    names: tuple[str, ...],
    size: str,
    frames: int,
    limit: int,
    memory: float,
    exported: str | None,
    folder: Path | None,
    run: str | None,
) -> None:
    """Measure the networks; print a table."""
    limits = Limits(limit, memory)
    if exported and folder:
        limits.apply()
        return export_random(exported, folder)
    if run:
        limits.apply()
        return run_frames(run, size)
    print("| network | parameters in M | time, `fast` = 1 | peak memory in GiB |")
    print("|---|---:|---:|---:|")
    for name in names or ("fast", *NETWORKS):
        print(measure(name, size, frames, limits), flush=True)


if __name__ == "__main__":
    main()
