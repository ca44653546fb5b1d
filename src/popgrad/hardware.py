"""Cores, devices and versions of the machine, which results depend on."""

import importlib.metadata
import os
import platform
import sys

import torch

from popgrad.core.errors import UsageError


def available_cores() -> int:
    """Return the cores that this process may use: by its affinity and its cgroup, rounded up."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def resolve_devices(device: str) -> list[torch.device]:
    """Return the devices that "auto", "cpu", "cuda", "cuda:0" or "cuda:0,1" means.

    Members take turns over them.

    Raises:
        UsageError: A device does not exist; the message lists those that do.
    """
    count = torch.cuda.device_count()
    existing = ["cpu", *(f"cuda:{i}" for i in range(count))]
    if device == "auto":
        return [torch.device("cuda:0" if count else "cpu")]

    kind, _, numbers = device.partition(":")
    names = [f"{kind}:{number.strip()}" for number in numbers.split(",")] if numbers else [device]
    if device == "cuda" and count:
        names = ["cuda:0"]
    if kind not in ("cpu", "cuda") or any(name not in existing for name in names):
        raise UsageError(
            f"device {device!r} does not exist here; there is {', '.join(existing)} (or auto)"
        )
    return [torch.device(name) for name in names]


def versions() -> dict[str, str]:
    """Return the versions that results depend on, by name."""
    names = ("popgrad", "torch", "numpy")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }
