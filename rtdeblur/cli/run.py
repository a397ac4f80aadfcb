"""Run of a pipeline that a signal ends in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rtdeblur.cli.signals import Stopped, stopping
from rtdeblur.errors import RtdeblurError

if TYPE_CHECKING:
    from rtdeblur.pipeline import Pipeline, PipelineStats


def run_until_stopped(pipeline: Pipeline, stop: Callable[[], None]) -> PipelineStats:
    """Run a pipeline to its end.

    Args:
        pipeline: the pipeline.
        stop: called on the first signal; must stop the pipeline.

    Raises:
        RtdeblurError: the run failed.
        Stopped: a signal ended it.
    """
    with stopping(stop) as received:
        try:
            return pipeline.run()
        except RtdeblurError:
            if received:
                raise Stopped(received[0]) from None
            raise
