"""The task that everybody tries first."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from popgrad.state import digest
from popgrad.tasks import Context, digits


def train(task, hparams, steps, member=0):
    ctx = Context(member)
    torch.manual_seed(0)
    return task.train(task.init(hparams, ctx), hparams, steps, ctx)


def test_a_few_epochs_reach_ninety_per_cent():
    task, hparams = digits(), {"lr": 0.01, "keep_prob": 0.9}
    state = train(task, hparams, 4 * task.epoch_steps(hparams))
    assert task.evaluate(state, hparams, "validation", Context())["accuracy"] > 0.9


def test_the_splits_are_as_promised_and_the_same_for_every_run():
    splits, again, other = digits().data(), digits().data(), digits(split_seed=1).data()
    sizes = [len(splits[split][0]) for split in ("train", "validation", "test")]
    assert sizes == [1197, 300, 300]
    rows = [
        tuple(row) for split in ("train", "validation", "test") for row in splits[split][0].tolist()
    ]
    assert len(set(rows)) == len(rows) == 1797  # no sample is in two splits
    assert all(
        torch.equal(splits[split][0], again[split][0]) for split in ("train", "validation", "test")
    )
    assert not torch.equal(splits.test[0], other.test[0])
    assert splits.train[0].min() == 0.0
    assert splits.train[0].max() == 1.0


def test_the_samples_are_those_of_scikit_learn(monkeypatch):
    whole = digits().data()
    monkeypatch.setattr(sys.modules[digits.__module__], "find_spec", lambda _: None)
    for split in ("train", "validation", "test"):
        for found, expected in zip(whole[split], digits().data()[split], strict=True):
            assert torch.equal(found, expected)


@pytest.mark.slow
def test_the_data_are_read_without_importing_scikit_learn():
    """Its import takes as long as torch's, in every process that trains."""
    code = "import sys; from popgrad.tasks import digits; digits().data(); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", done


def test_options_act():
    task = digits(n_hiddens=(8, 4, 2), batch_size=10)
    widths = [layer.out_features for layer in task.model({}) if isinstance(layer, nn.Linear)]
    assert widths == [8, 4, 2, 10]
    assert task.epoch_steps({}) == 120


def test_dropout_acts_in_training_only():
    task = digits()
    kept, dropped = {"lr": 0.01, "keep_prob": 1.0}, {"lr": 0.01, "keep_prob": 0.5}
    state = train(task, kept, 3)
    assert digest(train(task, dropped, 3)) != digest(state)
    one = task.evaluate(state, kept, "validation", Context())
    assert task.evaluate(state, dropped, "validation", Context()) == one
    assert all(math.isfinite(value) for value in one.values())


def test_a_network_that_diverges_has_no_score():
    task, hparams = digits(), {"lr": 1e34, "keep_prob": 1.0}
    state = train(task, hparams, 5)
    assert math.isnan(task.evaluate(state, hparams, "validation", Context())["accuracy"])
