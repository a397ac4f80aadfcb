"""Fabric as the trainer opens it: quiet, and without side effects of looking for a cluster."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from import_path import import_path
from lightning_fabric.plugins.environments import (
    LightningEnvironment,
    MPIEnvironment,
    TorchElasticEnvironment,
    mpi,
)
from lightning_fabric.utilities import rank_zero_info, rank_zero_warn

from train.fit.processes import open_fabric


@pytest.fixture
def mpi4py(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Install an mpi4py with two processes; the list has what was initialised by importing it."""
    initialised: list[str] = []

    class Package(ModuleType):
        def __getattr__(self, name: str) -> object:
            if name != "MPI":
                raise AttributeError(name)
            initialised.append(name)
            return SimpleNamespace(COMM_WORLD=SimpleNamespace(Get_size=lambda: 2, Get_rank=lambda: 0))

    monkeypatch.setattr(mpi, "_MPI4PY_AVAILABLE", True)
    monkeypatch.setitem(sys.modules, "mpi4py", Package("mpi4py"))
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return initialised


def test_mpi_is_not_initialised_without_mpirun(mpi4py: list[str]) -> None:
    """Initialising it would start a daemon that outlives the run."""
    fabric = open_fabric("cpu", 1)
    assert isinstance(fabric._connector.cluster_environment, LightningEnvironment)
    assert mpi4py == []


def test_processes_of_mpirun_are_found(mpi4py: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    fabric = open_fabric("cpu", 1)
    assert isinstance(fabric._connector.cluster_environment, MPIEnvironment)
    assert "MPI" in mpi4py


def test_processes_of_torchrun_are_found(mpi4py: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fabric = open_fabric("cpu", 1)
    assert isinstance(fabric._connector.cluster_environment, TorchElasticEnvironment)
    assert mpi4py == []


def test_the_choice_of_precision_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    open_fabric("cpu", 1, precision="bf16-mixed")
    rank_zero_info("You are using a CUDA device that has Tensor Cores.")
    assert caplog.records == []
    logger = logging.getLogger("lightning_fabric.utilities.rank_zero")
    assert not logger.isEnabledFor(logging.INFO)
    with pytest.warns(UserWarning, match="still shown"):
        rank_zero_warn("still shown")


def test_a_new_fabric_writes_nothing(tmp_path: Path) -> None:
    """In a process of its own, as Fabric decides on its first import where to log."""
    code = (
        "from train.fit.processes import open_fabric; open_fabric('cpu', 1, precision='bf16-mixed').launch()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": import_path()}, check=True, timeout=120,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
