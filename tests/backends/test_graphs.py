"""Graphs that are not video graphs, or return broken frames, give an error or a warning, no wrong video."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtdeblur.backends import open_backend
from rtdeblur.backends.sanity import looks_broken, rows_look_broken
from rtdeblur.errors import BackendError
from rtdeblur.frames import Colour, FrameBatch, Plane, Planes
from rtdeblur.model import Manifest, Model

PLANES = {"y": ("h", "w"), "u": ("a", "b"), "v": ("a", "b")}
MATRICES = {"yuv_to_rgb": [3, 4], "rgb_to_yuv": [3, 4], "peak": [1]}


def graph(
    nodes: Callable[[str], list[onnx.NodeProto]],
    *,
    inputs: dict[str, tuple[str, ...]] = PLANES,
    outputs: tuple[str, ...] = ("y_out", "u_out", "v_out"),
    more: dict[str, list[int]] | None = None,
) -> bytes:
    """Build a graph with one chain of nodes per plane, from `NAME` to `NAME_out`."""
    given = [helper.make_tensor_value_info(k, TensorProto.UINT8, ["n", 1, *s]) for k, s in inputs.items()]
    given += [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in MATRICES.items()]
    given += [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in (more or {}).items()]
    # Runtimes drop unused inputs, so the matrices are used, multiplied by zero.
    chains = [
        helper.make_node("ReduceSum", ["yuv_to_rgb"], ["sum1"], keepdims=0),
        helper.make_node("ReduceSum", ["rgb_to_yuv"], ["sum2"], keepdims=0),
        helper.make_node("Add", ["sum1", "sum2"], ["sum"]),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        *(node for name in inputs for node in nodes(name)),
    ]
    if more:  # something that depends on it
        chains += [helper.make_node("Neg", [name], [f"neg_{name}"]) for name in more]
        outputs = (*outputs, *(f"neg_{name}" for name in more))
    results = [
        helper.make_tensor_value_info(
            k, TensorProto.FLOAT if k.startswith("neg_") else TensorProto.UINT8, None
        )
        for k in outputs
    ]
    constants = [
        helper.make_tensor("twice", TensorProto.FLOAT, [4], [1.0, 1.0, 1.0, 2.0]),
        helper.make_tensor("first", TensorProto.INT64, [1], [0]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [3]),
        helper.make_tensor("all", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("eight", TensorProto.INT64, [1], [8]),
        helper.make_tensor("huge", TensorProto.INT64, [4], [1, 1, 2**14, 2**14]),
        helper.make_tensor("nan", TensorProto.FLOAT, [1], [float("nan")]),
        helper.make_tensor("inf", TensorProto.FLOAT, [1], [float("inf")]),
        helper.make_tensor("many", TensorProto.FLOAT, [1], [1e30]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("grey", TensorProto.FLOAT, [1], [128.0]),
        helper.make_tensor("high", TensorProto.FLOAT, [1], [2.0**16]),
    ]
    made = helper.make_graph(chains, "odd", given, results, constants)
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()


def through(*steps: tuple[str, ...]) -> Callable[[str], list[onnx.NodeProto]]:
    """Cast to float, some operators with a constant each, clip to the peak, and cast back."""

    def nodes(name: str) -> list[onnx.NodeProto]:
        made = [helper.make_node("Cast", [name], [f"{name}0"], to=TensorProto.FLOAT)]
        for i, (operator, *constants) in enumerate(steps):
            made.append(helper.make_node(operator, [f"{name}{i}", *constants], [f"{name}{i + 1}"]))
        made += [
            helper.make_node("Max", [f"{name}{len(steps)}", "nothing"], [f"{name}a"]),
            helper.make_node("Min", [f"{name}a", "peak"], [f"{name}b"]),
            helper.make_node("Cast", [f"{name}b"], [f"{name}_out"], to=TensorProto.UINT8),
        ]
        return made

    return nodes


@pytest.fixture
def run(tmp_path: Path) -> Callable[[bytes, FrameBatch], tuple[Planes, int]]:
    """Restore a batch with a graph; return its planes and the number of unrestored frames."""

    def run(data: bytes, batch: FrameBatch) -> tuple[Planes, int]:
        manifest = Manifest(1, "odd", "0" * 64, {}, 8, "fp32", "off", "MIT")
        backend = open_backend("openvino", Model(manifest, data, tmp_path / "odd.onnx"), precision="fp32")
        try:
            return backend.infer(batch).planes, backend.unrestored
        finally:
            backend.close()

    return run


def pictures(n: int = 3, colour: Colour | None = None) -> FrameBatch:
    colour = colour or Colour()
    y, x = np.mgrid[:48, :64] / 64
    luma = (0.1 + 0.8 * (np.sin(20 * x * y + 5 * y) / 2 + 0.5)) * colour.peak
    chroma = (0.45 + 0.1 * np.sin(9 * x[:24, :32])) * colour.peak
    dtype = np.uint8 if colour.bit_depth == 8 else np.uint16
    planes = tuple(np.stack([p.astype(dtype)[None]] * n) for p in (luma, chroma, chroma))
    return FrameBatch(planes, tuple(range(n)), Fraction(1, 25), colour, (None,) * n)  # type: ignore[arg-type]


def test_a_video_graph_runs(run: Callable[..., tuple[Planes, int]]) -> None:
    planes, unrestored = run(graph(through(("Add", "one"))), pictures())
    assert unrestored == 0
    np.testing.assert_array_equal(planes[0], pictures().planes[0] + 1)


WIDE = through(("Resize", "", "twice"))
CUT = through(("Slice", "first", "eight", "axis"))
FLAT = through(("Flatten",))


def where_it_is_bright(name: str) -> list[onnx.NodeProto]:
    """An output whose shape depends on the picture's values."""
    first, *rest = through(("Identity",))(name)
    rest[0] = helper.make_node("Compress", [f"{name}0", f"{name}is"], [f"{name}1"])
    flat = helper.make_node("Reshape", [f"{name}0", "all"], [f"{name}flat"])
    return [first, flat, helper.make_node("Greater", [f"{name}flat", "grey"], [f"{name}is"]), *rest]


