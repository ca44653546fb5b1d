"""Quiet calls of a tracker's library: the terminal belongs to the run's own display."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def quiet(*libraries: str, variables: Mapping[str, str] | None = None) -> Iterator[None]:
    """Silence the logs of libraries, and all warnings, while the block lasts.

    Args:
        *libraries: Names of their loggers.
        variables: Environment variables for the block; those that are set already keep their values.

    Example:
        >>> import os, warnings
        >>> with quiet("mlflow", variables={"POPGRAD_EXAMPLE": "1"}):
        ...     warnings.warn("not shown")
        ...     os.environ["POPGRAD_EXAMPLE"]
        '1'
        >>> "POPGRAD_EXAMPLE" in os.environ
        False
    """
    loggers = [logging.getLogger(library) for library in libraries]
    levels = [logger.level for logger in loggers]
    added = {name: value for name, value in (variables or {}).items() if name not in os.environ}
    os.environ.update(added)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name in added:
            os.environ.pop(name, None)
