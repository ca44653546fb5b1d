"""A Ray cluster as the executor sees it: connected to, or started here, and how much room it has."""

import logging
import math
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import worker as output

from popgrad.core.errors import UsageError
from popgrad.hardware import available_cores

log = logging.getLogger("popgrad")

_CONNECTION = (ConnectionError, OSError, RuntimeError, ValueError)
"""What Ray raises where there is no cluster, or one of another version."""
_PATIENCE = 10.0  # seconds for a host to answer, which Ray then does in less than one
_ROUNDING = 1e-6  # ten members of 0.1 GPUs each fit on one


@dataclass(frozen=True)
class Needs:
    """What a member takes while it trains.

    Attributes:
        cpus: CPUs, at least 0; a fraction lets members share one.
        gpus: GPUs, at least 0, likewise.
    """

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus < 0 or self.gpus < 0 or self.cpus + self.gpus == 0:
            raise UsageError(
                f"cpus, gpus: given {self.cpus:g} and {self.gpus:g}; a member takes some of one or of both"
            )


def connect(address: str | None, workers: int | None, needs: Needs) -> bool:
    """Connect to a cluster, or start one on this machine; one that the caller is connected to is used.

    Args:
        address: Of the cluster ("auto" = the one that runs on this machine, "local" = start one); None =
            what RAY_ADDRESS says, else "local".
        workers: For which there has to be room on one that is started; None = one per core.
        needs: What each takes.

    Returns:
        Whether it has to be disconnected from afterwards.

    Raises:
        UsageError: There is no such cluster.
    """
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if "://" in address:
        raise UsageError(
            f"address: given {address!r}; run popgrad on a node of the cluster, with HOST:PORT or auto"
        )
    options: dict[str, object] = {"log_to_driver": True, "logging_level": logging.ERROR}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        cpus = available_cores() if workers is None else math.ceil(workers * needs.cpus)
        options |= {"num_cpus": max(1, cpus), "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    waiting = threading.Timer(
        _PATIENCE,
        log.warning,
        ["address: %s answers, but not yet as Ray; is it what `ray start` named?", address],
    )
    try:
        if _knock(address):
            waiting.start()
        ray.init(address=address, **options)
    except _CONNECTION as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"address: given {address!r}, but no cluster can be connected to there ({reason}); start one by "
            "`ray start --head`, or leave the address out to use this machine"
        ) from error
    finally:
        waiting.cancel()
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, before
            )  # Ray puts one of its own, which ends the run uncleanly
    if _print is not None:
        output.print_worker_logs = _print_as_error
    return True


def _knock(address: str) -> bool:
    """Whether it is HOST:PORT. Raises `OSError` where nobody is, for whom Ray would wait five minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return False
    socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    return True


def disconnect() -> None:
    """Leave the cluster; one that was started here ends."""
    ray.shutdown()
    if _print is not None:
        output.print_worker_logs = _print


_print: Any = getattr(
    output, "print_worker_logs", None
)  # Ray's own, which another version may not have


def _print_as_error(data: Any, print_file: Any, *more: Any, **named: Any) -> None:
    """What Ray says of its processes: standard output is for results, and Ray has no setting for it."""
    del print_file
    _print(data, sys.stderr, *more, **named)


def capacity(needs: Needs) -> int:
    """How many members can train at once on the nodes that are alive, whoever else uses them."""
    total = 0
    for node in ray.nodes():
        if node["Alive"]:
            wanted = (("CPU", needs.cpus), ("GPU", needs.gpus))
            rooms = [node["Resources"].get(kind, 0.0) / each for kind, each in wanted if each > 0]
            total += math.floor(min(rooms) + _ROUNDING)
    return total
