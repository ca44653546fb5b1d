"""Whether popgrad can do its work here: versions, threads, arithmetic, devices, space."""

import importlib.util
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from popgrad.core.errors import PopgradError
from popgrad.data import DATASETS, data_dir
from popgrad.doctor.finding import Finding, size
from popgrad.executors.fingerprint import fingerprint_with
from popgrad.executors.processes.pool import Processes
from popgrad.hardware import available_cores, versions
from popgrad.store.filesystem import check_local
from popgrad.tasks.toys import Quadratic

_LITTLE = (
    2 * 10**9
)  # bytes; a run of the built-in tasks takes far less, a night of a larger one may not
_EXTRAS = {"tensorboard": "tensorboard", "ray": "ray"}


def examine_installation(folder: Path) -> list[Finding]:
    """Look at this machine and at what is installed. Starts one worker process, for about two seconds.

    Args:
        folder: Where runs would be kept.
    """
    looks: tuple[Callable[[], Finding], ...] = (
        _versions,
        _cores,
        _arithmetic,
        _worker,
        _devices,
        lambda: _space(folder),
        lambda: _space(Path(tempfile.gettempdir())),
        lambda: _local(folder),
        _open_files,
        _data,
        _extras,
    )
    return [look() for look in looks]


def _versions() -> Finding:
    return Finding(
        "versions", "ok", ", ".join(f"{name} {number}" for name, number in versions().items())
    )


def _cores() -> Finding:
    cores = available_cores()
    return Finding("cores", "ok", f"{cores} to use, so {cores} workers by default, one thread each")


def _arithmetic() -> Finding:
    set_to = os.environ.get("MKL_CBWR", "")
    found = fingerprint_with()
    text = f"{found['capability']}, {str(found['arithmetic'])[:12]}…, MKL_CBWR={set_to}"
    if set_to != "AUTO":
        advice = "leave MKL_CBWR unset (popgrad sets it to AUTO), else bits can depend on where tensors lie"
        return Finding("arithmetic", "note", text, advice)
    return Finding("arithmetic", "ok", text)


def _worker() -> Finding:
    try:
        Processes(Quadratic(), [torch.device("cpu")], workers=1).close()
    except PopgradError as error:
        return Finding(
            "workers", "problem", str(error), "train with --executor serial until it is mended"
        )
    return Finding("workers", "ok", "one was started, and computes what this process computes")


def _devices() -> Finding:
    count = torch.cuda.device_count()
    names = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(count)]
    return Finding("devices", "ok", ", ".join(["cpu", *names]))


def _space(folder: Path) -> Finding:
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding(
            "space", "problem", f"{place} cannot be written", "name another directory by --dir"
        )
    if free < _LITTLE:
        return Finding(
            "space", "note", f"{size(free)} free in {place}", "make room before a long run"
        )
    return Finding("space", "ok", f"{size(free)} free in {place}")


def _local(folder: Path) -> Finding:
    try:
        check_local(folder.absolute())
    except PopgradError as error:
        return Finding("file system", "problem", str(error), "name another directory by --dir")
    return Finding("file system", "ok", "runs would lie on a local disk")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = (
        f"{soft}, and up to {'any number' if hard == resource.RLIM_INFINITY else hard} when needed"
    )
    if hard != resource.RLIM_INFINITY and hard < 1024:
        advice = "raise it (ulimit -n): each state in memory takes one"
        return Finding("open files", "note", text, advice)
    return Finding("open files", "ok", text)


def _data() -> Finding:
    place = data_dir()
    there = [name for name in DATASETS if (place / name).is_dir()]
    if not there:
        return Finding(
            "data", "note", f"no data sets in {place}", "popgrad data mnist downloads MNIST"
        )
    return Finding("data", "ok", f"{', '.join(there)} in {place}")


def _extras() -> Finding:
    there = [extra for extra, module in _EXTRAS.items() if importlib.util.find_spec(module)]
    return Finding("extras", "ok", ", ".join(there) or "none installed; none is needed")
