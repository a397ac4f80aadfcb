from __future__ import annotations

from dataclasses import fields
from typing import get_args

import click
import pytest

from rtdeblur.backends import BACKENDS
from rtdeblur.cli import bench, build, live
from rtdeblur.cli.options import BACKEND, DROPOUT, PARAMS, PRECISION, seconds
from rtdeblur.cli.request import DeblurRequest, Request
from rtdeblur.dropout import Policy
from rtdeblur.model import EnginePrecision, Precision


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("90", 90),
        ("90.5", 90.5),
        (".5", 0.5),
        ("1:30", 90),
        ("01:01:30.25", 3690.25),
        ("0:00:05", 5),
    ],
)
def test_a_time_is_parsed(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "-1", "1:", ":30", "1:60", "61:00:00:00", "1:75:00", "nan", "inf", "1e3", "5s", "1:2:3:4",
        "9" * 400, "9" * 36, f"{'9' * 36}:00:00",
    ],
)  # fmt: skip
def test_a_bad_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        seconds(text)


@pytest.mark.parametrize(
    ("request_type", "params"),
    [
        (DeblurRequest, PARAMS),
        (bench.BenchRequest, bench.command.params),
        (live.LiveRequest, live.command.params),
    ],
)
def test_every_option_is_a_field_of_the_request(
    request_type: type[Request], params: list[click.Parameter]
) -> None:
    assert issubclass(request_type, Request)
    named = {param.name for param in params if param.expose_value}
    assert {field.name for field in fields(request_type)} == named


@pytest.mark.parametrize(
    ("command", "precisions"),
    [(bench.command, Precision), (live.command, Precision), (build.command, EnginePrecision)],
)
def test_commands_offer_the_precisions_that_they_can_run(command: click.Command, precisions: object) -> None:
    (option,) = (param for param in command.params if param.name == "precision")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == get_args(precisions)


@pytest.mark.parametrize("command", [bench.command, live.command])
def test_backend_identity_means_the_model_identity(command: click.Command) -> None:
    (option,) = (param for param in command.params if param.name == "backend")
    assert option.type.convert("identity", option, None) == "identity"
    words = dict.fromkeys((field.name for field in fields(Request)), None) | {"backend": "identity"}
    request = Request.of(**words)
    assert (request.model, request.backend) == ("identity", "auto")
    assert not request.load_model().has_graph


def test_the_choices_match_the_library() -> None:
    known = {BACKEND: BACKENDS, PRECISION: get_args(Precision), DROPOUT: get_args(Policy)}
    for option, choices in known.items():
        assert isinstance(option.type, click.Choice)
        assert set(option.type.choices) == set(choices)
