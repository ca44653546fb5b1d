"""Examination of an installation: versions, threads, arithmetic, devices, space."""

import importlib.util
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from popgrad.core.errors import PopgradError
from popgrad.data import DATASETS, data_dir, is_complete
from popgrad.doctor.finding import Finding, size
from popgrad.executors.fingerprint import fingerprint_with
from popgrad.executors.processes.pool import Processes
from popgrad.hardware import available_cores, versions
from popgrad.store.filesystem import check_local
from popgrad.tasks.toys import Quadratic

_MIN_FREE = 2 * 10**9
"""Free bytes below which a long run may fill the disk; runs of the built-in tasks take far less."""
_EXTRAS = {"tensorboard": "tensorboard", "ray": "ray"}


def examine_installation(folder: Path) -> list[Finding]:
    """Examine this machine and the installation. Starts one worker process, for about two seconds.

    Args:
        folder: Folder in which runs would be kept.
    """
    examinations: tuple[Callable[[], Finding], ...] = (
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
    return [examine() for examine in examinations]


def _versions() -> Finding:
    text = ", ".join(f"{name} {number}" for name, number in versions().items())
    return Finding("versions", "ok", text)


def _cores() -> Finding:
    cores = available_cores()
    return Finding("cores", "ok", f"{cores} to use, so {cores} workers by default, one thread each")


def _arithmetic() -> Finding:
    setting = os.environ.get("MKL_CBWR", "")
    fingerprint = fingerprint_with()
    arithmetic = str(fingerprint["arithmetic"])
    text = f"{fingerprint['capability']}, {arithmetic[:12]}…, MKL_CBWR={setting}"

    if setting != "AUTO":
        advice = (
            "leave MKL_CBWR unset (popgrad sets it to AUTO), else bits can depend on where tensors "
            "lie in memory"
        )
        return Finding("arithmetic", "note", text, advice)
    return Finding("arithmetic", "ok", text)


def _worker() -> Finding:
    try:
        Processes(Quadratic(), [torch.device("cpu")], workers=1).close()
    except PopgradError as error:
        advice = "train with --executor serial until this is fixed"
        return Finding("workers", "problem", str(error), advice)
    return Finding("workers", "ok", "one was started, and computes the same bits as this process")


def _devices() -> Finding:
    count = torch.cuda.device_count()
    names = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(count)]
    return Finding("devices", "ok", ", ".join(["cpu", *names]))


def _space(folder: Path) -> Finding:
    """Examine the free space of the nearest folder that exists."""
    candidates = (folder.absolute(), *folder.absolute().parents)
    existing = next(path for path in candidates if path.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        advice = "choose another directory with --dir"
        return Finding("space", "problem", f"{existing} cannot be written", advice)

    text = f"{size(free)} free in {existing}"
    if free < _MIN_FREE:
        return Finding("space", "note", text, "make room before a long run")
    return Finding("space", "ok", text)


def _local(folder: Path) -> Finding:
    try:
        check_local(folder.absolute())
    except PopgradError as error:
        return Finding("file system", "problem", str(error), "choose another directory with --dir")
    return Finding("file system", "ok", "runs would lie on a local disk")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    text = f"{soft}, and up to {'any number' if unlimited else hard} when needed"
    if not unlimited and hard < 1024:
        advice = "raise the limit (ulimit -n): each state in memory takes one file"
        return Finding("open files", "note", text, advice)
    return Finding("open files", "ok", text)


def _data() -> Finding:
    folder = data_dir()
    names = [name for name in DATASETS if is_complete(name)]
    partial = [name for name in DATASETS if (folder / name).is_dir() and name not in names]
    if partial:
        advice = f"popgrad data {partial[0]} downloads what is missing"
        return Finding("data", "note", f"{partial[0]} is not complete in {folder}", advice)
    if not names:
        advice = "popgrad data mnist downloads MNIST"
        return Finding("data", "note", f"no data sets in {folder}", advice)
    return Finding("data", "ok", f"{', '.join(names)} in {folder}")


def _extras() -> Finding:
    names = [extra for extra, module in _EXTRAS.items() if importlib.util.find_spec(module)]
    return Finding("extras", "ok", ", ".join(names) or "none installed; none is needed")
