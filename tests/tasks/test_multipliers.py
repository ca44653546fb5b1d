"""Groups keep the values that their optimizer function gave them, relative to the searched one."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from popgrad.core.errors import UsageError
from popgrad.nn import Dropout


def noting(seen, *keys):
    def step(module, optimizers, batch, loss):
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        for optimizer in optimizers.values():
            optimizer.step()
        seen.append([[g[key] for key in keys] for o in optimizers.values() for g in o.param_groups])
        return value.detach()

    return step


@pytest.fixture
def live(make_task, run):
    """live(optimizer, hparams, *keys) -> options of each group in a step of an heir of other values."""

    def live(optimizer, hparams, *keys, donor=None, **changes):
        seen = []
        task = make_task(optimizer=optimizer, step=noting(seen, *(keys or ("lr",))), **changes)
        run(task, hparams, 1, state=run(task, donor or hparams, 1), first=1)
        values = seen[-1]
        return values if keys else [value for (value,) in values]

    return live


def two(m, first, second, make=SGD, **defaults):
    return make(
        [{"params": m[0].parameters(), **first}, {"params": m[2].parameters(), **second}],
        **defaults,
    )


DONOR = {"lr": 0.5}


def test_rates_computed_from_the_searched_one_stay(live):
    assert live(
        lambda m, h: two(m, {"lr": h["lr"] * 0.1}, {"lr": h["lr"] * 0.3}), {"lr": 0.2}, donor=DONOR
    ) == [0.2 * 0.1, 0.2 * 0.3]


def test_all_hyperparameters_can_be_read_at_once(live):
    def optimizer(m, h):
        h = dict(h)
        return two(m, {"lr": h["lr"] * 0.1}, {"lr": h["lr"]})

    assert live(optimizer, {"lr": 0.2}, donor=DONOR) == [0.2 * 0.1, 0.2]
    assert live(lambda m, h: SGD(m.parameters(), lr=len(dict(h))), {"lr": 0.2}) == [0.2]


def test_a_scaled_rate_stays(live):
    assert live(lambda m, h: SGD(m.parameters(), lr=h["lr"] * 4), {"lr": 0.2}) == [0.8]


def test_a_group_relates_to_the_optimizers_own_rate(live):
    assert live(
        lambda m, h: two(m, {"lr": 0.01}, {}, lr=0.1), {"lr": 0.2}, donor=DONOR
    ) == pytest.approx([0.02, 0.2])


def test_groups_without_a_known_relation_are_refused(live):
    with pytest.raises(
        UsageError, match=r"'lr': parameter groups were made with lr 0\.05, 0\.5"
    ) as e:
        live(lambda m, h: two(m, {"lr": 0.05}, {"lr": 0.5}), {"lr": 0.2})
    assert "hparams['lr']" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_frozen_group_stays_frozen(live):
    assert live(lambda m, h: two(m, {"lr": 0.0}, {}, lr=0.1), {"lr": 0.2}) == [0.0, 0.2]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda m, h: two(m, {}, {"weight_decay": 0.0}, AdamW),
        lambda m, h: two(m, {"weight_decay": 0.3}, {"weight_decay": 0.0}),
        lambda m, h: two(m, {"weight_decay": 0.3}, {}),
        lambda m, h: two(m, {"weight_decay": h["weight_decay"]}, {"weight_decay": 0}, AdamW),
    ],
)
def test_biases_stay_without_weight_decay(live, optimizer):
    hparams = {"lr": 0.1, "weight_decay": 0.05}
    assert live(optimizer, hparams, "weight_decay") == [[0.05], [0.0]]


def test_another_option_of_a_group_of_its_own_stays(live):
    hparams = {"lr": 0.1, "momentum": 0.5, "beta1": 0.8}
    sgd = lambda m, h: two(m, {"momentum": 0.99}, {}, momentum=0.9)  # noqa: E731
    del hparams["beta1"]
    assert live(sgd, hparams, "momentum") == [[0.99], [0.5]]
    adam = lambda m, h: two(m, {"betas": (0.5, 0.9)}, {}, Adam)  # noqa: E731
    assert live(adam, {"lr": 0.1, "beta1": 0.8}, "betas") == [[(0.5, 0.9)], [(0.8, 0.999)]]


def test_an_option_that_was_left_alone_is_written_though_the_function_reads_the_name(live):
    def optimizers(m, h):
        return {"body": SGD(m[0].parameters(), lr=h["lr"]), "head": Adam(m[2].parameters())}

    assert live(optimizers, {"lr": 0.2}, donor=DONOR) == [0.2, 0.2]


def test_two_names_for_one_option_that_the_function_computes_are_no_fault(live):
    def optimizer(m, h):
        return two(
            m,
            {"name": "body", "lr": h["body_lr"]},
            {"name": "head", "lr": h["lr"]},
        )

    assert live(optimizer, {"lr": 0.2, "body_lr": 0.3}) == [0.3, 0.2]


# A name that means another thing


def normalised(hparams):
    return nn.Sequential(
        nn.Linear(33, 9), nn.BatchNorm1d(9, momentum=hparams["momentum"]), nn.Linear(9, 3)
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_name_that_the_model_reads_is_not_written_into_an_option(live, momentum):
    with pytest.raises(UsageError, match=r"'momentum' is read by the model, and has the name") as e:
        live(
            lambda m, h: SGD(m.parameters(), momentum=momentum),
            {"lr": 0.1, "momentum": 0.2},
            model=normalised,
        )
    assert "other_momentum" in str(e.value)


def test_a_name_that_both_read_is_both(live):
    hparams = {"lr": 0.1, "momentum": 0.2}
    assert live(
        lambda m, h: SGD(m.parameters(), momentum=1 - h["momentum"]),
        hparams,
        "momentum",
        model=normalised,
    ) == [[0.8]]


def test_a_name_that_the_loss_reads_is_not_written_into_an_option(live):
    def loss(module, batch, hparams):
        return nn.functional.cross_entropy(
            module(batch[0]), batch[1], label_smoothing=float(hparams["eps"])
        )

    with pytest.raises(UsageError, match=r"'eps' is read by the loss, and has the name"):
        live(lambda m, h: Adam(m.parameters()), {"lr": 0.1, "eps": 0.2}, loss=loss)


def test_a_buffer_with_the_name_of_an_option_is_refused(live):
    def model(hparams):
        return nn.Sequential(nn.Linear(33, 3), Dropout(hparam="weight_decay"))

    with pytest.raises(UsageError, match=r"'weight_decay' is read by a buffer"):
        live(lambda m, h: SGD(m.parameters()), {"lr": 0.1, "weight_decay": 0.2}, model=model)


def test_a_model_that_gets_all_hyperparameters_reads_none_by_name(live):
    def model(hparams):
        assert {**hparams}["weight_decay"] == 0.2
        return nn.Linear(33, 3)

    hparams = {"lr": 0.1, "weight_decay": 0.2}
    assert live(lambda m, h: SGD(m.parameters()), hparams, "weight_decay", model=model) == [[0.2]]


def test_a_rate_in_a_tensor_is_the_recorded_one(live):
    def optimizer(m, h):
        return Adam(m.parameters(), lr=torch.tensor(h["lr"], dtype=torch.float64), capturable=False)

    assert [float(each) for each in live(optimizer, {"lr": 0.2}, donor=DONOR)] == [0.2]
