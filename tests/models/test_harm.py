"""Bundled models must do no harm, on the backend that every machine has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from rtdeblur.backends import open_backend
from rtdeblur.backends.base import Backend
from rtdeblur.frames import Colour, Frame, FrameBatch, Interlude, Planes, VideoInfo
from rtdeblur.model import Model, bundled_models
from rtdeblur.pipeline import Pipeline
from train.measure import harm

SIDE = 256
RGB = Colour("rgb", full_range=True)
DEEP = Colour("rgb", full_range=True, bit_depth=16)


@pytest.fixture(scope="module", params=bundled_models())
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    opened = open_backend("openvino", Model.load(request.param))
    yield opened
    opened.close()


def restore(backend: Backend, planes: Planes, colour: Colour) -> list[NDArray[np.float64]]:
    batch = FrameBatch.stack([Frame(planes, 0, Fraction(1, 25), colour)])
    return [plane[0, 0].astype(np.float64) for plane in backend.infer(batch).planes]


def grid(model: Model) -> float:
    """Grid that a model adds to a smooth picture, in levels of 255; 16 bits resolve fractions of one."""
    backend = open_backend("openvino", model, precision="fp32")
    grey = np.rint(harm.smooth(SIDE, SIDE) * 65535).astype(np.uint16)
    change = np.mean(restore(backend, (grey, grey, grey), DEEP), axis=0) - grey
    backend.close()
    return harm.grid(change / 257, model.manifest.stride)


@pytest.mark.parametrize("name", harm.UNHARMED)
def test_sharp_pictures_and_noise_are_hardly_changed(name: str, backend: Backend) -> None:
    picture = harm.UNHARMED[name](SIDE, SIDE)
    red, green, blue = (np.ascontiguousarray(plane) for plane in picture.transpose(2, 0, 1))
    restored = restore(backend, (green, blue, red), RGB)
    error = np.mean([np.square(a - b).mean() for a, b in zip(restored, (green, blue, red), strict=True)])
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > harm.LEAST_PSNR


class Still:
    """A source that repeats one picture, and a sink that keeps the results."""

    info = VideoInfo(96, 128, "yuv420p", Fraction(25), None, None)

    def __init__(self, count: int) -> None:
        self.count, self.batches = count, list[FrameBatch]()

    def __iter__(self) -> Iterator[Frame]:
        picture = harm.leaves(96, 128)
        chroma = np.ascontiguousarray(picture[::2, ::2, 1])
        for i in range(self.count):
            planes = (picture[..., 0].copy(), chroma.copy(), chroma.copy())
            yield Frame(planes, i, Fraction(1, 25), Colour())

    def needs(self, index: int) -> bool:
        return True

    def write(self, batch: FrameBatch | Interlude) -> None:
        assert isinstance(batch, FrameBatch)
        self.batches.append(batch)

    def commit(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_still_clip_stays_still(backend: Backend) -> None:
    still = Still(11)
    Pipeline(still, backend, still, batch_size=4).run()
    assert [len(batch) for batch in still.batches] == [1, 4, 4, 2]
    for plane in range(3):
        frames = np.concatenate([batch.planes[plane] for batch in still.batches])
        assert (frames == frames[0]).all()


@pytest.mark.parametrize("name", bundled_models())
def test_no_model_adds_a_checkerboard(name: str) -> None:
    assert grid(Model.load(name)) < harm.MOST_GRID


def test_an_unbalanced_pixel_shuffle_is_detected() -> None:
    model = Model.load("fast")
    graph = onnx.load_from_string(model.onnx)
    makers = {output: node for node in graph.graph.node for output in node.output}
    *_, last = (makers[node.input[0]] for node in graph.graph.node if node.op_type == "DepthToSpace")
    weights = next(tensor for tensor in graph.graph.initializer if tensor.name == last.input[1])
    values = onnx.numpy_helper.to_array(weights).copy()
    values[::4] *= 3  # every fourth channel is the pixel at the top left
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    assert grid(replace(model, onnx=graph.SerializeToString())) > harm.MOST_GRID
