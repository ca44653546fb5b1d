"""A task made of functions: classification of scikit-learn's breast cancer data.

Run it with: python examples/own_task.py
"""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

import popgrad
from popgrad import LogUniform, OneMinus, Space, Splits, TorchTask, Uniform
from popgrad.data import stratified


def data() -> Splits:
    """Return 569 tumours with 30 features each: 379 to train on, 95 to select by, 95 to test on."""
    x, y = load_breast_cancer(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    rest, test = stratified(x, torch.tensor(y), validation=95, seed=0)
    train, validation = stratified(*rest, validation=95, seed=0)
    return Splits(train, validation, test)


def loss(module, batch, hparams):
    """Return the cross entropy, smoothed by a hyperparameter that is explored like any other."""
    log_probabilities = module(batch[0]).log_softmax(1)
    smoothing = hparams["smoothing"]
    hit = nn.functional.nll_loss(log_probabilities, batch[1])
    return (1 - smoothing) * hit - smoothing * log_probabilities.mean()


task = TorchTask(
    space=Space(
        {
            "lr": LogUniform(1e-4, 1e-1),  # written into the optimizer's parameter groups
            "beta1": OneMinus(0.5, 0.99),
            "dropout": Uniform(0.0, 0.6),  # written into the Dropout's buffer of that name
            "smoothing": Uniform(0.0, 0.2),  # read by the loss
        }
    ),
    model=lambda _: nn.Sequential(
        nn.Linear(30, 64), nn.BatchNorm1d(64), nn.ReLU(), popgrad.nn.Dropout(), nn.Linear(64, 2)
    ),
    optimizer=lambda module, _: torch.optim.Adam(module.parameters()),
    data=data,
    loss=loss,
    minimize="loss",
    batch_size=32,
)

if __name__ == "__main__":
    result = popgrad.run(
        task, population=6, intervals=6, interval="1 epoch", seed=0, executor="serial"
    )
    metrics = result.winner.segment.metrics
    print(f"validation loss {metrics['loss']:.4f}, test {result.test()}")
    print(result.winner.schedule)
