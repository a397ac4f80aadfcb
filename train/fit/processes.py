"""Processes of a run: Fabric, for the launcher that started this process."""

from __future__ import annotations

import logging
import os
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.lsf import LSFEnvironment
from lightning_fabric.plugins.environments.mpi import MPIEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

# Set by mpirun of Open MPI, MPICH and Intel MPI, and MVAPICH.
_MPI_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")

# Fabric logs the precision that the configuration states, and advises to change global settings of PyTorch.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def open_fabric(accelerator: str, devices: int, nodes: int = 1, precision: Any = None) -> Fabric:
    """Create a Fabric, not yet launched.

    Args:
        accelerator: auto, cpu, cuda or mps.
        devices: processes on this machine.
        nodes: number of machines.
        precision: Fabric's name of the arithmetic; float32 by default.
    """
    environment = _environment()
    return Fabric(
        accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision, plugins=[environment]
    )


def _environment() -> ClusterEnvironment:
    """Return the environment that Fabric would detect.

    To detect MPI, Fabric initialises it if mpi4py is installed. Open MPI then starts a process (orted) that
    outlives the run, so detect MPI only if mpirun started this process.
    """
    kinds: list[type[ClusterEnvironment]] = [TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment]
    if any(name in os.environ for name in _MPI_VARIABLES):
        kinds.append(MPIEnvironment)
    return next((kind() for kind in kinds if kind.detect()), LightningEnvironment())
