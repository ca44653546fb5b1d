"""Settings of the process that training depends on; a segment leaves them as it found them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import backends

_TINY = float(np.float64(5e-324))
"""A denormal number: it counts as 0 if the processor flushes these. A constant of the source would be
folded by the compiler."""

Setting = tuple[Callable[[], Any], Callable[[Any], Any]]
"""Functions that read a setting and write it."""


def _attribute(owner: Any, name: str) -> Setting:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _autocast(device: str) -> tuple[Setting, Setting]:
    enabled: Setting = (
        lambda: torch.is_autocast_enabled(device),
        lambda value: torch.set_autocast_enabled(device, value),
    )
    dtype: Setting = (
        lambda: torch.get_autocast_dtype(device),
        lambda value: torch.set_autocast_dtype(device, value),
    )
    return enabled, dtype


def _write_device(device: torch.device) -> None:
    # A default device that is set, the CPU too, slows every call of torch.
    torch.set_default_device(None if device.type == "cpu" else device)


_SETTINGS: tuple[Setting, ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _write_device),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    _attribute(torch.utils.deterministic, "fill_uninitialized_memory"),
    _attribute(backends.cudnn, "enabled"),
    _attribute(backends.cudnn, "benchmark"),
    _attribute(backends.cudnn, "deterministic"),
    _attribute(backends.cudnn, "allow_tf32"),
    _attribute(backends.mkldnn, "enabled"),
    (backends.cuda.flash_sdp_enabled, backends.cuda.enable_flash_sdp),
    (backends.cuda.mem_efficient_sdp_enabled, backends.cuda.enable_mem_efficient_sdp),
    (backends.cuda.math_sdp_enabled, backends.cuda.enable_math_sdp),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
    ),
    *_autocast("cpu"),
    *_autocast("cuda"),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (lambda: _TINY * 1.0 == 0.0, torch.set_flush_denormal),
    (np.geterr, lambda value: np.seterr(**value)),
)
"""Settings that decide about numbers. A worker takes them over from its controller."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Settings:
    """Settings of torch and NumPy that decide about numbers.

    Attributes:
        values: Value of each entry of `_SETTINGS`.
    """

    values: tuple[Any, ...]

    @classmethod
    def current(cls) -> Self:
        """Return the settings of this process."""
        return cls(tuple(_read(read) for read, _ in _SETTINGS))

    def apply(self) -> None:
        """Write those settings that differ from the present ones."""
        for (read, write), value in zip(_SETTINGS, self.values, strict=True):
            if value is not None and _read(read) != value:
                write(value)


def _read(read: Callable[[], Any]) -> Any:
    """Return the value of a setting; None if torch refuses to read it.

    It does if its old and its new interface to the setting were both used.
    """
    try:
        return read()
    except RuntimeError:
        return None


@contextmanager
def preserve_settings() -> Iterator[None]:
    """Restore afterwards what a task may change in its process.

    These are the settings of torch and NumPy, the number of threads, the working directory, and
    the handlers of Ctrl-C and SIGTERM. So every member begins with the caller's settings, however
    many trained before it in the same process.
    """
    settings = Settings.current()
    threads = torch.get_num_threads()
    folder = _working_directory()
    handlers = _handlers()
    try:
        yield
    finally:
        settings.apply()
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if folder is not None and _working_directory() != folder:
            # It may be gone by now.
            with suppress(OSError):
                os.chdir(folder)
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _working_directory() -> str | None:
    """Return the working directory; None if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _handlers() -> dict[signal.Signals, Any]:
    """Return the handlers of signals that this thread may set; none that Python cannot set again."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    return {number: handler for number, handler in handlers.items() if handler is not None}
