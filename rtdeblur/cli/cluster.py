"""Ray: connection to a cluster, its nodes, and how tasks are sent to them.

Tasks are functions of `rtdeblur.cli.node_tasks`; Ray sends their names and arguments, so each node needs its
own installation of rtdeblur, and it has to be the same.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.environment import FOR_LIBRARIES, setting, unset
from rtdeblur.cli.node_tasks import (
    Differs,
    Facts,
    difference,
    probe,
    restore,
    restore_range,
    survey,
)
from rtdeblur.cli.report import say
from rtdeblur.cli.signals import GRACE_SECONDS, abandoning
from rtdeblur.cli.storage import Relay, Storage
from rtdeblur.errors import DependencyError, RtdeblurError, first_line, last_line

if TYPE_CHECKING:
    from rtdeblur.cli.plan import Job
    from rtdeblur.cli.request import DeblurRequest
    from rtdeblur.ranges import Survey

_OF_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else it reports every start
    "RAY_worker_niceness": "0",  # as if the program ran by itself
}
_OF_LOCAL_RAY = {
    "RAY_num_prestart_python_workers": "1",  # else one per core, though a task takes all of them
}
_STORE_BYTES = 256 << 20
"""Memory for objects on a local node; those here are small."""
_ANSWER_SECONDS = 5
_PROBE_SECONDS = 120
_RETRIES = 9
"""Times that a task is started again after its process or node died."""
_SESSION = "rtdeblur-ray-"
_TOKEN = secrets.token_hex(32)
"""Ray reads it once per process."""
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:/\s]+):(\d{1,5})")


@dataclass(frozen=True)
class Node:
    """A node of a cluster.

    Attributes:
        id: Ray's ID of the node.
        address: IP address, shown to users.
        cpus: number of CPUs that it offers, at least 1.
        gpus: number of GPUs that it offers.
        facts: what affects the bytes of an output there; {} if it cannot restore anything.
        problem: why it cannot be used; '' if it can.
        unseen: a path of the batch that is missing there; '' if all exist.
    """

    id: str
    address: str
    cpus: int
    gpus: int
    facts: Facts = field(default_factory=dict)
    problem: str = ""
    unseen: str = ""


class _RayMessages(io.TextIOBase):
    """Stand-in for standard output, on which Ray reports every node and task that it loses."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if "(raylet)" in line:
                say("detail", line.rpartition("(raylet)")[2].removeprefix("\x1b[0m").strip())
        return len(text)


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a Ray cluster, or start Ray on this machine and stop it again.

    Meanwhile, nothing reaches standard output.

    Args:
        address: HOST:PORT, or auto for a cluster that runs on this machine; None starts one.

    Raises:
        DependencyError: Ray is not installed.
        RtdeblurError: the cluster cannot be reached or started.
    """
    if address is not None:
        _check_address(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    variables = unset(_OF_RAY)
    if address is None:  # Ray listens on all interfaces, and runs whatever it is sent
        variables |= unset(_OF_LOCAL_RAY) | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _TOKEN}
    with ExitStack() as stack:
        stack.enter_context(setting(variables))
        try:
            import ray
        except ImportError as error:
            raise DependencyError("ray", "ray", "`rtdeblur batch`") from error
        if address is None:
            options |= {
                "object_store_memory": _STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": str(stack.enter_context(_session())),
            }
        else:  # nodes of our own inherit the environment; for others, Ray starts processes of their own
            own = {name: value for name, value in os.environ.items() if name.startswith("RTDEBLUR_")}
            options["runtime_env"] = {"env_vars": {**FOR_LIBRARIES, **own}}
        stack.enter_context(redirect_stdout(_RayMessages()))
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            ray.init(address or "local", **options)
        except Exception as error:
            why = first_line(error)
            if address is None:
                raise RtdeblurError(
                    f"Ray cannot be started: {why}", "try again, or without Ray: rtdeblur INPUT... -o FOLDER/"
                ) from error
            raise RtdeblurError(f"the Ray cluster at {address!r} cannot be joined: {why}", _ADVICE) from error
        stack.callback(ray.shutdown)
        for number, handler in handlers.items():  # Ray's own print a stack trace
            signal.signal(number, handler)
        yield


@contextmanager
def _session() -> Iterator[Path]:
    """Make a folder for the files of a Ray that this process starts; remove those that killed ones left."""
    # Ray's default is shared by all users. Short, since the paths of sockets have about a hundred characters.
    root = Path("/tmp" if os.name == "posix" else tempfile.gettempdir())
    for old in root.glob(f"{_SESSION}*-*"):
        owner = old.name.removeprefix(_SESSION).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(old, ignore_errors=True)
    session = Path(tempfile.mkdtemp(prefix=f"{_SESSION}{os.getpid()}-", dir=root))

    def remove() -> None:
        shutil.rmtree(session, ignore_errors=True)

    with abandoning(remove):
        try:
            yield session
        finally:
            remove()


_ADVICE = "start one with `ray start --head`, or leave out the address to use this machine only"


def _check_address(address: str) -> None:
    """Refuse an address at which nothing listens: Ray itself would try for a minute.

    Raises:
        click.UsageError: it is not an address.
        RtdeblurError: nothing answers.
    """
    if address == "auto":
        return
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise click.UsageError(
            f"--ray is {address!r}, expected HOST:PORT of a Ray cluster, or auto; put INPUT before it."
        )
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RtdeblurError(f"no Ray cluster answers at {address}: {reason}", _ADVICE) from error


class Cluster:
    """The nodes that restore alike, and how tasks are sent to them.

    Args:
        request: the options of the command.
        paths: files and folders that every node must see.

    Attributes:
        nodes: the nodes used: of those that restore alike, the largest group.
        left_out: all others, each with its problem.
        slots: tasks that run at the same time.

    Raises:
        RtdeblurError: no node can be used.
    """

    def __init__(self, request: DeblurRequest, paths: tuple[Path, ...]) -> None:
        self._request = request = _anywhere(request)
        found = _nodes()
        use_gpus = any(node.gpus for node in found) and _may_use_gpu(request)
        if use_gpus:
            lacking = [
                replace(node, problem="it has no GPU, the others have") for node in found if not node.gpus
            ]
            found = [node for node in found if node.gpus]
        else:
            lacking, found = [], [replace(node, gpus=0) for node in found]
        probed = _probe(found, request, tuple(path.absolute() for path in paths), use_gpus)
        groups = Counter({_key(n.facts): 0 for n in probed if not n.problem})
        for node in probed:
            if not node.problem:
                groups[_key(node.facts)] += node.gpus if use_gpus else node.cpus
        if not groups:
            problems = "; ".join(f"{node.address}: {node.problem}" for node in (*probed, *lacking))
            raise RtdeblurError(f"no node can be used: {problems or 'the cluster has none'}")
        (chosen, _), *_ = groups.most_common(1)
        self.nodes = [node for node in probed if not node.problem and _key(node.facts) == chosen]
        self.facts = self.nodes[0].facts
        self.left_out = [
            node if node.problem else replace(node, problem=difference(node.facts, self.facts))
            for node in (*probed, *lacking)
            if node not in self.nodes
        ]
        share = (max(1, node.cpus // node.gpus) if node.gpus else node.cpus for node in self.nodes)
        self._resources: dict[str, Any] = {"num_cpus": min(share), "num_gpus": int(use_gpus)}
        self.slots = sum(_slots(node, self._resources) for node in self.nodes)
        unseeing = frozenset(node.id for node in self.nodes if node.unseen)
        self._relay = Relay(_storage(overwrite=request.overwrite), unseeing) if unseeing else None

    def exclude(self, differs: Differs) -> None:
        """Send no more tasks to a node.

        Raises:
            RtdeblurError: no other node is left.
        """
        if all(node.id != differs.node for node in self.left_out):
            node = next((n for n in _nodes() if n.id == differs.node), Node(differs.node, "?", 1, 0))
            self.left_out.append(replace(node, problem=differs.difference))
            say("warning", f"node {node.address} is left out: {differs.difference}")
        if {node.id for node in _nodes()} <= {node.id for node in self.left_out}:  # tasks would wait forever
            raise RtdeblurError(f"no node is left: {differs.difference}")

    def restore(self, job: Job) -> Any:
        """Start the restoration of a file; return Ray's reference of its outcome, or of a `Differs`."""
        return self._start(restore, job.input.name, job)

    def survey(self, job: Job) -> Any:
        """Start a survey; return the reference of a `Surveyed`, a `Failure`, a `Differs`, or None."""
        return self._start(survey, f"{job.input.name} [survey]", job)

    def restore_range(self, job: Job, part: Survey, key: str) -> Any:
        """Start a range; return the reference of statistics, a `Failure`, a `Differs`, or None."""
        first, stop = part.sections[0].first, part.sections[-1].stop
        return self._start(restore_range, f"{job.input.name} [{first}:{stop}]", job, part, key)

    def _start(self, task: Any, name: str, *arguments: Any) -> Any:
        import ray

        options: dict[str, Any] = {**self._resources, "name": name, "max_retries": _RETRIES}
        if self.left_out:
            ids = ",".join(node.id for node in self.left_out)
            options["label_selector"] = {"ray.io/node-id": f"!in({ids})"}
        job, *rest = arguments
        there = replace(job, input=job.input.absolute(), output=job.output.absolute())
        return (
            ray.remote(task).options(**options).remote(self._request, self.facts, self._relay, there, *rest)
        )

    def close(self) -> None:
        """Remove what nodes have sent only in part."""
        import ray

        if self._relay is not None:
            with suppress(Exception):
                ray.get(self._relay.storage.close.remote(), timeout=GRACE_SECONDS / 2)


