"""The architecture: imports point down, heavy libraries have one home, a bare import costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rtdeblur

ROOT = Path(__file__).parent.parent

LAYERS = [
    {"__main__"},
    {"cli"},
    {"scaling"},
    {"bench", "deblurrer", "preview", "ranges", "engine"},
    {"pipeline", "live", "gpu_path"},
    {"strength", "temporal", "blur_gate", "resolution"},
    {"media", "backends"},
    {"windows"},
    {"ffmpeg", "cuda", "model", "system"},
    {"device", "blur", "cache", "arrays", "python_words"},
    {"frames", "dropout", "errors", "pictures", "page", "files", "decode", "parity", "plurals"},
]
"""From the top down: a part imports only from lower layers."""

HOMES = {
    "av": (
        "rtdeblur.ffmpeg",
        "rtdeblur.media",
        "rtdeblur.live.image",
        "rtdeblur.live.sources",
        "rtdeblur.live.sinks",
    ),
    "cv2": ("rtdeblur.live.displays", "rtdeblur.live.sources.camera"),
    "aiohttp": ("rtdeblur.live.displays.web",),
    "segno": ("rtdeblur.live.displays.web.qr",),
    "pyvirtualcam": ("rtdeblur.live.sinks.virtual_camera",),
    "PIL": ("rtdeblur.media.photos",),
    "pillow_heif": ("rtdeblur.media.photos",),
    "openvino": (
        "rtdeblur.backends.openvino",
        "rtdeblur.backends.openvino_queue",
        "rtdeblur.backends.compiled",
        "rtdeblur.backends.bundled",
        "rtdeblur.backends.int8",
    ),
    "tensorrt": ("rtdeblur.backends.tensorrt",),
    "tensorrt_rtx": ("rtdeblur.backends.tensorrt",),
    "filelock": ("rtdeblur.backends.tensorrt.cache", "rtdeblur.media.resume.job_folder"),
    "msgspec": ("rtdeblur.decode",),
    "platformdirs": ("rtdeblur.cache", "rtdeblur.cli.settings", "rtdeblur.model"),
    "cuda": ("rtdeblur.cuda",),
    "pycuda": ("rtdeblur.cuda",),
    "ray": (
        "rtdeblur.cli.cluster",
        "rtdeblur.cli.node_tasks",
        "rtdeblur.cli.schedule",
        "rtdeblur.cli.storage",
    ),
    "rich": ("rtdeblur.cli",),
    "click": ("rtdeblur.cli",),
    "torch": (),
    "onnx": ("rtdeblur.backends.onnxruntime",),
    "onnxruntime": ("rtdeblur.backends.onnxruntime",),
    "train": (),
}
HEAVY = {
    "aiohttp",
    "av",
    "cv2",
    "PIL",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "ray",
    "rich",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "cuda",
    "pycuda",
}


def layer_of(part: str) -> int | None:
    return next((i for i, parts in enumerate(LAYERS) if part in parts), None)


def imported(source: str) -> Iterator[str]:
    """Yield dotted names, `package.name` for `from package import name`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def faults(module: str, source: str) -> list[str]:
    """Return the rules that a module's imports break."""
    found = []
    part = module.split(".")[1]
    for name in imported(source):
        library, _, rest = name.partition(".")
        if library != "rtdeblur":
            homes = HOMES.get(library)
            if homes is not None and not any(within(module, home) for home in homes):
                found.append(f"{module} imports {name}, whose home is {' or '.join(homes) or 'elsewhere'}")
            continue
        target = rest.partition(".")[0]
        if target in ("", "__version__", part):
            continue
        own, other = layer_of(part), layer_of(target)
        if own is None or other is None or other <= own:
            found.append(f"{module} imports {name}, which is not below it")
    return found


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "rtdeblur").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != "rtdeblur":  # the public names come from everywhere, lazily
            yield name, path


def test_imports_point_down_and_heavy_libraries_have_few_homes() -> None:
    assert [fault for name, path in modules() for fault in faults(name, path.read_text())] == []


def graph() -> dict[str, set[str]]:
    """Map each module of the package to the modules of the package that it imports, anywhere in its code."""
    names = dict(modules())
    return {
        name: {
            found
            for target in imported(path.read_text())
            if (found := target if target in names else target.rpartition(".")[0]) in names and found != name
        }
        for name, path in names.items()
    }


def test_there_is_no_import_cycle() -> None:
    imports = graph()
    assert {"rtdeblur.media.reader", "rtdeblur.media.writer"} <= imports["rtdeblur.gpu_path"]
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rtdeblur.media.reader", "from rtdeblur.cli import main"),
        ("rtdeblur.media.reader", "from rtdeblur.backends import open_backend"),
        ("rtdeblur.frames", "import rtdeblur.errors"),
        ("rtdeblur.model", "def load():\n    from rtdeblur.pipeline import Pipeline"),
        ("rtdeblur.model", "from rtdeblur import Pipeline"),
        ("rtdeblur.pipeline", "import av"),
        ("rtdeblur.backends.identity", "import openvino"),
        ("rtdeblur.backends.tensorrt.builder", "from torch import nn"),
        ("rtdeblur.media.writer", "import cv2"),
        ("rtdeblur.cli.doctor", "import av"),
        ("rtdeblur.live.displays.window", "import av"),
        ("rtdeblur.ffmpeg.container", "from rtdeblur.cuda import Driver"),
        ("rtdeblur.frames", "from rtdeblur.device import DeviceFrame"),
        ("rtdeblur.cli.deblur", "import train.networks"),
        ("rtdeblur.newcomer", "import rtdeblur.frames"),
    ],
)
def test_the_check_finds_faults(module: str, source: str) -> None:
    assert len(faults(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rtdeblur.cli.deblur", "from rtdeblur.pipeline import Pipeline"),
        ("rtdeblur.backends.tensorrt", "from rtdeblur.backends.tensorrt.cache import EngineCache"),
        ("rtdeblur.media.writer", "from rtdeblur.ffmpeg.targets import PartFile"),
        ("rtdeblur.media.writer", "from rtdeblur import __version__"),
    ],
)
def test_the_check_allows_proper_imports(module: str, source: str) -> None:
    assert faults(module, source) == []


def test_no_two_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = {}
    for name, path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(name)
    assert "FileReader" in homes
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def loaded(code: str) -> set[str]:
    """Return the top-level modules that a fresh Python has loaded after running some code."""
    code += "\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import rtdeblur",
        "from rtdeblur import RtdeblurError",
        "from rtdeblur.cli import main; main(['--help'])",
        "from rtdeblur.cli import main; main(['models', '--help'])",
        "from rtdeblur.cli import main; main(['build', '--help'])",
        "from rtdeblur.cli import main; main(['engines', '--help'])",
        "from rtdeblur.cli import main; main(['bench', '--help'])",
        "from rtdeblur.cli import main; main(['clip.mp4'])",
    ],
)
def test_no_heavy_library_is_loaded_by(code: str) -> None:
    names = loaded(code)
    assert "rtdeblur" in names
    assert names & HEAVY == set()


@pytest.mark.needs_posix
def test_help_is_fast() -> None:
    import resource

    def seconds(*args: str) -> float:
        took = []
        for _ in range(5):  # the best of five, in CPU time, since other programs share the cores
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(took)

    assert seconds("-m", "rtdeblur", "--help") - seconds("-c", "pass") < 0.3


@pytest.mark.parametrize("name", rtdeblur.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(rtdeblur, name) is not None
    assert name in dir(rtdeblur)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        rtdeblur.nothing_such  # noqa: B018
