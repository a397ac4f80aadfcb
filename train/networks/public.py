"""Public deblurring networks: their authors' code comes with `spandrel`, what it lacks is here as data.

Nothing of a checkpoint is run: only tensors are read, and the architecture follows from their names and
shapes.
"""

from __future__ import annotations

import importlib
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from rtdeblur.errors import DependencyError
from train.errors import CheckpointError
from train.networks.generators import Generator

State = Mapping[str, Tensor]
"""The weights of a network by name."""

_BASE, _EXTRA = "spandrel", "spandrel_extra_arches"
"""The second holds architectures whose licences forbid commercial use, and may be missing."""


@dataclass(frozen=True)
class Architecture:
    """Facts about an architecture that importing needs.

    Attributes:
        module: spandrel's module with it.
        multiple: height and width must be multiples of this; the video graph pads by reflection. None if it
            follows from the weights.
        exact: classes of modules that compute in float32 in a half-precision graph, in addition to `EXACT`.
        adapt: rewrites a network, with the same results, so that it can be exported and needs less memory.
        refusal: why it cannot be imported; '' if it can.
    """

    module: str
    multiple: int | None
    exact: tuple[str, ...] = ("LayerNorm2d",)
    adapt: Callable[[nn.Module], None] = lambda _: None
    refusal: str = ""


