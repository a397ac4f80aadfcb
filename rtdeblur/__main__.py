"""`python -m rtdeblur`: the same as the command `rtdeblur`."""

from rtdeblur.cli import program

program()
