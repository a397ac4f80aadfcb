from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from rtdeblur.backends.tensorrt.flavours import ENTERPRISE, RTX, Flavour
from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape, ShapeProfile, Target
from rtdeblur.errors import EngineError
from rtdeblur.model import DEFAULT_MODEL, Model

HD = Shape.of(1, 720, 1280)


@pytest.mark.parametrize(
    ("chroma", "size"), [("420", (34, 49)), ("422", (67, 49)), ("444", (67, 97)), ("gray", (1, 1))]
)
def test_chroma_sizes_round_up_and_map_back(chroma: str, size: tuple[int, int]) -> None:
    shape = Shape.of(2, 67, 97, chroma)
    assert (shape.chroma_height, shape.chroma_width) == size
    assert shape.chroma == chroma


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_sha256": "cd" * 32}, True),
        ({"precision": "fp32"}, True),
        ({"profile": ShapeProfile.static(HD)}, True),
        ({"planes": "uint16"}, True),
        ({"optimization_level": 5}, True),
        ({"workspace_mib": 1024}, True),
        ({"target": Target("rtx", "1.7.2", (), "", "linux-x86_64")}, True),
        ({"target": Target("tensorrt", "1.7.1", (), "", "linux-x86_64")}, True),
        ({"target": Target("rtx", "1.7.1", ("7.5",), "", "linux-x86_64")}, True),
        ({"target": Target("rtx", "1.7.1", (), "RTX 4090", "linux-x86_64")}, True),
        ({"target": Target("rtx", "1.7.1", (), "", "win32-amd64")}, True),
        ({}, False),
    ],
)
def test_every_field_changes_the_key(
    make_spec: Callable[..., EngineSpec], change: dict[str, object], expected: bool
) -> None:
    assert (make_spec(**change).key != make_spec().key) == expected


def test_the_file_name_is_readable() -> None:
    model = Model.load(DEFAULT_MODEL)
    target = Target("tensorrt", "10.13.3", ("8.9",), "NVIDIA GeForce RTX 4090", "linux-x86_64")
    stem = EngineSpec.of(model, ShapeProfile.static(HD), target, planes="uint16").stem
    for part in (
        "fast",
        model.manifest.sha256[:8],
        "1x720x1280",
        "420",
        "u16",
        "tensorrt-10.13.3",
        "RTX-4090",
    ):
        assert part in stem
    assert not set(stem) & set(' /\\:*?"<>|')


def test_a_spec_survives_json(make_spec: Callable[..., EngineSpec]) -> None:
    spec = make_spec(HD, Shape.of(4, 1080, 1920), planes="uint16", workspace_mib=512)
    assert EngineSpec.from_json(json.loads(json.dumps(spec.as_json()))) == spec


def test_a_range_is_tuned_for_its_first_size() -> None:
    profile = ShapeProfile.spanning([HD, Shape.of(4, 480, 854), Shape.of(1, 1920, 1080)])
    assert profile.opt == HD
    assert (profile.min.height, profile.min.width, profile.min.batch) == (480, 854, 1)
    assert (profile.max.height, profile.max.width, profile.max.batch) == (1920, 1280, 4)
    assert not profile.is_static
    assert profile.covers(ShapeProfile.static(HD))
    assert not ShapeProfile.static(HD).covers(profile)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shape.of(0, 64, 64), "0 frames of 64×64 is out of range"),
        (lambda: Shape.of(1, 64, 70000), "70000×64 is out of range"),
        (lambda: Shape.of(1, 64, 64, "411"), "chroma is '411'; try one of 420"),
        (lambda: ShapeProfile(HD, replace(HD, height=64), HD), "height is 720, 64, 720; expected min ≤ opt"),
    ],
)
def test_impossible_shapes_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"planes": "uint12"}, "plane type is 'uint12'"),
        ({"optimization_level": 9}, "optimization level is 9; expected 0 to 5"),
        ({"workspace_mib": 0}, "workspace is 0 MiB"),
        ({"stride": 128}, "96×64 is too small for 'm', which needs at least 128×128"),
    ],
)
def test_impossible_spec_values_are_refused(
    make_spec: Callable[..., EngineSpec], change: dict[str, object], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        make_spec(**change)


@pytest.mark.parametrize(
    ("flavour", "capability", "capabilities", "gpu"),
    [
        (RTX, None, (), ""),
        (RTX, "8.9", ("8.9",), ""),
        (RTX, "9.0", (), ""),  # not known by name: what runs on later GPUs may run on it
        (ENTERPRISE, "9.0", ("9.0",), "card"),
    ],
)
def test_the_target_follows_from_the_machine(
    monkeypatch: pytest.MonkeyPatch,
    flavour: Flavour,
    capability: str,
    capabilities: tuple[str, ...],
    gpu: str,
) -> None:
    monkeypatch.setattr(Flavour, "version", "1.2.3")
    monkeypatch.setattr(Flavour, "targets", ("7.5", "8.9"))
    target = Target.of(flavour, "card", capability)
    assert (target.compute_capabilities, target.gpu) == (capabilities, gpu)


@pytest.mark.parametrize(
    ("built", "wanted", "serves"),
    [
        (Target("rtx", "1"), Target("rtx", "1", ("8.9",)), True),  # built ahead, portable
        (Target("rtx", "1"), Target("rtx", "1", ("7.5",)), False),  # which does not include Turing
        (Target("rtx", "1", ("7.5", "8.9")), Target("rtx", "1", ("8.9",)), True),
        (Target("rtx", "1", ("8.9",)), Target("rtx", "1"), False),
        (Target("rtx", "2"), Target("rtx", "1", ("8.9",)), False),
        (Target("tensorrt", "1", ("8.9",), "a"), Target("tensorrt", "1", ("8.9",), "a"), True),
        (Target("tensorrt", "1", ("8.9",), "a"), Target("tensorrt", "1", ("8.9",), "b"), False),
    ],
)
def test_an_engine_serves_only_the_gpus_it_was_built_for(
    make_spec: Callable[..., EngineSpec], built: Target, wanted: Target, serves: bool
) -> None:
    assert make_spec(target=built).serves(make_spec(target=wanted)) == serves