def _storage(*, overwrite: bool) -> Any:
    """Start the actor through which nodes reach the storage, on this machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    make: Any = ray.remote(Storage)  # without types
    return make.options(num_cpus=0, scheduling_strategy=here).remote(overwrite=overwrite)


def _anywhere(request: DeblurRequest) -> DeblurRequest:
    """Return the request with paths that mean the same in every process."""
    model, folder = request.model, request.engine_dir
    if model is not None and model.endswith(".onnx"):
        model = str(Path(model).absolute())
    return replace(request, model=model, engine_dir=folder and folder.absolute())


def _nodes() -> list[Node]:
    import ray

    found = []
    nodes: Any = ray.nodes  # without types
    for facts in nodes():
        resources = facts["Resources"]
        if facts["Alive"] and resources.get("CPU", 0) >= 1:
            address = facts["NodeManagerAddress"]
            found.append(Node(facts["NodeID"], address, int(resources["CPU"]), int(resources.get("GPU", 0))))
    return sorted(found, key=lambda node: node.id)


def _slots(node: Node, resources: Mapping[str, int]) -> int:
    return min(node.cpus // resources["num_cpus"], node.gpus if resources["num_gpus"] else node.cpus)


def _may_use_gpu(request: DeblurRequest) -> bool:
    on_gpu = request.backend in ("auto", "tensorrt", "onnxruntime") and request.device in ("auto", "gpu")
    return on_gpu and request.load_model().has_graph


def _probe(
    nodes: Iterable[Node], request: DeblurRequest, paths: tuple[Path, ...], use_gpus: bool
) -> list[Node]:
    """Ask every node what it would restore with."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        options = {"num_cpus": 0, "num_gpus": int(use_gpus), "max_retries": 1, "name": "probe"}
        reference = ray.remote(probe).options(**options, scheduling_strategy=there).remote(request, paths)
        asked[reference] = node
    if asked:
        ray.wait(list(asked), num_returns=len(asked), timeout=_PROBE_SECONDS)
    found = []
    for reference, node in asked.items():
        try:
            answer: Any = ray.get(reference, timeout=0)
        except RayError as error:
            cause = getattr(error, "cause", None)
            missing = isinstance(cause or error, ImportError) or "No module named" in str(error)
            late = f"it does not answer within {_PROBE_SECONDS} s"
            timed_out = isinstance(error, ray.exceptions.GetTimeoutError)
            what = "rtdeblur of this version is not installed there" if missing else last_line(error)
            found.append(replace(node, problem=late if timed_out else what))
        else:
            refused = isinstance(answer, str)
            known = {"problem": answer} if refused else {"facts": answer.facts, "unseen": answer.unseen}
            found.append(replace(node, **known))
    return found


def _key(facts: Facts) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(facts.items()))
