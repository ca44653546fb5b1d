import pytest
import torch

from popgrad.core.errors import UsageError
from popgrad.executors.base import resolve_devices


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
    with pytest.raises(UsageError, match=r"^device 'cuda' does not exist here; there is cpu \(or auto\)$"):
        resolve_devices("cuda")
