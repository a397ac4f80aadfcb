"""Messages of the page, as text."""

from __future__ import annotations

import re

from rtdeblur.live.displays import Action, Command, SetStrength, UseModel

_COMMANDS = {c.value: c for c in Command if c is not Command.QUIT}
_MOST_CHARACTERS = 512
_STRENGTH = re.compile(r"strength ([01](?:\.[0-9]{1,3})?|2(?:\.0{1,3})?)")
_MODEL = re.compile(r"model (.+)")


def parse(message: str) -> Action | None:
    """The request of a message; None if the page never sends such a message."""
    if len(message) > _MOST_CHARACTERS:
        return None
    if message in _COMMANDS:
        return _COMMANDS[message]
    if strength := _STRENGTH.fullmatch(message):
        return SetStrength(float(strength[1]))
    if model := _MODEL.fullmatch(message):
        return UseModel(model[1])
    return None
