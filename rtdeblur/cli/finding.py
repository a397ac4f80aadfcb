"""What `rtdeblur doctor` found of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing looked for.

    Attributes:
        name: what was looked for.
        ok: whether it is there and works.
        value: what was found.
        advice: what to do where it is not ok.
        needed: whether nothing can be deblurred without it.
    """

    name: str
    ok: bool
    value: str
    advice: str = ""
    needed: bool = False
