"""The command line: each command is a few lines over `run`, `load` and `report`."""

from popgrad.cli.app import main

__all__ = ["main"]
