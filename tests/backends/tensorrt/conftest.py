from __future__ import annotations

from collections.abc import Callable

import pytest

from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape, ShapeProfile, Target

MakeSpec = Callable[..., EngineSpec]


@pytest.fixture
def make_spec() -> MakeSpec:
    """Spec of an imaginary model; keyword arguments change its fields."""

    def make(*shapes: Shape, **changes: object) -> EngineSpec:
        profile = ShapeProfile.spanning(list(shapes or [Shape.of(1, 64, 96)]))
        target = Target("rtx", "1.7.1", (), "", "linux-x86_64")
        fields = {"model": "m", "model_sha256": "ab" * 32, "precision": "fp16", "stride": 16}
        return EngineSpec(**fields | {"profile": profile, "target": target} | changes)  # type: ignore[arg-type]

    return make
