"""Objects kept alive by another one, found by Python's garbage collector."""

from __future__ import annotations

import gc
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


def reachable(root: object, *kinds: type[T]) -> list[T]:
    """The objects of some kinds that `root` holds, directly or through others."""
    seen: set[int] = set()
    found, waiting = [], [root]
    while waiting:
        item: Any = waiting.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(item))
        if isinstance(item, kinds):
            found.append(item)
        waiting += gc.get_referents(item)
    return found
