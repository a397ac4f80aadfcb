"""Examples for the fusion: sequences that a model has restored, with the neighbours moved onto the middle.

An example is (5, H, W, 3) uint8 RGB: the restored current frame; the restored frames before and after it,
moved onto it; the blurred current frame; the sharp one. Restoring takes long, so examples are kept as files.

The runtime fuses twice: the second pass takes the frames that the first one has fused. In an example of the
second pass, the three restored frames have therefore been fused before their motion is estimated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtdeblur import Deblurrer
from rtdeblur.backends.fusion import reduce_luma
from rtdeblur.model import Model
from train.data.pictures import Picture
from train.networks.temporal import FusionNetwork, estimate_motion, move
from train.temporal.fusion import LUMA, fuse_frame
from train.temporal.sequences import Frames, Sequences

Report = Callable[[str], None]
"""Prints a line."""
Restore = Callable[[Picture], Picture]

_VERSION = 1
"""Increase it when equal sequences, models and first passes result in other examples."""
_REPORT_EVERY = 50


def prepare(
    sequences: Sequences,
    model: Model,
    folder: Path,
    report: Report,
    first_pass: FusionNetwork | None = None,
) -> list[Path]:
    """Make the examples of all sequences that do not exist yet.

    Args:
        sequences: the sequences.
        model: restores the frames, in float32, at full resolution and without a gate.
        folder: cache of examples, shared by sequences, models and passes.
        report: prints a line about the progress.
        first_pass: fuses the restored frames first, for examples of the second pass.

    Returns:
        a `.npy` file for each sequence.

    Raises:
        BackendError: the model cannot run.
        DataError: a picture is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = [_VERSION, model.manifest.sha256]
    if first_pass is not None:
        facts.append(_checksum(first_pass))
    digests = (_digest([*facts, sequences.key(index)]) for index in range(len(sequences)))
    paths = [folder / f"{model.name}-{digest}.npy" for digest in digests]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if missing:
        did = "restored" if first_pass is None else "restored and once fused"
        with _opened(model) as restore:
            for done, index in enumerate(missing, 1):
                _write(paths[index], _example(sequences[index], restore, first_pass))
                if done % _REPORT_EVERY == 0 or done == len(missing):
                    report(f"{sequences.name}: {model.name} {did} {done} of {len(missing)} sequences")
    return paths


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _checksum(network: FusionNetwork) -> str:
    """Return the SHA-256 of the names and values of all weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()


def _write(path: Path, example: Picture) -> None:
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, example)
    temporary.replace(path)


@contextmanager
def _opened(model: Model) -> Iterator[Restore]:
    """Open a model; the last three frames are kept, since those of real sequences occur in three each."""
    with Deblurrer(model, gate="off", resolution="full", temporal="off", precision="fp32") as deblurrer:

        @lru_cache(maxsize=3)
        def restored(codes: bytes, shape: tuple[int, ...]) -> Picture:
            return np.asarray(deblurrer.restore(np.frombuffer(codes, np.uint8).reshape(shape)), np.uint8)

        yield lambda picture: restored(picture.tobytes(), picture.shape)


def _example(frames: Frames, restore: Restore, first_pass: FusionNetwork | None) -> Picture:
    blurred, sharp = frames
    restored = [restore(picture) for picture in blurred]
    if first_pass is not None:
        restored = _fused(first_pass, restored, blurred)
    before, current, after = restored
    return np.stack([current, move_onto(current, before), move_onto(current, after), blurred[1], sharp])


def _fused(network: FusionNetwork, restored: list[Picture], blurred: tuple[Picture, ...]) -> list[Picture]:
    """Fuse consecutive frames, as the runtime fuses a clip: at its ends, a frame is its own neighbour."""
    results = []
    for index, current in enumerate(restored):
        neighbours = [
            move_onto(current, restored[place]) if 0 <= place < len(restored) else current
            for place in (index - 1, index + 1)
        ]
        results.append(fuse_frame(network, np.stack([current, *neighbours, blurred[index]])))
    return results


@torch.inference_mode()
def move_onto(current: Picture, neighbour: Picture) -> Picture:
    """Move a restored neighbour onto the current frame, (H, W, 3) each."""
    first, second = (_reduced(picture) for picture in (current, neighbour))
    height, width = first.shape[-2:]
    motion = estimate_motion(first, second) / torch.tensor([width, height]).view(1, 2, 1, 1)
    moved = move(torch.from_numpy(neighbour.copy()).permute(2, 0, 1)[None].float(), motion)
    return np.asarray(moved[0].permute(1, 2, 0).round().clamp(0, 255).byte())


def _reduced(picture: Picture) -> Tensor:
    """Average luma over squares, as the runtime does: (1, 1, h, w) float32 from (H, W, 3)."""
    return torch.from_numpy(reduce_luma(picture.astype(np.float32) @ np.array(LUMA, np.float32)))[None, None]