WITHOUT_V = {"y": ("h", "w"), "u": ("a", "b")}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (graph(WIDE), r"its output y_out has shape .*128.*, expected \[1, 1, 48, 64\] like y"),
        (graph(CUT), r"its output y_out has shape .*8.*, expected"),
        (graph(FLAT), r"its output y_out has shape"),
        (graph(through(("Tile", "huge"))), r"its output y_out has shape .*1048576"),
        (graph(through(("Add", "one")), inputs=WITHOUT_V, outputs=("y_out", "u_out")), "missing: v, v_out"),
        (
            graph(through(("Add", "one")), more={"extra": [3]}),
            "has inputs that a video graph does not have: extra",
        ),
        (graph(where_it_is_bright), "its output y_out has shape .*, expected"),
        (b"no graph", ""),
        (graph(through(("Add", "one")))[:-200], ""),
    ],
)
def test_graphs_that_are_not_video_graphs_are_refused(
    run: Callable[..., tuple[Planes, int]], data: bytes, reason: str
) -> None:
    with pytest.raises(BackendError, match=rf"OpenVINO cannot run .*odd\.onnx: .*{reason}") as caught:
        run(data, pictures())
    assert "\n" not in str(caught.value)


NONSENSE = {
    "NaN": through(("Mul", "nan")),
    "infinity": through(("Mul", "inf")),
    "overflow": through(("Sub", "grey"), ("Mul", "many")),
    "overflow to NaN": through(("Mul", "many"), ("Mul", "many"), ("Mul", "zero")),
    "zero": through(("Mul", "zero")),
    "constant": through(("Mul", "zero"), ("Add", "grey")),
    "white": through(("Add", "high")),
}


@pytest.mark.parametrize("colour", [Colour(), Colour(bit_depth=10)], ids=["8 bits", "10 bits"])
@pytest.mark.parametrize("kind", NONSENSE)
def test_broken_frames_are_replaced_by_their_input(
    run: Callable[..., tuple[Planes, int]], kind: str, colour: Colour
) -> None:
    batch = pictures(3, colour)
    planes, unrestored = run(graph(NONSENSE[kind]), batch)
    assert unrestored == 3
    for new, old in zip(planes, batch.planes, strict=True):
        np.testing.assert_array_equal(new, old)


def noisy(planes: Planes, spread: int) -> Planes:
    rng = np.random.default_rng(0)
    y, u, v = (
        (plane.astype(np.int32) + rng.integers(-spread, spread + 1, plane.shape))
        .clip(0, 255)
        .astype(np.uint8)
        for plane in planes
    )
    return y, u, v


