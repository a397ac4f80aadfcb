"""A Ray cluster of two nodes on this machine, on which one command of the program runs.

python ray_cluster.py ARGUMENTS...    # of the program; the cluster's address is appended

If HIDDEN_FOLDER is set, the nodes that restore do not see that folder: each has a mount namespace of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time

import ray
from ray.cluster_utils import Cluster

from rtdeblur.cli import main

# Short, since the paths of sockets are limited to about a hundred characters.
folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder.name}
START_FAILED = 9


def start(count: int, num_cpus: int) -> Cluster:
    """Start one or two nodes; Ray gives up after 30 s, which a busy machine may need."""
    node = {"num_cpus": num_cpus, "object_store_memory": 80 << 20}
    for attempt in range(3):
        cluster = None
        try:
            cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
            for _ in range(count - 1):
                cluster.add_node(**node)
        except Exception as error:
            sys.stderr.write(f"attempt {attempt + 1}: {error}\n")
            if cluster is not None:
                cluster.shutdown()
        else:
            return cluster
    sys.exit(START_FAILED)


def start_hidden(cluster: Cluster, hidden: str, count: int) -> list[subprocess.Popen[bytes]]:
    """Start nodes that have an empty folder at the path `hidden`, one after another."""
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    memory = f"--object-store-memory={80 << 20}"
    start = ["ray", "start", f"--address={cluster.address}", "--num-cpus=1", memory, "--block"]
    words = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', hidden, *start]
    deadline = time.monotonic() + 120
    nodes: list[subprocess.Popen[bytes]] = []
    while len(nodes) < count:
        nodes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True))
        while sum(node["Alive"] for node in ray.nodes()) <= len(nodes):
            if time.monotonic() > deadline or nodes[-1].poll() is not None:
                sys.exit(START_FAILED)
            time.sleep(0.2)
    ray.shutdown()
    return nodes


if __name__ == "__main__":
    hidden = os.environ.pop("HIDDEN_FOLDER", "")
    cluster = start(1 if hidden else 2, num_cpus=0 if hidden else 1)
    nodes = start_hidden(cluster, hidden, 2) if hidden else []
    code = main(["batch", *sys.argv[1:], "--ray", cluster.address])
    for node in nodes:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait()
    cluster.shutdown()
    folder.cleanup()
    sys.exit(code)
