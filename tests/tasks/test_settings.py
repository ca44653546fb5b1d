"""Settings of the process: what a task changes is gone after its segment."""

import os
import signal
import threading

import numpy as np
import pytest
import torch

from popgrad.tasks import Context
from popgrad.tasks.evaluation import seeded
from popgrad.tasks.settings import Settings, preserve_settings


def change():
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.backends.cudnn.benchmark = True
    torch.backends.mkldnn.enabled = False
    torch.autograd.set_detect_anomaly(True)
    torch.set_autocast_enabled("cpu", True)
    torch.set_flush_denormal(True)
    torch.set_grad_enabled(False)
    np.seterr(all="ignore")
    os.chdir("/")
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("ends", [None, ValueError, KeyboardInterrupt])
def test_all_that_a_task_changes_is_restored_however_it_ends(ends):
    before = Settings.current()
    threads, folder = torch.get_num_threads(), os.getcwd()
    handler = signal.getsignal(signal.SIGINT)
    try:
        with seeded(Context()):
            change()
            assert Settings.current() != before
            if ends is not None:
                raise ends
    except (ValueError, KeyboardInterrupt):
        assert ends is not None
    assert Settings.current() == before
    assert (torch.get_num_threads(), os.getcwd()) == (threads, folder)
    assert torch.is_grad_enabled()
    assert signal.getsignal(signal.SIGINT) is handler


def test_settings_can_be_taken_over():
    before = Settings.current()
    with preserve_settings():
        change()
        changed = Settings.current()
    changed.apply()
    try:
        assert torch.get_default_dtype() == torch.float64
        assert Settings.current() == changed
    finally:
        before.apply()
    assert Settings.current() == before


def test_torchs_new_interface_to_a_setting_is_restored_as_well():
    before = torch.get_float32_matmul_precision()
    with preserve_settings():
        torch.backends.cuda.matmul.fp32_precision = "tf32"  # from here on, the old one raises
    assert torch.get_float32_matmul_precision() == before
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_thread_and_a_deleted_folder_are_no_obstacle(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with preserve_settings():
        pass
    monkeypatch.undo()
    done = []

    def inside():
        with preserve_settings():
            done.append(True)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert done == [True]
