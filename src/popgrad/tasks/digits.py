"""Scikit-learn's 8x8 digits: a perceptron that trains in seconds, without a download."""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Adam

from popgrad.core.population import Hparams
from popgrad.core.space import LogUniform, Space, Uniform
from popgrad.data.splits import Splits, stratified
from popgrad.nn import Dropout, xavier_
from popgrad.tasks.options import check_widths
from popgrad.tasks.torch_task import TorchTask


def digits(
    *, n_hiddens: tuple[int, ...] = (64, 64), batch_size: int = 32, split_seed: int = 0
) -> TorchTask:
    """Classify 1,797 digits of 8x8 pixels (UCI ML hand-written digits).

    1,197 samples are for training, 300 for validation and 300 for the test.

    Args:
        n_hiddens: Width of each hidden layer.
        batch_size: Samples per step.
        split_seed: Seed that selects the samples held out; not the run's, so that runs can be
            compared.
    """
    check_widths("n_hiddens", n_hiddens)

    def model(hparams: Hparams) -> nn.Module:
        del hparams
        layers: list[nn.Module] = []
        widths = (64, *n_hiddens)
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.Linear(inputs, outputs),
                nn.ReLU(),
                Dropout(0.0, hparam="keep_prob", keep=True),
            ]
        return xavier_(nn.Sequential(*layers, nn.Linear(widths[-1], 10)))

    return TorchTask(
        space=Space({"lr": LogUniform(1e-4, 1e-1), "keep_prob": Uniform(0.5, 1.0)}),
        model=model,
        optimizer=lambda module, _: Adam(module.parameters(), fused=True),
        data=lambda: _splits(split_seed),
        batch_size=batch_size,
    )


def _splits(seed: int) -> Splits:
    pixels, classes = _read()
    inputs = torch.from_numpy((pixels / 16.0).astype(np.float32))  # grey values are 0..16
    targets = torch.from_numpy(classes.astype(np.int64))

    rest, test = stratified(inputs, targets, validation=300, seed=seed)
    train, validation = stratified(*rest, validation=300, seed=seed)
    return Splits(train, validation, test)


def _read() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return [1797, 64] grey values and [1797] classes.

    The file is read from scikit-learn's folder, since the import of scikit-learn would double the time
    that a run and each of its workers take to start.
    """
    package = find_spec("sklearn")
    for folder in [] if package is None else package.submodule_search_locations or []:
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1]

    # Another version of scikit-learn may keep it elsewhere.
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return pixels, classes
