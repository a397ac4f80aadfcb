"""A Ray cluster of two nodes on this machine, on which one command of the program runs.

python ray_cluster.py ARGUMENTS...    # of the program; the cluster's address is appended
"""

from __future__ import annotations

import os
import sys
import tempfile

from ray.cluster_utils import Cluster

from rtdeblur.cli import main

# Short, since the paths of sockets are limited to about a hundred characters.
folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder.name}
START_FAILED = 9


def start() -> Cluster:
    """Start two nodes; Ray gives up after 30 s, which a busy machine may need."""
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    for attempt in range(3):
        cluster = None
        try:
            cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
            cluster.add_node(**node)
        except Exception as error:
            sys.stderr.write(f"attempt {attempt + 1}: {error}\n")
            if cluster is not None:
                cluster.shutdown()
        else:
            return cluster
    sys.exit(START_FAILED)


if __name__ == "__main__":
    cluster = start()
    code = main(["batch", *sys.argv[1:], "--ray", cluster.address])
    cluster.shutdown()
    folder.cleanup()
    sys.exit(code)
