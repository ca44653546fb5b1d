"""Metrics of a whole split."""

import math

import pytest
import torch

from popgrad.metrics import accuracy, classification, cross_entropy, regression

OUTPUTS = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])


def test_accuracy_is_the_share_of_rows_that_are_right():
    assert accuracy(OUTPUTS, torch.tensor([0, 1, 1, 1])) == 0.75


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_network_that_diverged_has_no_accuracy(value):
    outputs = OUTPUTS.clone()
    outputs[0, 1] = value
    assert math.isnan(accuracy(outputs, torch.tensor([0, 1, 1, 1])))


def test_accuracy_of_many_rows_is_exact():
    n = 2**24 + 1  # one more than float32 can count to
    outputs = torch.zeros(1, 1, dtype=torch.float16).expand(n, 1)
    targets = torch.zeros(1, dtype=torch.int64).expand(n)
    assert accuracy(outputs, targets) == 1.0


def test_cross_entropy_is_in_nats():
    assert cross_entropy(torch.zeros(3, 10), torch.tensor([0, 4, 9])) == pytest.approx(math.log(10))


def test_classification_gives_both_as_numbers():
    metrics = classification(OUTPUTS, torch.tensor([0, 1, 0, 1]))
    assert metrics["accuracy"] == 1.0
    assert metrics["loss"] == cross_entropy(OUTPUTS, torch.tensor([0, 1, 0, 1]))
    assert all(type(value) is float for value in metrics.values())


def test_regression_gives_the_mean_squared_error():
    assert regression(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [4.0]])) == {"loss": 2.5}