def test_unusual_but_valid_frames_are_kept() -> None:
    """Sharper, noisier or brighter frames; flat or saturated ones if their input was so."""
    picture: Planes = tuple(plane[0] for plane in pictures().planes)  # type: ignore[assignment]
    y, u, v = picture
    flat: Planes = (np.full_like(y, 16), np.full_like(u, 128), np.full_like(v, 128))
    primaries: Planes = (
        y,
        np.where(u > 128, 255, 0).astype(np.uint8),
        np.where(v > 128, 255, 0).astype(np.uint8),
    )
    for before, after in [
        (picture, noisy(picture, 25)),
        (picture, (np.where(y > 128, np.minimum(y + 30, 255), y - np.minimum(y, 30)).astype(np.uint8), u, v)),
        (flat, flat),
        (flat, noisy(flat, 2)),
        (noisy(flat, 2), noisy(flat, 1)),
        (primaries, primaries),
        (primaries, noisy(primaries, 10)),
    ]:
        assert not looks_broken(before, after, 255)


MIDDLE, LOW, HIGH = 128, 16, 240


@pytest.mark.parametrize("to", [0, LOW, MIDDLE, HIGH, 255])
@pytest.mark.parametrize("broken", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_a_frame_that_is_broken_in_some_planes_is_detected(broken: tuple[int, ...], to: int) -> None:
    """As of a graph that clamps NaN in some outputs, to either end or to the middle."""
    before: Planes = tuple(plane[0] for plane in pictures().planes)  # type: ignore[assignment]
    after: Planes = tuple(  # type: ignore[assignment]
        np.full_like(plane, to) if index in broken else plane.copy() for index, plane in enumerate(before)
    )
    assert looks_broken(before, after, 255)
    assert rows_look_broken(*(rows(planes) for planes in (before, after)))


def rows(planes: Planes) -> list[Plane]:
    """All rows as of an NV12 picture."""
    y, u, v = (plane[0] for plane in planes)
    return [y, np.stack([u, v], axis=-1).reshape(len(u), -1)]


@pytest.mark.parametrize("plane", [1, 2])
@pytest.mark.parametrize("to", [0, LOW, HIGH, 255])
def test_a_gray_frame_that_becomes_one_colour_is_detected(plane: int, to: int) -> None:
    y, u, v = (plane[0] for plane in pictures().planes)
    before: Planes = (y, np.full_like(u, MIDDLE), np.full_like(v, MIDDLE))
    after = [each.copy() for each in before]
    after[plane][...] = to
    assert looks_broken(before, tuple(after), 255)  # type: ignore[arg-type]


@pytest.mark.parametrize(("was", "to"), [(230, 0), (20, 255)])
def test_a_part_of_luma_that_jumps_to_the_other_end_is_detected(was: int, to: int) -> None:
    before: Planes = tuple(plane[0].copy() for plane in pictures().planes)  # type: ignore[assignment]
    before[0][..., 10:25, 10:30] = was
    after: Planes = tuple(plane.copy() for plane in before)  # type: ignore[assignment]
    after[0][..., 10:25, 10:30] = to
    assert looks_broken(before, after, 255)


@pytest.mark.parametrize("level", [0.0, 0.02, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize("to", [0, 255])
def test_fades_black_frames_and_gray_video_are_kept(level: float, coloured: bool, to: int) -> None:
    """Also if the model removes the last traces of colour, sharpens the picture or adds noise."""
    y, u, v = (plane[0].astype(np.float64) for plane in pictures().planes)
    faded = (to + (y - to) * level, *(MIDDLE + (c - MIDDLE) * level * coloured for c in (u, v)))
    before: Planes = tuple(plane.round().astype(np.uint8) for plane in faded)  # type: ignore[assignment]
    without = [np.full_like(c, MIDDLE) if np.ptp(c) < 7 else c for c in before[1:]]
    sharp = (before[0] * 1.3 - before[0].mean() * 0.3).clip(0, 255).astype(np.uint8)
    for after in (before, (before[0], *without), (sharp, *without), noisy(before, 3)):
        assert not looks_broken(before, after, 255)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", range(6))
@pytest.mark.parametrize("column", range(6))
def test_a_pattern_of_broken_samples_is_detected_at_any_offset(row: int, column: int) -> None:
    """One sample in nine, as from a network with a filter per pixel position."""
    before: Planes = tuple(plane[0] for plane in pictures().planes)  # type: ignore[assignment]
    after: Planes = tuple(plane.copy() for plane in before)  # type: ignore[assignment]
    for plane in after:
        plane[:, row % 3 :: 3, column % 3 :: 3] = 0
    assert looks_broken(before, after, 255)
