"""Messages for users of the Python interface: its arguments instead of command-line options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rtdeblur.errors import RtdeblurError

_WORDS = "model|backend|device|precision|dropout|gate|resolution|temporal"
_VALUES = "seed|strength|engine-dir|codec|crf|preset|start|duration|max-pixels"
_OPTION = re.compile(rf"--({_WORDS}) (\w+)|--({_WORDS}|{_VALUES})\b")


def _in_python(option: re.Match[str]) -> str:
    name, value, bare = option.groups()
    return f"{name}={value!r}" if name else bare.replace("-", "_")


@contextmanager
def in_python_words() -> Iterator[None]:
    """Rewrite command-line options in errors as Python arguments: precision='fp32' for --precision fp32."""
    try:
        yield
    except RtdeblurError as error:
        error.args = tuple(
            _OPTION.sub(_in_python, part) if isinstance(part, str) else part for part in error.args
        )
        raise
