"""A Ray cluster as the executor sees it: connected to or started here, and its room for members."""

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
from ray._private import worker as ray_worker

from popgrad.core.errors import UsageError
from popgrad.hardware import available_cores

log = logging.getLogger("popgrad")

_CONNECTION_ERRORS = (ConnectionError, OSError, RuntimeError, ValueError)
"""Errors of Ray if there is no cluster, or one of another version."""

_CONNECT_SECONDS = 10.0
"""Seconds for a host to accept a connection, after which Ray answers in less than one."""

# Ten members of 0.1 GPUs each fit on one, though their sum is a little above 1 in
# floats.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Needs:
    """Resources that a member takes while it trains.

    Attributes:
        cpus: CPUs, at least 0; a fraction lets members share one.
        gpus: GPUs, at least 0; a fraction lets members share one.

    Raises:
        UsageError: A number is negative, or both are 0.
    """

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus < 0 or self.gpus < 0 or self.cpus + self.gpus == 0:
            raise UsageError(
                "cpus, gpus: expected numbers of at least 0, and not both 0, "
                f"got {self.cpus:g} and {self.gpus:g}"
            )


def connect(address: str | None, workers: int | None, needs: Needs) -> bool:
    """Connect to a cluster, or start one on this machine. An existing connection is used as it is.

    Args:
        address: HOST:PORT, "auto" = the cluster that runs on this machine, "local" = start one;
            None = the value of RAY_ADDRESS, else "local".
        workers: Actors that a started cluster has room for; None = one per core.
        needs: Resources of an actor.

    Returns:
        Whether `disconnect` must be called afterwards.

    Raises:
        UsageError: There is no such cluster.
    """
    if ray.is_initialized():
        return False

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if "://" in address:
        raise UsageError(
            f"address: expected HOST:PORT, auto or local, got {address!r}; run popgrad on a node "
            "of the cluster"
        )
    options: dict[str, object] = {"log_to_driver": True, "logging_level": logging.ERROR}
    if address == "local":
        # Ray would send statistics over the network.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        cpus = available_cores() if workers is None else math.ceil(workers * needs.cpus)
        options["num_cpus"] = max(1, cpus)
        options["include_dashboard"] = False

    _init(address, options)
    _print_worker_output_as_error()
    return True


def disconnect() -> None:
    """Leave the cluster; one that was started here ends."""
    ray.shutdown()
    _restore_worker_output()


def capacity(needs: Needs) -> int:
    """Return the number of members that can train at once, if nothing else uses the living nodes."""
    total = 0
    for node in ray.nodes():
        if node["Alive"]:
            wanted = (("CPU", needs.cpus), ("GPU", needs.gpus))
            rooms = [
                node["Resources"].get(kind, 0.0) / amount for kind, amount in wanted if amount > 0
            ]
            total += math.floor(min(rooms) + _ROUNDING)
    return total


def _init(address: str, options: dict[str, object]) -> None:
    """Call `ray.init`; warn if the address answers late, and refuse it if it does not answer."""
    handler = signal.getsignal(signal.SIGTERM)
    warning = threading.Timer(
        _CONNECT_SECONDS,
        log.warning,
        [
            "address: %s accepts connections, but does not answer as Ray yet; "
            "is it the address that `ray start` printed?",
            address,
        ],
    )

    try:
        endpoint = _endpoint(address)
        if endpoint is not None:
            # Ray would wait five minutes for an address at which nothing listens.
            socket.create_connection(endpoint, _CONNECT_SECONDS).close()
            warning.start()

        ray.init(address=address, **options)
    except _CONNECTION_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"address: expected a running cluster, got {address!r} ({reason}); start one with "
            "`ray start --head`, or leave the address out to use this machine"
        ) from error
    finally:
        warning.cancel()
        # Ray sets its own handler, which ends the run without closing it.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _endpoint(address: str) -> tuple[str, int] | None:
    """Return host and port of an address of the form HOST:PORT, else None."""
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()):
        return None
    return host.strip("[]"), int(port)


# --- output of workers: Ray prints it to standard output, which is for results; it has no setting

_print_worker_logs: Any = getattr(ray_worker, "print_worker_logs", None)
"""Ray's private function, which another version may not have."""


def _print_worker_output_as_error() -> None:
    if _print_worker_logs is not None:
        ray_worker.print_worker_logs = _print_as_error


def _restore_worker_output() -> None:
    if _print_worker_logs is not None:
        ray_worker.print_worker_logs = _print_worker_logs


def _print_as_error(data: Any, print_file: Any, *args: Any, **kwargs: Any) -> None:
    del print_file
    _print_worker_logs(data, sys.stderr, *args, **kwargs)
