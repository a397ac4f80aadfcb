from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from train.fit.config import Config
from train.fit.run import fit

Tiny = Callable[..., Config]


def compiled(config: Config) -> Config:
    return replace(config, runtime=replace(config.runtime, compile=True))


def test_a_generator_that_does_not_compile_runs_uncompiled_and_says_so(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> Callable[..., Any]:
        def run(x: object) -> object:
            raise RuntimeError("no compiler\nfound")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    config = tiny()
    last = fit(compiled(config))
    assert "the generator runs uncompiled: RuntimeError: no compiler found" in capsys.readouterr().err
    straight = load_file(fit(replace(config, output=config.output + "-plain")))
    for name, tensor in load_file(last).items():
        assert torch.equal(tensor, straight[name]), name


def test_compiling_leaves_no_trace_in_the_networks(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def wrapped(function: Callable[..., Any], **options: object) -> Callable[..., Any]:
        def run(x: torch.Tensor) -> Any:
            calls.append(tuple(x.shape))
            return function(x)

        return run

    monkeypatch.setattr(torch, "compile", wrapped)
    config = tiny('[optimizer]\nkind = "adamw"\n')
    last = load_file(fit(compiled(config)))
    assert calls == [(2, 3, 32, 32)] * 7  # once to compile, then each step
    straight = load_file(fit(replace(config, output=config.output + "-plain")))
    for name, tensor in straight.items():
        assert torch.equal(tensor, last[name]), name
