"""Narrow networks and their graphs; an export takes ten seconds, so all test processes share one of each."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from train.export.bundle import Bundle, write_bundles
from train.export.graph import export_onnx
from train.networks.generators import DeblurGanOptions, FastOptions, Generator

NARROW = FastOptions(widths=(4, 8, 8, 8), encoder_blocks=(1, 1, 1), middle_blocks=1, decoder_blocks=(1, 1, 1))
PAPER = DeblurGanOptions(width=4, blocks=2)


@dataclass(frozen=True)
class Exported:
    """A generator and its two graphs."""

    generator: Generator
    full: Path
    half: Path


def narrow_fast() -> Generator:
    """A narrow `fast` whose change is visible."""
    torch.manual_seed(1)
    generator = NARROW.build().eval()
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


def exported_fast(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The narrow `fast` as bundles named donor."""
    generator = narrow_fast()
    bundle = Bundle("donor", "MIT", training={"steps": 5, "examples": 80})
    folder = _once(tmp_path_factory, "donor", lambda folder: write_bundles(generator, bundle, folder, []))
    return Exported(generator, folder / "donor.onnx", folder / "donor-fp16.onnx")


def exported_deblurgan(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The narrow generator of the paper, as graphs alone."""
    generator = narrow_deblurgan()

    def export(folder: Path) -> None:
        export_onnx(generator, folder / "full.onnx")
        export_onnx(copy.deepcopy(generator).half(), folder / "half.onnx")

    folder = _once(tmp_path_factory, "deblurgan", export)
    return Exported(generator, folder / "full.onnx", folder / "half.onnx")


def _once(tmp_path_factory: pytest.TempPathFactory, name: str, write: Callable[[Path], object]) -> Path:
    """Return a folder that the first test process to come has written."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            write(folder)
    return folder
