import pytest
import torch
from threadpoolctl import threadpool_info

from popgrad.core.segment import Assignment
from popgrad.executors.serial import Serial
from popgrad.tasks import Quadratic


class Threads(Quadratic):
    def evaluate(self, state, hparams, split, ctx):
        return {
            "torch": torch.get_num_threads(),
            "others": max(pool["num_threads"] for pool in threadpool_info()),
        }


def test_members_train_with_one_thread_and_the_callers_threads_come_back():
    torch.set_num_threads(2)
    executor = Serial(Threads(), [torch.device("cpu")])
    executor.submit([Assignment(0, 0, None, {"h0": 1.0, "h1": 0.0}, 0, 0, 1)])
    assert executor.next().metrics == {"torch": 1, "others": 1}
    executor.close()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    executor.close()  # a second time: it is no longer this one's affair
    assert torch.get_num_threads() == 1


class Interrupted(Quadratic):
    def train(self, state, hparams, steps, ctx):
        raise KeyboardInterrupt


def test_ctrl_c_is_for_the_run_and_no_failure_of_the_member():
    executor = Serial(Interrupted(), [torch.device("cpu")])
    executor.submit([Assignment(0, 0, None, {"h0": 1.0, "h1": 0.0}, 0, 0, 1)])
    with pytest.raises(KeyboardInterrupt):
        executor.next()
    executor.close()
