"""Sequences of three consecutive blurred frames and the sharp middle one, from folders of real pairs."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from train.data.pictures import Picture, find_pairs, find_triples, read_picture
from train.errors import DataError


class Frames(NamedTuple):
    """Three consecutive frames, all of one size.

    Attributes:
        blurred: the frame before, the current one, the one after.
        sharp: the current one without blur.
    """

    blurred: tuple[Picture, Picture, Picture]
    sharp: Picture


class Sequences(Protocol):
    """Source of sequences."""

    name: str
    """For messages."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frames:
        """Read or make a sequence; the same index returns the same pictures."""

    def key(self, index: int) -> Any:
        """Return what determines a sequence, as a JSON-serializable value."""


class RealSequences:
    """Sequences of a folder of real pairs.

    Args:
        folder: see `train.data.pictures.find_pairs`, and `find_triples` for which frames are consecutive.
        exclude: patterns of picture names to exclude, such as "test001*".
        only_excluded: use the excluded pictures instead, for validation.

    Raises:
        DataError: the folder is missing or has no three consecutive pairs.
    """

    def __init__(self, folder: Path, exclude: Sequence[str] = (), *, only_excluded: bool = False) -> None:
        self.name = folder.name
        self._triples = find_triples(
            pair
            for pair in find_pairs(folder)
            if any(fnmatch(pair[0].name, pattern) for pattern in exclude) == only_excluded
        )
        if not self._triples:
            which = ""
            if exclude:
                which = f" that {'' if only_excluded else 'do not '}match {' or '.join(exclude)}"
            raise DataError(
                f"no three consecutive pairs in {folder}{which}; expected names that end in consecutive "
                "numbers, such as 000047.png, 000048.png, 000049.png"
            )

    def __len__(self) -> int:
        return len(self._triples)

    def __getitem__(self, index: int) -> Frames:
        """Read a sequence.

        Raises:
            DataError: a picture is damaged, or has another size than the others.
        """
        paths = self._paths(index)
        before, current, after, sharp = pictures = [read_picture(path) for path in paths]
        for path, picture in zip(paths, pictures, strict=True):
            if picture.shape != current.shape:
                (h, w), (other_h, other_w) = current.shape[:2], picture.shape[:2]
                raise DataError(
                    f"{paths[1]} is {h}×{w} but {path} {other_h}×{other_w} (height×width); expected one size"
                )
        return Frames((before, current, after), sharp)

    def key(self, index: int) -> list[list[str | int]]:
        """Return names, sizes and times of modification of the pictures."""
        return [
            [path.parent.parent.name, path.name, path.stat().st_size, path.stat().st_mtime_ns]
            for path in self._paths(index)
        ]

    def _paths(self, index: int) -> list[Path]:
        before, current, after = self._triples[index]
        return [before[0], current[0], after[0], current[1]]
