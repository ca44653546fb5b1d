"""The configuration of a run: its keys, the files that hold them, and the original project's files."""

from popgrad.config.files import override, read, write
from popgrad.config.model import RunConfig, StrategyConfig, parse

__all__ = ["RunConfig", "StrategyConfig", "override", "parse", "read", "write"]
