"""Planes of more than 8 bits for a library without uint16.

The graph's arithmetic is float32 between a cast from and a cast to the planes' type. So the bytes of uint16
planes go in and out as they lie in memory, as uint8 with one more dimension of 2 (low byte, high byte), and
the network puts together and takes apart: the host converts nothing, half the bytes of int32 cross the bus.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.errors import EngineError
from rtdeblur.model import INPUTS, OUTPUTS

_AXIS = 4
"""Of the two bytes of a sample, behind (N, 1, H, W)."""


def take_uint16(trt: Any, network: Any) -> list[NDArray[Any]]:
    """Make a parsed video graph take and give the bytes of little-endian uint16 planes.

    Returns:
        the constants, whose memory the network uses: keep them until it is built.
    """
    constants: list[NDArray[Any]] = []

    def constant(values: list[float], *shape: int) -> Any:
        constants.append(np.array(values, np.float32))
        return network.add_constant(shape, trt.Weights(constants[-1])).get_output(0)

    inputs = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
    for name in INPUTS[:3]:
        _join(trt, network, inputs[name], constant([1, 256], 1, 1, 1, 1, 2))
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    casts = {layer.get_output(0).name: layer for layer in layers if layer.num_outputs}
    for name in OUTPUTS:
        if casts[name].type != trt.LayerType.CAST:
            raise EngineError(f"the graph's output {name!r} is no cast; export the model again")
        _part(trt, network, casts[name], constant([256], 1, 1, 1, 1))
    return constants


def _join(trt: Any, network: Any, plane: Any, weights: Any) -> None:
    """Whoever took the plane takes low + 256 · high instead, in float32."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    takers = [
        (layer, index)
        for layer in layers
        for index in range(layer.num_inputs)
        if layer.get_input(index) is not None and layer.get_input(index).name == plane.name
    ]
    plane.shape = (*plane.shape, 2)
    pairs = network.add_cast(plane, trt.float32).get_output(0)
    weighted = network.add_elementwise(pairs, weights, trt.ElementWiseOperation.PROD).get_output(0)
    samples = network.add_reduce(weighted, trt.ReduceOperation.SUM, 1 << _AXIS, False).get_output(0)
    for layer, index in takers:
        layer.set_input(index, samples)


def _part(trt: Any, network: Any, cast: Any, base: Any) -> None:
    """The last cast takes low and high bytes instead of whole values; both are exact in float32."""
    operation, samples = trt.ElementWiseOperation, cast.get_input(0)
    high = network.add_elementwise(samples, base, operation.FLOOR_DIV).get_output(0)
    whole = network.add_elementwise(high, base, operation.PROD).get_output(0)
    low = network.add_elementwise(samples, whole, operation.SUB).get_output(0)
    pair = []
    for part in (low, high):
        shuffle = network.add_shuffle(part)
        shuffle.reshape_dims = (0, 0, 0, 0, 1)  # 0 keeps a dimension
        pair.append(shuffle.get_output(0))
    joined = network.add_concatenation(pair)
    joined.axis = _AXIS
    cast.set_input(0, joined.get_output(0))
