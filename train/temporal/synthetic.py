"""Synthetic sequences: photographs seen by a moving camera, with independently moving objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from train.data.blur import from_linear, to_linear
from train.data.degrade import as_jpeg
from train.data.pictures import Picture, list_pictures, read_picture
from train.data.trajectory import Floats, Trajectory
from train.temporal.sequences import Frames

_SAMPLES = 32
"""Views per frame time, of which the exposure averages some."""
_CENTRES = tuple(frame * _SAMPLES + _SAMPLES // 2 for frame in range(3))
_MIDDLE = _CENTRES[1]
_MARGIN = 1.1
"""Least height and width of a photograph, in diagonals of the view."""
_CORNERS = 8


@dataclass(frozen=True)
class SyntheticOptions:
    """What synthetic sequences look like; shares are of sequences, ranges are drawn from evenly.

    Attributes:
        size: height and width of the frames.
        scale: range of the factor by which photographs are resized, more if they are too small.
        still: share whose camera does not move.
        sharp: share without blur, whose exposure is a single view.
        objects: share with an independently moving object.
        speed: range of the camera's speed, pixels per frame, drawn evenly in its logarithm.
        object_speed: the same of objects.
        turn: mean rotation per frame, radians; also the mean zoom per frame, its logarithm.
        exposure: range of the exposure time, as a fraction of the frame time.
        linear: share blurred in linear light; the rest in code values, as GoPro's pairs are.
        noise: standard deviations of the noise to choose from, code values of 255.
        jpeg: share whose frames are compressed as JPEG, quality 60 to 96.
    """

    size: tuple[int, int] = (384, 512)
    scale: tuple[float, float] = (0.55, 1.0)
    still: float = 0.06
    sharp: float = 0.12
    objects: float = 0.5
    speed: tuple[float, float] = (1.5, 40.0)
    object_speed: tuple[float, float] = (2.0, 50.0)
    turn: float = 0.02
    exposure: tuple[float, float] = (0.15, 1.0)
    linear: float = 0.3
    noise: tuple[float, ...] = (0.3, 1.0, 2.0, 4.0)
    jpeg: float = 0.5


class SyntheticSequences:
    """Sequences made of photographs; sequence *n* depends only on the photographs, the seed and *n*.

    Args:
        folders: folders of sharp photographs.
        count: number of sequences.
        seed: seed of every random choice.
        options: what they look like.

    Raises:
        DataError: a folder is missing or has no pictures.
    """

    def __init__(
        self, folders: Sequence[Path], count: int, seed: int, options: SyntheticOptions | None = None
    ) -> None:
        self.name = "photographs"
        self._photos = [path for folder in folders for path in list_pictures(folder)]
        self._count, self._seed, self._options = count, seed, options or SyntheticOptions()

    def __len__(self) -> int:
        return self._count

    def key(self, index: int) -> list[Any]:
        """Return the options, the seed and the photographs."""
        photos = [[path.name, path.stat().st_size] for path in self._photos]
        return [asdict(self._options), self._seed, index, photos]

    def __getitem__(self, index: int) -> Frames:
        """Make a sequence.

        Raises:
            DataError: a photograph is damaged.
        """
        rng, options = np.random.default_rng([self._seed, index]), self._options
        is_linear = rng.random() < options.linear
        layers = [self._background(rng, is_linear)]
        if rng.random() < options.objects:
            layers.append(self._object(rng, is_linear))
        # An odd number of views, so that the sharp frame is the middle of the exposure.
        views = 1 if rng.random() < options.sharp else round(rng.uniform(*options.exposure) * _SAMPLES) | 1
        seen = [_exposed(layers, centre, views, options.size) for centre in _CENTRES]
        seen.append(_view(layers, _MIDDLE, options.size))
        finished = [from_linear(light) if is_linear else light for light in seen]
        sigma = rng.choice(options.noise)
        quality = int(rng.integers(60, 97)) if rng.random() < options.jpeg else 0
        before, current, after = (_recorded(rng, frame, sigma, quality) for frame in finished[:3])
        return Frames((before, current, after), _codes(finished[3] * 255))

    def _background(self, rng: np.random.Generator, is_linear: bool) -> _Layer:
        options = self._options
        picture = self._photo(rng, is_linear, rng.uniform(*options.scale), _MARGIN * np.hypot(*options.size))
        if rng.random() < options.still:
            return _Layer(picture, None, _draw_motion(rng, 0, 0, 0))
        return _Layer(picture, None, self._motion(rng, options.speed, options.turn))

    def _object(self, rng: np.random.Generator, is_linear: bool) -> _Layer:
        """Draw a cut-out of another photograph: a polygon with a slightly soft edge."""
        height, width = self._options.size
        picture = self._photo(rng, is_linear, 0.6, max(height, width))[:height, :width]
        angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        corners = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.08, 0.36, (_CORNERS, 1))
        points = rng.uniform(0.2, 0.8, 2) * (width, height) + corners * height
        mask = cv2.fillPoly(np.zeros((height, width), np.float32), [points.astype(np.int32)], 1.0)
        soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), 1), np.float32)
        return _Layer(picture, soft, self._motion(rng, self._options.object_speed, 2 * self._options.turn))

    def _photo(self, rng: np.random.Generator, is_linear: bool, scale: float, least: float) -> Floats:
        """Draw a photograph, resized so that its height and width are at least `least` pixels."""
        picture = read_picture(self._photos[rng.integers(len(self._photos))])
        scale = max(scale, least / min(picture.shape[:2]))
        size = [int(np.ceil(side * scale)) for side in picture.shape[1::-1]]
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        values = np.arange(256, dtype=np.float32) / np.float32(255)
        table = to_linear(values) if is_linear else values
        return np.asarray(cv2.LUT(cv2.resize(picture, size, interpolation=how), table), np.float32)

    def _motion(self, rng: np.random.Generator, speed: tuple[float, float], turn: float) -> _Motion:
        return _draw_motion(
            rng, np.exp(rng.uniform(*np.log(speed))), rng.exponential(turn), rng.exponential(turn)
        )


@dataclass(frozen=True)
class _Motion:
    """Motion of a layer relative to the middle of the sequence, for each view.

    Attributes:
        x: displacement, pixels.
        y: the same.
        angle: rotation, degrees.
        zoom: magnification.
    """

    x: Trajectory
    y: Trajectory
    angle: Trajectory
    zoom: Trajectory

    def matrix(self, view: int, picture: tuple[int, int], size: tuple[int, int]) -> Trajectory:
        """Return the affine map, (2, 3), from a picture to a view of a size; their centres coincide."""
        centre = picture[1] / 2, picture[0] / 2
        matrix = cv2.getRotationMatrix2D(centre, float(self.angle[view]), float(self.zoom[view]))
        matrix[:, 2] += (
            self.x[view] + size[1] / 2 - centre[0],
            self.y[view] + size[0] / 2 - centre[1],
        )
        return np.asarray(matrix)


@dataclass(frozen=True)
class _Layer:
    """A picture, (H, W, 3) float32, its mask, (H, W) float32 (None if it covers the view), and its motion."""

    picture: Floats
    mask: Floats | None
    motion: _Motion


def _draw_motion(rng: np.random.Generator, speed: float, turn: float, zoom: float) -> _Motion:
    """Draw a motion of about this many pixels, radians and logarithm of the magnification per frame."""
    x, y, angle, size = (_draw_path(rng, amount / _SAMPLES) for amount in (speed, speed, turn, zoom))
    return _Motion(x, y, np.degrees(angle), np.exp(size))


def _draw_path(rng: np.random.Generator, speed: float) -> Trajectory:
    """Draw a path whose speed changes smoothly; zero in the middle."""
    count = len(_CENTRES) * _SAMPLES
    times = np.linspace(0, 1, count)
    velocity = np.full(count, 0.7 * rng.normal())
    for wave in range(rng.integers(2, 5)):
        turns = wave * times * rng.uniform(0.5, 1.5) + rng.random()
        velocity += rng.normal() / (wave + 1) * np.cos(2 * np.pi * turns)
    path: Trajectory = np.cumsum(speed * velocity)
    path -= path[_MIDDLE]
    return path


def _view(layers: Sequence[_Layer], view: int, size: tuple[int, int]) -> Floats:
    """Render the layers from back to front: (height, width, 3) float32."""
    seen = np.zeros((*size, 3), np.float32)
    for layer in layers:
        matrix = layer.motion.matrix(view, layer.picture.shape[:2], size)
        warped = cv2.warpAffine(layer.picture, matrix, size[::-1], borderMode=cv2.BORDER_REFLECT_101)
        picture = np.asarray(warped, np.float32)
        if layer.mask is None:
            seen = picture
        else:
            picture -= seen
            picture *= cv2.warpAffine(layer.mask, matrix, size[::-1])[..., None]
            seen += picture
    return seen


def _exposed(layers: Sequence[_Layer], centre: int, views: int, size: tuple[int, int]) -> Floats:
    """Average the views of an exposure."""
    exposure = range(centre - views // 2, min(centre + views // 2 + 1, len(_CENTRES) * _SAMPLES))
    total = np.zeros((*size, 3), np.float32)
    for view in exposure:
        total += _view(layers, view, size)
    return total / np.float32(len(exposure))


def _recorded(rng: np.random.Generator, frame: Floats, sigma: float, quality: int) -> Picture:
    """Add noise, round, and compress as JPEG unless the quality is 0."""
    noise = rng.standard_normal(frame.shape, np.float32) * np.float32(sigma)
    picture = _codes(frame * 255 + noise)
    return as_jpeg(picture, quality) if quality else picture


def _codes(picture: Floats) -> Picture:
    return np.rint(picture).clip(0, 255).astype(np.uint8)