class PublicGenerator(Generator):
    """A public network, over RGB in [0, 1], as a generator.

    Args:
        network: the network, with its weights.
        name: name of its architecture, a key of `ARCHITECTURES`.
        call: runs the network; by default, with the picture as its only argument.
    """

    traced = True

    def __init__(
        self, network: nn.Module, name: str, call: Callable[[nn.Module, Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        traits = ARCHITECTURES[name]
        self.network, self.name = network, name
        self.stride = traits.multiple or 2 ** len(network.get_submodule("encoders"))  # type: ignore[arg-type]
        self.exact = traits.exact
        self._call = call or (lambda network, x: network(x))
        traits.adapt(network)

    @property
    def title(self) -> str:
        """Name of the architecture, for the manifest."""
        return self.name

    def residual(self, x: Tensor, *signs: Tensor) -> Tensor:
        """What is added to the input: (N, 3, H, W) in [-1, 1], H and W multiples of the stride."""
        with ExactReductions():
            restored = self._call(self.network, x / 2 + 0.5)
        return 2 * restored.float() - 1 - x.float()

    def half(self) -> PublicGenerator:
        """Make the weights half precision, but for modules whose sums overflow it."""
        super().half()
        for module in self.network.modules():
            if type(module).__name__ in self.exact:
                module.float()
                module.register_forward_pre_hook(lambda _, inputs: tuple(x.float() for x in inputs))
                module.register_forward_hook(lambda _, inputs, output: output.half())
        return self


EXACT = {
    F.normalize, F.softmax, F.adaptive_avg_pool2d, F.avg_pool2d, F.layer_norm,
    torch.softmax, torch.mean, torch.sum, torch.var, torch.cumsum,
    Tensor.softmax, Tensor.mean, Tensor.sum, Tensor.var, Tensor.cumsum,
}  # fmt: skip
"""Functions that add up many values: in half precision the sum of a 720p channel overflows 65504."""


class ExactReductions(TorchFunctionMode):
    """Computes the functions in `EXACT` in float32, whatever the precision of their input."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Widen the first argument and narrow the result; see `TorchFunctionMode`."""
        kwargs = kwargs or {}
        if func in EXACT and args and isinstance(args[0], Tensor) and args[0].dtype == torch.float16:
            return func(args[0].float(), *args[1:], **kwargs).half()
        return func(*args, **kwargs)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint: `.safetensors`, or a `.pth`, `.pt` or `.ckpt` of PyTorch.

    A PyTorch file is a pickle, which can hold code; PyTorch's restricted loader reads tensors only.

    Raises:
        CheckpointError: the file is damaged, or holds something else than weights; none of it was run.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            loaded: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about pickles that it goes on to refuse
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global|class) [`']?([\w.]+)", str(error))
        what = f"it refers to {found[1]}" if found else "it is not a file of PyTorch"
        raise CheckpointError(
            f"{path} is refused: {what}, expected tensors only; nothing in it was run; "
            "get the checkpoint from its authors, or as .safetensors"
        ) from None
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read the checkpoint {path}: {_line(error)}; it may be cut off, download it again"
        ) from None
    weights = _unwrapped(loaded)
    if not weights:
        raise CheckpointError(f"{path} holds no weights, expected a dictionary of tensors by name")
    if broken := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise CheckpointError(
            f"{path} has values that are not numbers in {broken[0]}; try another checkpoint"
        )
    return weights


def _unwrapped(loaded: Any) -> dict[str, Tensor]:
    """The tensors by name, out of the dictionaries and prefixes that trainers put around them."""
    spandrel = _spandrel()
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        return {}
    state = spandrel.canonicalize_state_dict(loaded)
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def load_network(weights: State, source: Path) -> PublicGenerator:
    """Build the network that weights belong to.

    Args:
        weights: result of `read_weights`.
        source: their file, for messages.

    Raises:
        CheckpointError: no architecture that is imported has such weights, or some are missing.
        DependencyError: spandrel is not installed.
    """
    spandrel = _spandrel()
    known = {name: _support(name) for name in _available()}
    name = next((name for name, support in known.items() if support.detect(weights)), None)
    if name is None:
        others = (support.architecture for support in spandrel.MAIN_REGISTRY.architectures("detection"))
        other = next((architecture.name for architecture in others if architecture.detect(weights)), "")
        what = f"is of {other}, which" if other else "is of a network that"
        hint = "" if _has_extra() else f"; for more, pip install {_EXTRA.replace('_', '-')}"
        raise CheckpointError(
            f"the checkpoint {source} {what} is not imported; expected one of {', '.join(imported())}{hint}"
        )
    traits = ARCHITECTURES[name]
    if traits.refusal:
        raise CheckpointError(f"{name} cannot be imported: {traits.refusal}")
    try:
        found = known[name].load(dict(weights))
    except KeyError as error:
        raise CheckpointError(
            f"the checkpoint {source} lacks {error.args[0]!r} of {name}; download it again"
        ) from None
    except (RuntimeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"the checkpoint {source} does not fit {name}: {_misfit(error)}") from None
    if (found.input_channels, found.output_channels, found.scale) != (3, 3, 1):
        raise CheckpointError(
            f"the checkpoint {source} takes {found.input_channels} channels and returns "
            f"{found.output_channels}, expected RGB in and out"
        )
    return PublicGenerator(found.model.eval(), name, found._call_fn)


def imported() -> list[str]:
    """Return the names of the architectures that can be imported here."""
    return [name for name in _available() if not ARCHITECTURES[name].refusal]


def _available() -> list[str]:
    extra = _has_extra()
    return [name for name, traits in ARCHITECTURES.items() if extra or not traits.module.startswith(_EXTRA)]


def _misfit(error: Exception) -> str:
    """What `load_state_dict` lists over many lines, in one."""
    text = str(error)
    for pattern, words in (("Missing key", "it lacks"), ("size mismatch for", "wrong size of")):
        names = re.findall(
            rf"{pattern}[^\n]*?[\"':] *\"?([\w.]+)" if "key" in pattern else rf"{pattern} ([\w.]+)", text
        )
        if names:
            return f"{words} {names[0]}"
    return _line(error)


def _support(name: str) -> Any:
    module = importlib.import_module(ARCHITECTURES[name].module)
    return next(
        value() for key, value in vars(module).items() if key.endswith("Arch") and key != "Architecture"
    )


def _spandrel() -> ModuleType:
    try:
        with _torchvision(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it uses an older PyTorch's names
            spandrel = importlib.import_module(_BASE)
            if _has_extra():
                importlib.import_module(_EXTRA)
    except ModuleNotFoundError as error:
        if error.name not in (_BASE, "einops"):
            raise
        raise DependencyError(error.name, "networks", "importing a public checkpoint") from None
    return spandrel


def _has_extra() -> bool:
    return find_spec(_EXTRA) is not None


@contextmanager
def _torchvision() -> Iterator[None]:
    """Let spandrel load without torchvision, whose wheels on PyPI work only with a CUDA build of PyTorch.

    Two of spandrel's networks, none of ours, name three of its functions as they are loaded.
    """
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    if _BASE in sys.modules or _has_torchvision():
        yield
        return
    for name in names:
        sys.modules[name] = ModuleType(name)
    vars(sys.modules[names[-1]]).update(normalize=None, rotate=None, InterpolationMode=None)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def _has_torchvision() -> bool:
    try:
        importlib.import_module("torchvision.transforms.functional")
    except (ImportError, RuntimeError):  # not there, or of another build of PyTorch
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        return False
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _without_own_padding(network: nn.Module) -> None:
    """Leave padding to the video graph, which reflects; these networks append zeros."""
    network.check_image_size = lambda x: x  # type: ignore[assignment]


def _mprnet(network: nn.Module) -> None:
    """Make the halves into which it cuts the picture depend on its size; tracing makes int() a constant."""
    vars(sys.modules[type(network).__module__])["int"] = _whole


def _whole(value: Any) -> Any:
    return value.long() if isinstance(value, Tensor) else int(value)


def _kbnet(network: nn.Module) -> None:
    if hasattr(network, "check_image_size"):
        _without_own_padding(network)
    for module in [module for module in network.modules() if hasattr(module, "KBA")]:
        module.bases = KernelBases(module.w, module.b, module.g, module.k)  # type: ignore[arg-type]
        module.w = module.b = None  # type: ignore[assignment]
        module.KBA = MethodType(lambda self, x, att, *_: self.bases(x, att), module)  # type: ignore[assignment]


class KernelBases(nn.Module):
    """Convolution by kernels that are mixed per pixel from a learned set (Zhang et al., KBNet, 2023, eq. 2).

    It sums the set's convolutions, each scaled per pixel. The authors' form mixes the kernels first, which
    takes 8 GB for a 720p frame.

    Args:
        weight: weights of the S kernels, (1, S, C · C / groups · side²).
        bias: biases of the kernels, (1, S, C).
        groups: number of groups into which the channels are divided.
        side: side of the kernels in pixels.
    """

    def __init__(self, weight: Tensor, bias: Tensor, groups: int, side: int) -> None:
        super().__init__()
        count, channels = bias.shape[1:]
        kernels = weight.detach().reshape(count, channels, channels // groups, side, side)
        self.convolutions = nn.ModuleList()
        for kernel, offset in zip(kernels, bias.detach()[0], strict=True):
            layer = nn.Conv2d(channels, channels, side, padding=side // 2, groups=groups)
            layer.weight, layer.bias = nn.Parameter(kernel.clone()), nn.Parameter(offset.clone())
            self.convolutions.append(layer)

    def forward(self, x: Tensor, att: Tensor) -> Tensor:
        """(N, C, H, W) to the same; att is the share of each kernel at each pixel, (N, S, H, W)."""
        total = torch.zeros_like(x)
        for index, layer in enumerate(self.convolutions):
            total = total + att[:, index : index + 1] * layer(x)
        return total


def _fftformer(network: nn.Module) -> None:
    """Write the Fourier transforms of 8×8 patches as matrix products, which every runtime has."""
    for module in network.modules():
        if type(module).__name__ in ("DFFN", "FSAS"):
            forward, inverse = _fourier(module.patch_size)  # type: ignore[arg-type]
            module.register_buffer("forward_dft", forward, persistent=False)
            module.register_buffer("inverse_dft", inverse, persistent=False)
            if type(module).__name__ == "DFFN":
                scale = module.fft.detach().flatten(1)  # type: ignore[operator]
                module.register_buffer("spectrum", torch.cat([scale, scale], 1)[:, None], persistent=False)
                module.forward = MethodType(_filter_forward, module)
            else:
                module.forward = MethodType(_attention_forward, module)


def _fourier(side: int) -> tuple[Tensor, Tensor]:
    """Matrices of a patch's real 2-D Fourier transform and of its inverse.

    The first is (side², 2 · side · (side / 2 + 1)): the real parts come first, then the imaginary ones.
    """
    pixels = torch.eye(side * side).reshape(-1, side, side)
    spectrum = torch.fft.rfft2(pixels).flatten(1)
    forward = torch.cat([spectrum.real, spectrum.imag], 1)
    parts = torch.eye(spectrum.shape[1]).reshape(-1, side, side // 2 + 1)
    inverse = [torch.fft.irfft2(values, s=(side, side)).flatten(1) for values in (parts + 0j, parts * 1j)]
    return forward, torch.cat(inverse)


def _patches(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) to (N, C, patches, side²)."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // side, side, w // side, side)
    return x.permute(0, 1, 2, 4, 3, 5).reshape(n, c, (h // side) * (w // side), side * side)


def _picture(patches: Tensor, like: Tensor, side: int) -> Tensor:
    """The inverse of `_patches`, in the shape of another tensor."""
    n, c, h, w = like.shape
    x = patches.reshape(n, c, h // side, w // side, side, side)
    return x.permute(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)


def _filter_forward(self: Any, x: Tensor) -> Tensor:
    x = self.project_in(x)
    spectrum = (_patches(x, self.patch_size).float() @ self.forward_dft.float()) * self.spectrum.float()
    x = _picture(spectrum @ self.inverse_dft.float(), x, self.patch_size).to(x.dtype)
    x1, x2 = self.dwconv(x).chunk(2, dim=1)
    return self.project_out(F.gelu(x1) * x2)  # type: ignore[no-any-return]


def _attention_forward(self: Any, x: Tensor) -> Tensor:
    q, k, v = self.to_hidden_dw(self.to_hidden(x)).chunk(3, dim=1)
    (a, b), (c, d) = (
        (_patches(part, self.patch_size).float() @ self.forward_dft.float()).chunk(2, dim=-1)
        for part in (q, k)
    )
    product = torch.cat([a * c - b * d, a * d + b * c], dim=-1)
    mixed = _picture(product @ self.inverse_dft.float(), q, self.patch_size)
    # The product of two spectra is large: its normalisation takes it as float32.
    return self.project_out(v * self.norm(mixed).to(v.dtype))  # type: ignore[no-any-return]


ARCHITECTURES = {
    "NAFNet": Architecture("spandrel.architectures.NAFNet", None, adapt=_without_own_padding),
    "KBNet": Architecture("spandrel.architectures.KBNet", 16, ("LayerNorm2d", "LayerNorm"), _kbnet),
    "FFTformer": Architecture("spandrel.architectures.FFTformer", 32, ("LayerNorm",), _fftformer),
    "Uformer": Architecture(
        "spandrel.architectures.Uformer",
        128,
        refusal="its code takes square pictures only, and derives their side from a number of tokens",
    ),
    "Restormer": Architecture("spandrel_extra_arches.architectures.Restormer", 8, ("LayerNorm",)),
    "MPRNet": Architecture("spandrel_extra_arches.architectures.MPRNet", 8, (), _mprnet),
    "M3SNet": Architecture(
        "spandrel_extra_arches.architectures.M3SNet", 16, ("LayerNorm2d", "LayerNorm"), _without_own_padding
    ),
    "MIRNetv2": Architecture("spandrel_extra_arches.architectures.MIRNet2", 4, ("ContextBlock",)),
}
"""Deblurring networks with public checkpoints, by the names of their papers."""
