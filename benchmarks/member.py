"""A network and the plain PyTorch loop that trains it: what popgrad is held to, and what Ray Tune is given."""

import os
from collections.abc import Mapping
from functools import lru_cache

import torch
from measure import SEED
from torch import nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from popgrad.core.initial import first_hparams
from popgrad.core.population import Hparams
from popgrad.core.seeding import Rng
from popgrad.data import Splits
from popgrad.tasks.mnist import mnist_conv, mnist_fc
from popgrad.tasks.torch_task import TorchTask

BATCH = 200
EPOCH = 275
"""Steps that see all of the 55,000 training samples."""


@lru_cache(maxsize=1)
def data() -> Splits:
    """The real MNIST, from where POPGRAD_DATA says; read once in a process, for `task("fc")` too."""
    parts = (
        task("fc").split(name, torch.device("cpu")) for name in ("train", "validation", "test")
    )
    return Splits(*parts)


@lru_cache(maxsize=2)
def task(kind: str) -> TorchTask:
    """The built-in task, "fc" or "conv"."""
    folder = os.environ.get("POPGRAD_DATA")
    return (mnist_fc if kind == "fc" else mnist_conv)(data_dir=folder)


def first(size: int) -> list[Hparams]:
    """What the members of a population of the task begin with."""
    return first_hparams(task("fc").space, Rng(SEED), size, ())[0]


def own(kind: str, hparams: Hparams) -> tuple[nn.Module, Optimizer]:
    """The network and the optimizer as the task makes them: popgrad's dropout, Adam fused."""
    module = task(kind).model(hparams)
    optimizer = task(kind).optimizer(module, hparams)
    assert isinstance(optimizer, Optimizer)
    write(module, optimizer, hparams)
    return module, optimizer


def usual(kind: str, hparams: Hparams) -> tuple[nn.Module, Optimizer]:
    """The same network of torch's modules alone, and Adam as it is by default."""
    module = _usual_fc() if kind == "fc" else _usual_conv()
    optimizer = Adam(module.parameters())
    write(module, optimizer, hparams)
    return module, optimizer


def _usual_fc() -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in ((784, 256), (256, 256)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def _usual_conv() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Dropout(),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 28 * 28, 10))


def write(module: nn.Module, optimizer: Optimizer, hparams: Hparams) -> None:
    """Write hyperparameters where they live."""
    keep = float(hparams["keep_prob"])
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 1.0 - keep
        elif "keep_prob" in layer._buffers:
            layer.get_buffer("keep_prob").fill_(keep)
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = hparams["lr"], hparams["weight_decay"]


class Member:
    """One network, trained on batches that are gathered by index from tensors in memory.

    Args:
        module: The network.
        optimizer: Of its parameters.
        seed: Of the order of data.

    Attributes:
        position: Samples seen so far; with the seed it says where in the data training goes on.
    """

    def __init__(self, module: nn.Module, optimizer: Optimizer, seed: int) -> None:
        self.module, self.optimizer, self.position = module, optimizer, 0
        self._inputs, self._targets = data().train
        self._seed, self._epoch, self._order = seed, -1, torch.empty(0, dtype=torch.int64)

    def train(self, steps: int) -> None:
        """So many steps, each epoch in an order of its own."""
        self.module.train()
        for _ in range(steps):
            rows = self._rows()
            self.optimizer.zero_grad(set_to_none=True)
            outputs = self.module(self._inputs.index_select(0, rows))
            functional.cross_entropy(outputs, self._targets.index_select(0, rows)).backward()
            self.optimizer.step()

    def _rows(self) -> torch.Tensor:
        epoch, start = divmod(self.position, len(self._inputs))
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self._inputs), generator=generator)
        rows = self._order[start : start + BATCH]
        self.position += len(rows)
        return rows

    @torch.no_grad()
    def evaluate(self) -> Mapping[str, float]:
        """Accuracy and loss on the validation split, in batches."""
        self.module.eval()
        inputs, targets = data().validation
        outputs = torch.cat([self.module(batch) for batch in inputs.split(BATCH)])
        right = (outputs.argmax(1) == targets).double().mean()
        return {"accuracy": float(right), "loss": float(functional.cross_entropy(outputs, targets))}
