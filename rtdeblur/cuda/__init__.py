"""CUDA drivers: one small protocol (`base`), two thin implementations."""

from __future__ import annotations

from importlib.util import find_spec

from rtdeblur.cuda.base import Driver
from rtdeblur.errors import CudaError, DependencyError

DRIVERS = {"cuda-bindings": "cuda.bindings", "pycuda": "pycuda"}
"""Implementations in order of preference, with the packages that they need."""


def open_driver(name: str = "auto", index: int = 0) -> Driver:
    """Open a GPU.

    Args:
        name: cuda-bindings, pycuda, or auto: the first of these that is installed.
        index: index among the GPUs visible to CUDA (see CUDA_VISIBLE_DEVICES).

    Raises:
        DependencyError: the package is not installed.
        CudaError: no driver, or no such GPU.
    """
    if name == "auto":
        name = next((n for n, package in DRIVERS.items() if installed(package)), "cuda-bindings")
    if name not in DRIVERS:
        raise CudaError(f"no CUDA driver package is called {name!r}; try one of auto, {', '.join(DRIVERS)}")
    if not installed(DRIVERS[name]):
        extra = "pycuda" if name == "pycuda" else "rtx"
        raise DependencyError(name, extra, "running on an NVIDIA GPU")
    if name == "pycuda":
        from rtdeblur.cuda.pycuda import PycudaDriver

        return PycudaDriver(index)
    from rtdeblur.cuda.bindings import BindingsDriver

    return BindingsDriver(index)


def installed(package: str) -> bool:
    """Whether a package is installed; imports only its parent packages."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # raised for a missing parent package
        return False
