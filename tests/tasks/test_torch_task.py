"""TorchTask: everything travels, hyperparameters are live, data comes in order, test data is not seen."""

import copy
import dataclasses
import inspect
import math
from itertools import chain

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional
from torch.optim import SGD, Adam

from popgrad.core.errors import RunError, UsageError
from popgrad.core.space import LogUniform, Space
from popgrad.data.splits import Splits
from popgrad.nn import Dropout, seed_streams
from popgrad.state import clone, digest, flatten, unflatten
from popgrad.tasks import Context, TorchTask
from popgrad.tasks.binding import tensors as hparams_as_tensors
from popgrad.tasks.order import permutation

HPARAMS = {"lr": 0.01}


def watching(seen, key):
    """A step that notes `key` of the first parameter group before it steps."""

    def step(module, optimizers, batch, loss):
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        for optimizer in optimizers.values():
            seen.append(optimizer.param_groups[0][key])
            optimizer.step()
        return value  # with its graph: the task must not hold on to it

    return step


def seeing(seen):
    """A loss that notes the numbers of the samples in its batch."""

    def loss(module, batch, hparams):
        seen.append(batch[-1].tolist())
        return functional.cross_entropy(module(batch[0]), batch[1])

    return loss


def by_hand(task, optimizer, steps, module=None, first=0, size=32):
    """Plain PyTorch over the batches of member 0. Returns the module."""
    if module is None:
        torch.manual_seed(0)
        module = task.model({})
        optimizer = optimizer(module.parameters())
    inputs, targets, _ = task.data()["train"]
    per_epoch = -(-len(inputs) // size)
    for step in range(first, first + steps):
        order = permutation(len(inputs), Context().epoch_seed(step // per_epoch))
        rows = order[step % per_epoch * size :][:size]
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    return module


def same_weights(state, module):
    return all(
        torch.equal(state["model"][name], value) for name, value in module.named_parameters()
    )


# What travels


def test_training_is_that_of_a_plain_loop(make_task, run):
    task = make_task()
    module = by_hand(task, lambda p: Adam(p, lr=0.01), 7)
    assert same_weights(run(task, HPARAMS, 7), module)
    assert same_weights(run(task, HPARAMS, 3, 1, 3), module)


def test_a_state_is_plain_data_and_survives_being_taken_apart(make_task, run):
    task = make_task()
    state = run(task, HPARAMS, 3)
    assert digest(unflatten(*flatten(state))) == digest(state)
    assert digest(run(task, HPARAMS, 4, state=unflatten(*flatten(state)), first=1)) == digest(
        run(task, HPARAMS, 3, 4)
    )
    assert state["steps"] == 3
    assert state["position"] == 90


def test_moments_travel_and_matter(make_task, run):
    task = make_task()
    state = run(task, HPARAMS, 3)
    moments = state["optimizers"]["optimizer"]
    assert all(
        each["exp_avg"].any() and each["exp_avg_sq"].any() and each["step"] == 3
        for each in moments.values()
    )
    without = {**clone(state), "optimizers": {"optimizer": {}}}
    assert digest(run(task, HPARAMS, 1, state=clone(state))["model"]) != digest(
        run(task, HPARAMS, 1, state=without)["model"]
    )


def test_an_heir_goes_on_with_the_donors_moments_at_its_own_rate(make_task, run):
    task = make_task()
    donor = run(task, HPARAMS, 3)
    torch.manual_seed(0)
    module = task.model({})
    optimizer = Adam(module.parameters(), lr=0.01)
    by_hand(task, optimizer, 3, module)
    for group in optimizer.param_groups:
        group["lr"] = 0.003
    by_hand(task, optimizer, 4, module, first=3)
    assert same_weights(run(task, {"lr": 0.003}, 4, state=donor, first=1), module)


def test_a_state_that_was_given_is_not_aliased_by_what_comes_out(make_task, run):
    task = make_task()
    state = run(task, HPARAMS, 2)
    before = digest(state)
    later = run(task, HPARAMS, 2, state=state, first=1)
    assert digest(state) == before
    mine, theirs = flatten(state)[1], flatten(later)[1]
    assert not {x.data_ptr() for x in mine} & {x.data_ptr() for x in theirs}


def test_a_state_is_a_copy_even_of_a_module_that_is_made_only_once(make_task, run):
    shared = nn.Linear(33, 3)
    task = make_task(model=lambda hparams: shared)
    state = run(task, HPARAMS, 2)
    before = digest(state)
    run(task, HPARAMS, 2, state=clone(state))
    assert digest(state) == before


class Counting(nn.Module):
    """Counts its batches where no state_dict looks, beside batch statistics."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(33, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
        self.register_buffer("batches", torch.zeros(2), persistent=False)

    def forward(self, x):
        if self.training:
            self.batches += 1
        return self.net(x)


def test_all_buffers_travel(make_task, run):
    task = make_task(model=lambda hparams: Counting())
    state = run(task, HPARAMS, 2, 3)
    assert state["model"]["batches"].tolist() == [5, 5]
    assert state["model"]["net.1.num_batches_tracked"] == 5
    assert state["model"]["net.1.running_mean"].any()
    module = task.module(state, HPARAMS)
    assert not module.training
    assert torch.equal(module.net[1].running_var, state["model"]["net.1.running_var"])


def test_evaluation_leaves_the_state_alone_and_uses_its_statistics(make_task, run):
    task = make_task(model=lambda hparams: Counting())
    state = run(task, HPARAMS, 2)
    before = digest(state)
    first = task.evaluate(state, HPARAMS, "validation", Context())
    assert task.evaluate(state, HPARAMS, "validation", Context(member=5, interval=9)) == first
    assert digest(state) == before


def test_evaluation_goes_in_batches_of_a_fixed_size(make_task, run):
    sizes = []

    def predict(module, batch):
        sizes.append(len(batch[0]))
        return module(batch[0])

    task = make_task(predict=predict, evaluation_batch_size=8)
    state = run(task, HPARAMS)
    task.evaluate(state, HPARAMS, "validation", Context())
    assert sizes == [8, 8, 4]


def test_the_test_split_is_not_read_unless_it_is_asked_for(make_task, run):
    class Guarded:
        def __init__(self, splits):
            self.splits = splits

        def __getitem__(self, split):
            if split == "test":
                raise AssertionError("the test split was read")
            return self.splits[split]

    splits = make_task().data()
    task = make_task(data=lambda: Guarded(splits))
    state = run(task, HPARAMS, 4)
    task.epoch_steps(HPARAMS)
    task.evaluate(state, HPARAMS, "train", Context())
    task.evaluate(state, HPARAMS, "validation", Context())
    with pytest.raises(AssertionError, match="was read"):
        task.evaluate(state, HPARAMS, "test", Context())


def test_data_is_read_once(make_task, run):
    reads, splits = [], make_task().data()
    task = make_task(data=lambda: reads.append(1) or splits)
    state = run(task, HPARAMS, 1, 1)
    task.evaluate(state, HPARAMS, "validation", Context())
    assert reads == [1]


def test_fresh_members_start_from_given_weights(make_task, run):
    weights = run(make_task(), HPARAMS, 3)["model"]
    before = digest(weights)
    task = make_task(weights=weights)
    state = run(task, HPARAMS)
    assert digest(state["model"]) == before
    run(task, HPARAMS, 2)
    assert digest(weights) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop("0.bias"), ["given weights", "missing 0.bias"]),
        (lambda w: w.update(extra=torch.zeros(1)), ["given weights", "unknown extra"]),
        (lambda w: w.update({"0.bias": torch.zeros(4)}), ["given weights", "0.bias", "[4]", "[9]"]),
    ],
)
def test_weights_of_another_network_are_refused(make_task, run, change, named):
    weights = run(make_task(), HPARAMS)["model"]
    change(weights)
    with pytest.raises(UsageError) as caught:
        run(make_task(weights=weights), HPARAMS)
    assert all(part in str(caught.value) for part in named)
    assert "\n" not in str(caught.value)


def test_a_hyperparameter_that_changes_shapes_cannot_be_explored(make_task, run):
    def model(hparams):
        return nn.Sequential(nn.Linear(33, hparams["width"]), nn.Linear(hparams["width"], 3))

    task = make_task(model=model)
    state = run(task, {"lr": 0.1, "width": 4}, 2)
    with pytest.raises(UsageError, match="init-only"):
        run(task, {"lr": 0.1, "width": 5}, 2, state=state)


# Hyperparameters


def test_the_recorded_rate_is_the_live_one_whatever_an_optimizer_loads(make_task, run):
    class Stubborn(SGD):
        def load_state_dict(self, state):
            super().load_state_dict(state)
            for group in self.param_groups:
                group["lr"] = 99.0

    seen = []
    task = make_task(
        optimizer=lambda m, h: Stubborn(m.parameters(), lr=1.0), step=watching(seen, "lr")
    )
    state = run(task, {"lr": 0.1}, 2)
    run(task, {"lr": 0.025}, 2, state=state, first=1)
    assert seen == [0.1, 0.1, 0.025, 0.025]


def test_plain_attributes_of_the_model_are_live(make_task, run):
    seen = []

    def model(hparams):
        return nn.Sequential(nn.Dropout(hparams["dropout"]), nn.Linear(33, 3))

    def step(module, optimizers, batch, loss):
        seen.append(module[0].p)
        return loss(batch)

    task = make_task(model=model, step=step)
    state = run(task, {"lr": 0.1, "dropout": 0.5}, 1)
    run(task, {"lr": 0.1, "dropout": 0.25}, 1, state=state)
    assert seen == [0.5, 0.25]


def test_buffers_are_live_and_are_not_carried_by_the_state(make_task, run):
    seen = []

    def step(module, optimizers, batch, loss):
        seen.append(module[0].dropout.item())
        return loss(batch)

    task = make_task(model=lambda h: nn.Sequential(Dropout(0.0), nn.Linear(33, 3)), step=step)
    state = run(task, {"lr": 0.1, "dropout": 0.5}, 1)
    assert "0.dropout" not in state["model"]
    run(task, {"lr": 0.1, "dropout": 0.25}, 1, state=state)
    assert seen == [0.5, 0.25]
    assert task.module(state, {"lr": 0.1, "dropout": 0.75})[0].dropout == 0.75


def test_the_loss_is_given_numbers_as_0d_tensors(make_task, run):
    seen = {}

    def loss(module, batch, hparams):
        seen.update({name: hparams[name] for name in ("scale", "layers", "flag", "kind")})
        return functional.cross_entropy(module(batch[0]), batch[1]) * hparams["scale"]

    run(make_task(loss=loss), {"lr": 0.1, "scale": 0.5, "layers": 3, "flag": True, "kind": "a"}, 1)
    assert seen.pop("kind") == "a"
    assert {name: (x.dtype, x.shape, x.item()) for name, x in seen.items()} == {
        "scale": (torch.float32, (), 0.5),
        "layers": (torch.int64, (), 3),
        "flag": (torch.bool, (), True),
    }


def test_a_name_that_reaches_nothing_is_an_error_that_names_it(make_task, run):
    with pytest.raises(UsageError, match="'lrr', 'momentum' reaches nothing") as caught:
        run(make_task(), {"lr": 0.1, "momentum": 0.9, "lrr": 0.1}, 1)
    assert "\n" not in str(caught.value)


def test_names_that_are_only_read_by_the_optimizers_maker_reach_it(make_task, run):
    task = make_task(optimizer=lambda m, h: SGD(m.parameters(), lr=h["base"] * 2))
    assert run(task, {"base": 0.1}, 1)["steps"] == 1


def test_a_live_value_that_differs_stops_the_run(make_task, run):
    def model(hparams):
        module = nn.Linear(33, 3)
        module.register_buffer("width", torch.tensor(1))
        return module

    with pytest.raises(RunError, match=r"'width' is 0 where it lives, but 0\.5 in the record"):
        run(make_task(model=model), {"lr": 0.1, "width": 0.5}, 1)


@pytest.mark.parametrize("size", [0, -1, 16.5, "32"])
def test_a_batch_size_is_a_whole_number(make_task, run, size):
    with pytest.raises(UsageError, match="batch_size"):
        run(make_task(), {"lr": 0.1, "batch_size": size}, 1)


# The order of data


@pytest.mark.parametrize(("size", "intervals"), [(10, [1] * 9), (7, [1, 2, 1, 2, 1, 2, 1, 2, 1])])
def test_nine_short_intervals_visit_what_one_epoch_visits(make_task, run, size, intervals):
    seen, whole = [], []
    run(make_task(loss=seeing(seen), batch_size=size), HPARAMS, *intervals)
    run(make_task(loss=seeing(whole), batch_size=size), HPARAMS, sum(intervals))
    assert seen == whole
    assert sorted(chain(*seen)) == list(range(90))


@pytest.mark.parametrize("size", [1, 32])
def test_a_run_cut_into_intervals_is_the_run_uncut(make_task, run, size):
    task = make_task(
        batch_size=size, model=lambda h: nn.Sequential(nn.Linear(33, 5), nn.ReLU(), nn.Linear(5, 3))
    )
    assert digest(run(task, HPARAMS, 2, 5, 1)) == digest(run(task, HPARAMS, 8))


def test_members_and_epochs_have_orders_of_their_own(make_task, run):
    seen = []
    task = make_task(loss=seeing(seen), batch_size=90)
    run(task, HPARAMS, 2)
    run(task, HPARAMS, 2, member=1)
    assert len({tuple(each) for each in seen}) == 4


def test_an_heir_goes_on_where_the_donor_was_in_its_own_order(make_task, run):
    seen, own = [], []
    donor = run(make_task(batch_size=10), HPARAMS, 4)
    run(make_task(loss=seeing(seen), batch_size=10), HPARAMS, 6, member=1, state=donor)
    run(make_task(loss=seeing(own), batch_size=10), HPARAMS, 10, member=1)
    assert seen == own[4:]


def test_an_order_can_be_shared(make_task, run):
    seen = []
    task = make_task(loss=seeing(seen), shared_order=True)
    run(task, HPARAMS, 4)
    run(task, HPARAMS, 4, member=1)
    assert seen[:4] == seen[4:]


def test_another_batch_size_goes_on_at_the_same_sample(make_task, run):
    seen, whole = [], []
    task = make_task(loss=seeing(seen))
    state = run(task, {**HPARAMS, "batch_size": 10}, 3)
    assert state["position"] == 30
    state = run(task, {**HPARAMS, "batch_size": 25}, 3, state=state)
    run(make_task(loss=seeing(whole), batch_size=90), HPARAMS, 1)
    assert [len(each) for each in seen] == [10, 10, 10, 25, 25, 10]
    assert list(chain(*seen)) == whole[0]


def test_the_last_batch_can_be_dropped(make_task, run):
    seen = []
    task = make_task(loss=seeing(seen), drop_last=True)
    assert task.epoch_steps(HPARAMS) == 2
    run(task, HPARAMS, 5)
    assert [len(each) for each in seen] == [32] * 5
    assert len(set(chain(*seen[:2]))) == len(set(chain(*seen[2:4]))) == 64


@pytest.mark.parametrize(("size", "steps"), [(1, 90), (32, 3), (90, 1), (500, 1)])
def test_an_epoch_is_as_many_steps_as_visit_every_sample(make_task, size, steps):
    assert make_task(batch_size=size).epoch_steps(HPARAMS) == steps
    assert make_task().epoch_steps({**HPARAMS, "batch_size": size}) == steps


# The step


def test_gradients_can_be_clipped(make_task, run):
    norms = []

    def step(module, optimizers, batch, loss):
        module.zero_grad()
        value = loss(batch)
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 0.1)
        norms.append(float(nn.utils.get_total_norm([p.grad for p in module.parameters()])))
        optimizers["optimizer"].step()
        return value.detach()

    run(make_task(step=step), HPARAMS, 3)
    assert norms == pytest.approx([0.1] * 3, rel=1e-4)


def test_gradients_can_be_accumulated(make_task, run):
    def step(module, optimizers, batch, loss):
        module.zero_grad()
        half = len(batch[0]) // 2
        parts = [tuple(x[:half] for x in batch), tuple(x[half:] for x in batch)]
        total = 0.0
        for part in parts:
            value = loss(part) * len(part[0]) / len(batch[0])
            value.backward()
            total += value.detach()
        optimizers["optimizer"].step()
        return total

    def sgd(module, hparams):
        return SGD(module.parameters())

    parts, full = (
        run(make_task(step=step, optimizer=sgd), HPARAMS, 4),
        run(make_task(optimizer=sgd), HPARAMS, 4),
    )
    for name, value in full["model"].items():
        torch.testing.assert_close(parts["model"][name], value, rtol=1e-5, atol=1e-6)


def test_several_optimizers_have_their_own_hyperparameters_and_moments(make_task, run):
    seen = []

    def optimizers(module, hparams):
        return {
            "actor": Adam(module[0].parameters()),
            "critic": SGD(module[2].parameters(), momentum=0.5),
        }

    task = make_task(optimizer=optimizers, step=watching(seen, "lr"))
    state = run(task, {"actor_lr": 0.25, "critic_lr": 0.5, "critic_momentum": 0.75}, 2)
    assert seen == [0.25, 0.5] * 2
    assert state["optimizers"]["actor"][0]["exp_avg"].any()
    assert state["optimizers"]["critic"][0]["momentum_buffer"].any()
    assert digest(run(task, {"lr": 0.25}, 2, 2)) == digest(run(task, {"lr": 0.25}, 4))


def test_the_mean_loss_of_an_interval_is_logged(make_task):
    points, losses = [], []

    def step(module, optimizers, batch, loss):
        losses.append(loss(batch).item())
        return torch.tensor(losses[-1])

    task = make_task(step=step)
    ctx = Context(first_step=10, log=lambda step, **numbers: points.append((step, numbers)))
    task.train(task.init(HPARAMS, ctx), HPARAMS, 4, ctx)
    assert points == [
        (14, {"train_loss": pytest.approx(sum(losses) / 4), "lr": pytest.approx(HPARAMS["lr"])})
    ]


def test_a_curve_has_a_point_at_each_multiple_and_at_the_end(make_task):
    points, losses = [], []

    def step(module, optimizers, batch, loss):
        losses.append(loss(batch).item())
        return torch.tensor(losses[-1])

    task = make_task(step=step, log_every=4)
    ctx = Context(
        first_step=10, log=lambda step, **numbers: points.append((step, numbers["train_loss"]))
    )
    task.train(task.init(HPARAMS, ctx), HPARAMS, 8, ctx)
    means = [sum(losses[:2]) / 2, sum(losses[2:6]) / 4, sum(losses[6:]) / 2]
    assert points == [
        (12, pytest.approx(means[0])),
        (16, pytest.approx(means[1])),
        (18, pytest.approx(means[2])),
    ]


def test_without_shuffle_the_data_is_seen_as_it_lies(make_task):
    seen = []

    def loss(module, batch, hparams):
        seen.append(batch[0])
        return functional.cross_entropy(module(batch[0]), batch[1])

    task = make_task(shuffle=False, loss=loss)
    ctx = Context()
    task.train(task.init(HPARAMS, ctx), HPARAMS, task.epoch_steps(HPARAMS), ctx)
    assert torch.equal(torch.cat(seen), task.data()["train"][0])


def test_what_augments_is_given_inputs_and_the_segments_generator(make_task, run):
    def noisy(inputs, generator):
        return inputs + torch.randn(inputs.shape, generator=generator)

    task = make_task(augment=noisy)
    state = run(task, HPARAMS)
    one = run(task, HPARAMS, 2, state=state)
    assert digest(run(task, HPARAMS, 2, state=state)) == digest(one)
    assert digest(run(task, HPARAMS, 2, state=state, first=1)) != digest(one)
    assert digest(run(make_task(), HPARAMS, 2, state=state)) != digest(one)


def test_a_state_that_was_copied_trains_alike_in_any_order_of_memory():
    """A fused optimizer reads moments in the memory order of parameters, which a checkpoint does not keep."""
    inputs, targets = torch.randn(32, 3, 6, 6), torch.arange(32) % 3
    task = TorchTask(
        space=Space({"lr": LogUniform(1e-4, 1e-1)}),
        model=lambda hparams: nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.Linear(16, 3)
        ).to(memory_format=torch.channels_last),
        optimizer=lambda module, hparams: torch.optim.Adam(module.parameters(), fused=True),
        data=lambda: Splits(*[(inputs, targets)] * 3),
        batch_size=8,
    )
    ctx = Context()
    torch.manual_seed(0)
    state = task.train(task.init({"lr": 0.01}, ctx), {"lr": 0.01}, 3, ctx)
    tree, leaves = flatten(state)
    copied = unflatten(tree, [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves])
    assert digest(task.train(state, {"lr": 0.01}, 3, ctx)) == digest(
        task.train(copied, {"lr": 0.01}, 3, ctx)
    )


def test_a_batch_is_split_over_several_devices(make_task, run, monkeypatch):
    spread = []

    class Spread(nn.Module):  # stands for nn.DataParallel, which needs devices that are not here
        def __init__(self, module, device_ids):
            super().__init__()
            self.module = module
            spread.append(device_ids)

        def forward(self, *inputs):
            return self.module(*inputs)

    monkeypatch.setattr(nn, "DataParallel", Spread)
    one = run(make_task(), HPARAMS, 2)
    assert not spread
    assert digest(run(make_task(data_parallel=("cuda:0", "cuda:1")), HPARAMS, 2)) == digest(one)
    assert spread
    assert all(each == [torch.device("cuda:0"), torch.device("cuda:1")] for each in spread)


def test_dropout_draws_from_the_segments_stream(make_task, run):
    task = make_task(model=lambda h: nn.Sequential(Dropout(0.5), nn.Linear(33, 3)))
    state = run(task, HPARAMS)
    torch.manual_seed(1)
    one = run(task, HPARAMS, 2, state=state)
    torch.manual_seed(2)
    assert digest(run(task, HPARAMS, 2, state=state)) == digest(one)
    assert digest(run(task, HPARAMS, 2, state=state, first=1)) != digest(one)


# The stack


def _scaled(module, batch, hparams):
    return functional.cross_entropy(module(batch[0]), batch[1]) * hparams["scale"]


def _network(hparams):
    return nn.Sequential(
        nn.Linear(33, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        Dropout(0.0),
        nn.Linear(16, 9),
        nn.ReLU(),
        nn.Linear(9, 3),
    )


def _stacked(task, modules, batches, hparams):
    """Gradients [members, ...] and losses [members] of one step, all members at once."""
    params, buffers = stack_module_state(modules)
    names = hparams[0].keys()
    given = {
        name: torch.stack([hparams_as_tensors(h, torch.device("cpu"))[name] for h in hparams])
        for name in names
    }
    buffers["3.dropout"] = given["dropout"]
    base = copy.deepcopy(modules[0])

    def loss(params, buffers, batch, given):
        return task.loss(lambda *x: functional_call(base, {**params, **buffers}, x), batch, given)

    batch = tuple(torch.stack(parts) for parts in zip(*batches, strict=True))
    return *vmap(grad_and_value(loss), randomness="different")(
        params, buffers, batch, given
    ), buffers


@pytest.fixture
def members(make_task):
    """Two members of a task with batch normalisation and dropout: (task, modules, batches)."""
    task = make_task(model=_network, loss=_scaled)
    torch.manual_seed(0)
    modules = [task.model({}).train() for _ in range(2)]
    inputs, targets, _ = task.data()["train"]
    batches = [tuple(x[permutation(90, seed)[:32]] for x in (inputs, targets)) for seed in (1, 2)]
    return task, modules, batches


def test_a_task_can_be_stacked_and_agrees_with_its_members_one_by_one(members):
    task, modules, batches = members
    hparams = [{"dropout": 0.0, "scale": 1.0}, {"dropout": 0.0, "scale": 2.5}]
    gradients, losses, buffers = _stacked(task, modules, batches, hparams)
    for i, (module, batch, given) in enumerate(zip(modules, batches, hparams, strict=True)):
        loss = task.loss(module, batch, hparams_as_tensors(given, torch.device("cpu")))
        loss.backward()
        largest = max(float(p.grad.abs().max()) for p in module.parameters())
        assert losses[i].item() == pytest.approx(loss.item(), rel=1e-5)
        for name, parameter in module.named_parameters():
            assert (gradients[name][i] - parameter.grad).abs().max() <= 1e-5 * largest
        torch.testing.assert_close(buffers["1.running_var"][i], module[1].running_var)


def test_a_stack_draws_masks_at_each_members_own_rate(members):
    task, modules, batches = members
    seed_streams(modules[0], 0)
    hparams = [{"dropout": 0.0, "scale": 1.0}, {"dropout": 1.0, "scale": 1.0}]
    gradients, losses, _ = _stacked(task, modules, batches, hparams)
    assert gradients["4.weight"][0].any()
    assert not gradients["4.weight"][1].any()  # everything that comes in there was dropped
    assert all(math.isfinite(each) for each in losses.tolist())
    hparams[1]["dropout"] = 0.5
    some = _stacked(task, modules, batches, hparams)[0]["4.weight"]
    assert torch.equal(some[0], gradients["4.weight"][0])
    assert some[1].any()


def test_minimize_names_the_score(make_task):
    assert make_task(minimize="loss").score == "-loss"
    low = dataclasses.replace(make_task(minimize="loss"), batch_size=3)
    assert (low.score, low.minimize) == ("-loss", "loss")
    with pytest.raises(UsageError, match="TorchTask: score, minimize: got 'f1' and 'loss'"):
        make_task(score="f1", minimize="loss")
    with pytest.raises(UsageError, match="minimize: expected the name of a metric without a sign"):
        make_task(minimize="-loss")


def test_a_misspelt_field_is_answered_with_the_one_that_is_meant():
    with pytest.raises(UsageError, match="TorchTask has no field 'modle'; did you mean 'model'"):
        TorchTask(modle=nn.Identity)
    with pytest.raises(UsageError, match="TorchTask has no field 'colour'; it has space, model"):
        TorchTask(colour=3)


def test_the_signature_is_that_of_the_fields_also_in_a_subclass():
    @dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
    class Wide(TorchTask):
        breadth: int = 3

    assert list(inspect.signature(TorchTask).parameters)[:2] == ["space", "model"]
    assert list(inspect.signature(Wide).parameters)[-1] == "breadth"
