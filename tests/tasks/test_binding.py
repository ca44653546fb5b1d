"""Hyperparameters are written wherever they live, and what is live is what was recorded."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from popgrad.core.errors import RunError, UsageError
from popgrad.nn import Dropout
from popgrad.tasks.binding import TrackedHparams, check_all_used, write


def test_a_name_is_written_to_every_group_that_has_it():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = Adam([{"params": module[0].parameters()}, {"params": module[1].parameters()}])
    assert write(module, {"optimizer": optimizer}, {"lr": 0.5, "weight_decay": 0.25}) == {
        "lr",
        "weight_decay",
    }
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.5, 0.25)] * 2


def test_betas_have_names_of_their_own():
    module = nn.Linear(2, 2)
    optimizer = Adam(module.parameters(), betas=(0.1, 0.2))
    assert write(module, {"optimizer": optimizer}, {"beta2": 0.99}) == {"beta2"}
    assert optimizer.param_groups[0]["betas"] == (0.1, 0.99)
    write(module, {"critic": optimizer}, {"critic_beta1": 0.5})
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.99)


def test_a_qualified_name_reaches_its_optimizer_only():
    module = nn.Linear(2, 2)
    actor, critic = Adam(module.parameters(), lr=1.0), SGD(module.parameters(), lr=1.0)
    given = {"critic_lr": 0.5, "critic_beta1": 0.5}
    assert write(module, {"actor": actor, "critic": critic}, given) == {"critic_lr"}
    assert (actor.param_groups[0]["lr"], critic.param_groups[0]["lr"]) == (1.0, 0.5)


def test_groups_can_have_names():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    groups = [
        {"params": module[0].parameters(), "name": "body"},
        {"params": module[1].parameters(), "name": "head"},
    ]
    optimizer = SGD(groups, lr=1.0)
    write(
        module,
        {"optimizer": optimizer},
        {"head_lr": 0.5, "body_lr": 0.25, "optimizer_momentum": 0.9},
    )
    assert [(g["lr"], g["momentum"]) for g in optimizer.param_groups] == [(0.25, 0.9), (0.5, 0.9)]


def test_a_name_is_written_to_every_buffer_of_that_name():
    module = nn.Sequential(Dropout(), nn.Sequential(Dropout(hparam="other"), Dropout()))
    assert write(module, {}, {"dropout": 0.1}) == {"dropout"}
    rate = torch.tensor(0.1)
    assert module[0].dropout == module[1][1].dropout == rate
    assert module[1][0].other == 0.5


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-30, 3])
def test_a_buffer_holds_the_nearest_value_that_it_can(value):
    module = nn.Module()
    module.register_buffer("x", torch.tensor(0.0))
    assert write(module, {}, {"x": value}) == {"x"}
    assert module.x == torch.tensor(value, dtype=torch.float32)


@pytest.mark.parametrize("order", [("lr", "head_lr"), ("head_lr", "lr")])
def test_two_names_in_one_place_are_found_in_either_order(order):
    module = nn.Linear(2, 2)
    optimizer = SGD([{"params": module.parameters(), "name": "head"}], lr=1.0)
    given = {"lr": 0.1, "head_lr": 0.2}
    with pytest.raises(UsageError, match=f"{order[0]!r} and {order[1]!r} are both written into lr"):
        write(module, {"optimizer": optimizer}, {name: given[name] for name in order})


def test_a_buffer_that_cannot_hold_the_value_is_an_error():
    module = nn.Module()
    module.register_buffer("kind", torch.tensor(0))
    with pytest.raises(RunError, match=r"'kind' is 0 where it lives, but 0\.5 in the record"):
        write(module, {}, {"kind": 0.5})
    with pytest.raises(UsageError, match="'kind' is 'relu'"):
        write(module, {}, {"kind": "relu"})


def test_a_name_that_lives_nowhere_is_not_reported_as_written():
    module = nn.Linear(2, 2)
    assert (
        write(
            module, {"optimizer": SGD(module.parameters())}, {"params": 1, "weight": 2, "lrr": 0.1}
        )
        == set()
    )


def test_reads_are_remembered():
    seen = set()
    hparams = TrackedHparams({"a": 1, "b": 2, "c": 3}, seen)
    assert hparams["a"] == 1
    assert hparams.get("b") == 2
    assert len(hparams) == 3
    assert seen == {"a", "b"}
    assert dict(hparams) == {"a": 1, "b": 2, "c": 3}
    assert seen == {"a", "b", "c"}
    with pytest.raises(KeyError):
        hparams["d"]


def test_names_that_reach_nothing_are_named():
    check_all_used({"lr": 0.1}, {"lr", "batch_size"})
    with pytest.raises(UsageError, match="'a', 'b' reaches nothing"):
        check_all_used({"b": 1, "lr": 0.1, "a": 2}, {"lr"})
