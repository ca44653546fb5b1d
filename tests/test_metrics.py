"""Metrics of a whole split."""

import math
from decimal import Decimal

import cloudpickle
import numpy as np
import pytest
import torch

from popgrad.core.errors import UsageError
from popgrad.metrics import (
    METRICS,
    accuracy,
    accuracy_onehot,
    as_numbers,
    classification,
    cross_entropy,
    evaluating,
    label,
    metric_named,
    regression,
)

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


ONE_HOT = torch.tensor([[1, 0], [0, 1], [0, 1], [0, 1]])


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_one_hot_targets_give_what_class_indices_give(dtype):
    assert accuracy_onehot(OUTPUTS, ONE_HOT.to(dtype)) == 0.75
    indices = ONE_HOT.argmax(1)
    assert cross_entropy(OUTPUTS, ONE_HOT.to(dtype)) == pytest.approx(
        cross_entropy(OUTPUTS, indices)
    )


def test_a_network_that_diverged_has_no_accuracy_on_one_hot_targets():
    assert math.isnan(accuracy_onehot(OUTPUTS * math.inf, ONE_HOT))


def test_targets_of_the_other_kind_are_refused():
    with pytest.raises(UsageError, match="use accuracy_onehot"):
        accuracy(torch.zeros(2, 2), torch.zeros(2, 2))  # would broadcast
    with pytest.raises(UsageError, match="use accuracy"):
        accuracy_onehot(OUTPUTS, torch.tensor([0, 1, 1, 1]))


def test_cross_entropy_takes_probabilities():
    even = torch.full((3, 4), 0.25, dtype=torch.float64)
    assert cross_entropy(torch.zeros(3, 4), even) == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("name", "targets", "expected"),
    [
        ("accuracy", ONE_HOT.argmax(1), 0.75),
        ("accuracy_categ", ONE_HOT.argmax(1), 0.75),
        ("accuracy_onehot", ONE_HOT, 0.75),
        ("loss", ONE_HOT.argmax(1), cross_entropy(OUTPUTS, ONE_HOT.argmax(1))),
    ],
)
def test_every_metric_has_its_name(name, targets, expected):
    assert metric_named(name)(OUTPUTS, targets) == expected
    assert name in METRICS


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "scores.py"
    path.write_text(
        "import torch\n"
        "def top(outputs, targets):\n    return outputs.max()\n"
        "def accuracy(outputs, targets):\n    return 2\n"
        "limit = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return path


def test_a_metric_of_ones_own_is_named_by_its_file_or_module(file):
    assert metric_named(f"{file}:top")(OUTPUTS, None) == 3.0
    assert metric_named("scores:top")(OUTPUTS, None) == 3.0
    assert label(f"{file}:top") == label("scores:top") == label("top") == "top"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("f1", "there is no metric 'f1'; there is accuracy, .*module:Name or file.py:Name"),
        ("{file}:f1", "has no 'f1'"),
        ("{file}:limit", r"limit: expected a function \(outputs, targets\) -> number, got 3"),
        ("nowhere.py:f1", "there is no metric file nowhere.py"),
        ("not_a_module:f1", "metric module 'not_a_module' cannot be imported"),
    ],
)
def test_what_is_no_metric_is_said(file, name, said):
    with pytest.raises(UsageError, match=said):
        metric_named(name.format(file=file))


def test_a_metric_file_that_fails_is_a_usage_error(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match=r"broken.py fails: ZeroDivisionError: division by zero"):
        metric_named(f"{tmp_path / 'broken.py'}:top")


def test_evaluating_gives_all_that_was_named_and_the_loss_as_floats(file):
    targets = ONE_HOT.argmax(1)
    found = evaluating(["accuracy_categ", f"{file}:top"])(OUTPUTS, targets)
    assert found == {"accuracy_categ": 0.75, "top": 3.0, "loss": cross_entropy(OUTPUTS, targets)}
    assert all(type(value) is float for value in found.values())


def test_evaluating_can_be_sent_to_another_process(file):
    sent = cloudpickle.loads(cloudpickle.dumps(evaluating([f"{file}:top"])))
    assert sent(OUTPUTS, ONE_HOT.argmax(1))["top"] == 3.0


def test_two_metrics_of_one_label_are_refused(file):
    with pytest.raises(UsageError, match="accuracy appears twice"):
        evaluating(["accuracy", f"{file}:accuracy"])


@pytest.mark.parametrize(
    "value",
    [1, 0.5, True, np.float32(0.5), torch.tensor(0.5), torch.ones(1), np.ones((1, 1)), Decimal("0.5")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_numbers_of_any_kind_are_floats(value):
    number = as_numbers({"m": value})["m"]
    assert type(number) is float
    assert number in (0.5, 1.0)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"m": None}, "metric 'm': expected a number, got None; "),
        ({"m": "0.5"}, "metric 'm': expected a number, got '0.5'; "),
        ({"m": [[1.0]]}, "metric 'm[0]': expected a number, got [1.0]; "),
        ({"m": [1.0, "2"]}, "metric 'm[1]': expected a number, got '2'; "),
        ({"m": []}, "metric 'm': expected a number, got []; "),
        ({"m": 1j}, "metric 'm': expected a number, got 1j; "),
        ({"m": torch.tensor(1j)}, "metric 'm': expected a number, got a tensor of shape []; "),
        ({"m": torch.zeros(2, 3)}, "metric 'm': expected a number, got a tensor of shape [2, 3]; take its"),
        ({"m": torch.zeros(10_001)}, "metric 'm': expected a number, got a tensor of shape [10001]; take"),
        ({"m": np.zeros(0)}, "metric 'm': expected a number, got an array of shape [0]; take its mean()"),
        ({"m": 10**400}, "metric 'm': expected a number, got 1000"),
        ({"a": 1.0, "m": {"b": 1.0}}, "metric 'm': expected a number, got {'b': 1.0}; give each "),
        (0.5, "metrics: expected numbers by name, such as {'accuracy': 0.9}, got 0.5"),
        ([("m", 0.5)], "metrics: expected numbers by name"),
        (None, "metrics: expected numbers by name"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused_by_name(metrics, message):
    with pytest.raises(UsageError) as caught:
        as_numbers(metrics)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 250


def test_a_metric_of_ones_own_that_is_no_number_is_named(tmp_path):
    (tmp_path / "own.py").write_text("def each(outputs, targets): return outputs")
    evaluate = evaluating([f"{tmp_path / 'own.py'}:each"])
    with pytest.raises(
        UsageError, match=r"^metric 'each': expected a number, got a tensor of shape \[3, 2\]"
    ):
        evaluate(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
