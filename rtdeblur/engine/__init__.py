"""Former name of `rtdeblur.backends.tensorrt`, kept for programs that import its modules by it."""

import sys

from rtdeblur.backends.tensorrt import builder, cache, flavours, profiles, sidecar, spec

# The same modules, not copies: a class has one identity, whatever name it was imported by.
for _module in (builder, cache, flavours, profiles, sidecar, spec):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module
