from __future__ import annotations

from dataclasses import fields
from typing import get_args

import click
import pytest

from rtdeblur.backends.base import BACKENDS, Precision
from rtdeblur.cli.options import BACKEND, DROPOUT, PARAMS, PRECISION, Request, seconds
from rtdeblur.dropout import Policy


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
def test_a_time(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "-1", "1:", ":30", "1:60", "61:00:00:00", "1:75:00", "nan", "inf", "1e3", "5s", "1:2:3:4"]
)
def test_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time"):
        seconds(text)


def test_the_options_are_the_request() -> None:
    assert {field.name for field in fields(Request)} == {param.name for param in PARAMS if param.expose_value}


def test_the_choices_are_those_that_the_library_knows() -> None:
    known = {BACKEND: BACKENDS, PRECISION: get_args(Precision), DROPOUT: get_args(Policy)}
    for option, choices in known.items():
        assert isinstance(option.type, click.Choice)
        assert set(option.type.choices) == set(choices)
