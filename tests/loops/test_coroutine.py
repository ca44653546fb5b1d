"""Coroutines, by greenlets and by threads."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from popgrad.loops import coroutine
from popgrad.loops.coroutine import GreenletCoroutine, Suspension, ThreadCoroutine, make_coroutine


@pytest.fixture(params=[GreenletCoroutine, ThreadCoroutine])
def kind(request):
    return request.param


def test_values_go_both_ways(kind):
    got = []

    def body(own):
        got.append(own.suspend("first"))
        got.append(own.suspend("second"))

    call = kind(body)
    assert call.resume() == Suspension("first")
    assert call.resume(1) == Suspension("second")
    assert call.resume(2) is None
    assert got == [1, 2]


def test_it_is_suspended_at_any_depth(kind):
    def deep(own, levels):
        return deep(own, levels - 1) if levels else own.suspend("deep")

    assert kind(lambda own: deep(own, 20)).resume() == Suspension("deep")


def test_an_exception_goes_to_the_side_that_resumed(kind):
    def body(own):
        own.suspend(None)
        raise ValueError("of the call")

    call = kind(body)
    call.resume()
    with pytest.raises(ValueError, match="of the call"):
        call.resume()


def test_an_interrupt_unwinds_the_call(kind):
    left = []

    def body(own):
        try:
            own.suspend(None)
        finally:
            left.append("finally")

    class Ended(BaseException):
        pass

    call = kind(body)
    call.resume()
    with pytest.raises(Ended):
        call.interrupt(Ended())
    assert left == ["finally"]
    call.interrupt(Ended())  # it has ended


def test_a_call_that_never_started_ends_without(kind):
    started = []
    kind(started.append).interrupt(ValueError())
    assert not started


def test_both_sides_have_their_own_settings(kind):
    seen = []

    def body(own):
        with torch.no_grad(), np.errstate(over="ignore"):
            own.suspend(None)
            seen.append((torch.is_grad_enabled(), np.geterr()["over"]))

    call = kind(body)
    before = np.geterr()
    call.resume()
    assert torch.is_grad_enabled()
    assert np.geterr() == before
    with torch.enable_grad():
        call.resume()
    assert seen == [(False, "ignore")]


def test_the_number_of_threads_is_that_of_the_caller(kind):
    seen = []

    def body(own):
        seen.append(torch.get_num_threads())
        pools = threadpool_info()
        seen.extend(pool["num_threads"] for pool in pools if pool["user_api"] == "openmp")

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        kind(body).resume()
    finally:
        torch.set_num_threads(before)
    # OpenMP counts threads for each thread, and a new one would take all cores.
    assert seen[0] == 1
    assert kind is GreenletCoroutine or set(seen) == {1}


def test_a_call_that_sets_the_number_of_threads_keeps_it(kind):
    seen = []

    def body(own):
        torch.set_num_threads(2)
        own.suspend(None)
        seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    call = kind(body)
    try:
        call.resume()
        # A segment of another task has its own.
        torch.set_num_threads(1)
        call.resume()
    finally:
        torch.set_num_threads(before)
    assert seen == [2]


def test_greenlets_stay_on_the_callers_thread_and_threads_do_not():
    seen = []
    for kind in (GreenletCoroutine, ThreadCoroutine):
        kind(lambda own: seen.append(threading.current_thread())).resume()
    assert seen[0] is threading.current_thread()
    assert seen[1] is not threading.current_thread()


def test_without_greenlet_a_thread_is_taken(monkeypatch):
    assert isinstance(make_coroutine(lambda own: None), GreenletCoroutine)
    monkeypatch.setattr(coroutine, "greenlet", None)
    assert isinstance(make_coroutine(lambda own: None), ThreadCoroutine)


_INTERRUPTED = """
import sys, time
from popgrad.loops.coroutine import {kind}

def body(own):
    try:
        print("trains", flush=True)
        while True:
            time.sleep(0.01)
    finally:
        print("left", flush=True)

try:
    {kind}(body).resume()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_call_at_once(kind):
    program = _INTERRUPTED.format(kind=kind.__name__)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "trains\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert sorted(out.split()) == ["interrupted", "left"]
    assert process.returncode == 130
