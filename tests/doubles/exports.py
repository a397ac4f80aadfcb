"""Narrow networks and their graphs, shared by all test processes.

PyTorch's older exporter writes them within a second; the newer one, which `tests/train/export` tests, takes
ten or more.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from train.export.bundle import Bundle, write_bundles
from train.export.graph import export_onnx
from train.networks.generators import DeblurGanOptions, FastOptions, Generator

NARROW = FastOptions(widths=(4, 8, 8, 8), encoder_blocks=(1, 0, 0), middle_blocks=0, decoder_blocks=(0, 0, 1))
PAPER = DeblurGanOptions(width=4, blocks=2)


@dataclass(frozen=True)
class Exported:
    """A generator and its two graphs."""

    generator: Generator
    full: Path
    half: Path


def narrow_fast(*, two_scales: bool = True) -> Generator:
    """A narrow `fast` whose change is visible."""
    torch.manual_seed(1)
    generator = replace(NARROW, two_scales=two_scales).build().eval()
    for weight in generator.parameters():  # an export leaves out biases of zero
        weight.data += 0.01 * torch.randn_like(weight)
    torch.nn.init.normal_(generator.head.weight, 0, 0.03)
    return generator


def narrow_deblurgan() -> Generator:
    """A narrow generator of the paper, with two places of dropout."""
    torch.manual_seed(1)
    generator = PAPER.build()
    for weight in generator.parameters():
        torch.nn.init.normal_(weight, 0, 0.1)
    return generator.eval()


def traced(generator: Generator) -> Generator:
    """Have a generator exported by PyTorch's older exporter."""
    generator.traced = True  # type: ignore[misc]
    return generator


def exported_fast(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The narrow `fast` as bundles named donor."""
    generator = traced(narrow_fast())
    bundle = Bundle("donor", "MIT", training={"steps": 5, "examples": 80})
    folder = _once(tmp_path_factory, "donor", lambda folder: write_bundles(generator, bundle, folder, []))
    return Exported(generator, folder / "donor.onnx", folder / "donor-fp16.onnx")


def newly_exported_fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 graph of the narrow `fast` by the newer exporter."""
    folder = _once(tmp_path_factory, "newer", lambda folder: export_onnx(narrow_fast(), folder / "fast.onnx"))
    return folder / "fast.onnx"


def exported_deblurgan(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The narrow generator of the paper, only as graphs."""
    generator = traced(narrow_deblurgan())

    def export(folder: Path) -> None:
        export_onnx(generator, folder / "full.onnx")
        export_onnx(copy.deepcopy(generator).half(), folder / "half.onnx")

    folder = _once(tmp_path_factory, "deblurgan", export)
    return Exported(generator, folder / "full.onnx", folder / "half.onnx")


def use_ready_made(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace an export by a copy of these graphs."""

    def place(generator: Generator, path: Path) -> None:
        half = next(generator.parameters()).dtype == torch.float16
        shutil.copy(exported.half if half else exported.full, path)

    monkeypatch.setattr("train.export.bundle.export_onnx", place)


def _once(tmp_path_factory: pytest.TempPathFactory, name: str, write: Callable[[Path], object]) -> Path:
    """Return a folder that the first test process to come has written."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            write(folder)
    return folder
