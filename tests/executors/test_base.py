import pytest
import torch

from popgrad.core.errors import UsageError
from popgrad.core.segment import Assignment, Outcome, Telemetry
from popgrad.executors.base import RETRIES, Attempt
from popgrad.hardware import resolve_devices
from popgrad.tasks import Context
from popgrad.tasks.evaluation import seeded


@pytest.fixture
def gpus(monkeypatch):
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("device", "count", "expected"),
    [
        ("cpu", 0, ["cpu"]),
        ("cpu", 2, ["cpu"]),
        ("auto", 0, ["cpu"]),
        ("auto", 2, ["cuda:0"]),
        ("cuda", 2, ["cuda:0"]),
        ("cuda:1", 2, ["cuda:1"]),
        ("cuda:0,1", 2, ["cuda:0", "cuda:1"]),
        ("cuda:1, 0", 2, ["cuda:1", "cuda:0"]),
    ],
)
def test_devices_by_name(gpus, device, count, expected):
    gpus(count)
    assert resolve_devices(device) == [torch.device(name) for name in expected]


@pytest.mark.parametrize(
    "device", ["tpu", "", "cuda:7", "cuda:0,7", "cuda:", "cuda:x", "cpu:0,1", "CPU", "mps"]
)
def test_a_device_that_does_not_exist_is_named_with_those_that_do(gpus, device):
    gpus(2)
    with pytest.raises(
        UsageError, match=rf"^device '{device}' .*; there is cpu, cuda:0, cuda:1 \(or auto\)$"
    ):
        resolve_devices(device)


def test_without_a_gpu_cuda_is_refused(gpus):
    gpus(0)
    with pytest.raises(
        UsageError, match=r"^device 'cuda' does not exist here; there is cpu \(or auto\)$"
    ):
        resolve_devices("cuda")


def failed(n):
    return Outcome((3, 1), error=f"attempt {n}", telemetry=Telemetry(worker=f"worker {n}"))


@pytest.mark.parametrize("failures", range(RETRIES + 1))
def test_an_outcome_without_error_is_handed_on_as_it_is_however_many_attempts_it_took(failures):
    attempt = Attempt(Assignment(3, 1, (2, 0), {"lr": 0.1}, 117, 8, 4))
    for n in range(failures):
        again = attempt.settle(failed(n))
        assert again.assignment is attempt.assignment
        attempt = again
    outcome = Outcome((3, 1), {"score": float("nan")}, "digest", 32)
    assert attempt.settle(outcome) is outcome


def test_the_last_attempt_that_fails_is_handed_on_with_the_first_error():
    attempt = Attempt(Assignment(3, 1, (2, 0), {"lr": 0.1}, 117, 8, 4))
    for n in range(RETRIES):
        attempt = attempt.settle(failed(n))
    outcome = attempt.settle(failed(RETRIES))
    assert outcome == Outcome(
        (3, 1), error="attempt 0", telemetry=Telemetry(worker=f"worker {RETRIES}")
    )


def test_generators_of_gpus_are_given_back_where_cuda_has_started(monkeypatch):
    gpus = ["state of 0", "state of 1"]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: list(gpus))
    monkeypatch.setattr(
        torch.cuda, "set_rng_state_all", lambda states: gpus.__setitem__(slice(2), states)
    )
    monkeypatch.setattr(
        torch.cuda, "manual_seed_all", lambda seed: gpus.__setitem__(slice(2), [seed] * 2)
    )
    with seeded(Context()):
        assert gpus[0] == gpus[1] == torch.initial_seed()
    assert gpus == ["state of 0", "state of 1"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_generator_of_a_gpu_is_given_back():
    torch.cuda.init()
    before = torch.cuda.get_rng_state()
    with seeded(Context()):
        torch.rand(3, device="cuda")
        assert not torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.equal(torch.cuda.get_rng_state(), before)
