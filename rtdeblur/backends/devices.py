"""Devices that a model may run on, by the names that `--device` takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from rtdeblur.errors import UsageError


@dataclass(frozen=True)
class Device:
    """Device to run a model on.

    Attributes:
        kind: cpu, gpu, npu, or auto: the backend's choice.
        index: number of the GPU, from 0.
    """

    kind: Literal["auto", "cpu", "gpu", "npu"] = "auto"
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read `auto`, `cpu`, `gpu`, `gpu.1` or `npu`.

        Raises:
            UsageError: it is something else.
        """
        match = re.fullmatch(r"(auto|cpu|npu|gpu)|gpu\.(\d{1,2})", text)
        if match is None:
            raise UsageError(f"device is {text!r}, expected auto, cpu, gpu, gpu.1 (the second GPU) or npu")
        if match[2]:
            return cls("gpu", int(match[2]))
        return cls(cast(Any, match[1]))

    def __str__(self) -> str:
        return f"{self.kind}.{self.index}" if self.index else self.kind


AUTO, CPU = Device(), Device("cpu")
