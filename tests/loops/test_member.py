"""A member as a loop uses it, and each way to use it wrongly."""

import math

import pytest
import torch

import popgrad
from loops.loops import INPUTS, Trainer, make, network, plain, train_round, train_steps
from popgrad.core.errors import RunError, UsageError
from popgrad.loops.member import Finished
from popgrad.state import digest, flatten
from popgrad.tasks.comparison import differences

# --- the facts of a segment -----------------------------------------------------------------------


def test_a_member_knows_its_segment():
    seen = []

    def function(m):
        seen.append((m.interval, m.first_step, m.steps, m.fresh, str(m.device), m["lr"]))
        m.state["x"] = 0
        for epoch in m:
            seen.append((m.interval, m.first_step, m.steps, m.fresh, epoch, dict(m.hparams)))
            m.report(loss=0.0)

    Trainer(make(function)).after(2)
    hparams = {"lr": 0.1}
    assert seen == [
        (0, 0, 0, True, "cpu", 0.1),
        (0, 0, 1, True, "cpu", 0.1),
        (0, 0, 1, True, 0, hparams),
        (1, 1, 1, False, "cpu", 0.1),
        (1, 1, 1, False, 1, hparams),
    ]


def test_a_name_is_looked_up_without_passing_a_boundary():
    def function(m):
        found.append(("lr" in m, "momentum" in m))
        plain(m)

    found = []
    Trainer(make(function)).after(1)
    assert set(found) == {(True, False)}


def test_seeds_depend_on_purpose_member_and_interval():
    seeds = []

    def function(m):
        for _ in m:
            m["lr"]
            seeds.append((m.seed("a"), m.seed("b")))
            m.report(loss=0.0)

    trainer = Trainer(make(function))
    state = trainer.fresh()
    for member in (0, 1):
        for interval in (0, 1):
            trainer.train(state, interval, member=member)
    assert len({seed for pair in seeds for seed in pair}) == 8


def test_points_of_a_curve_are_telemetry():
    def function(m):
        m["lr"]
        for _ in m:
            m.log(3, loss=0.5)
            m.report(loss=0.0)

    points = []
    task = make(function)
    ctx = popgrad.Context(log=lambda step, **numbers: points.append((step, numbers)))
    state = task.train(task.init({"lr": 0.1}, ctx), {"lr": 0.1}, 1, ctx)
    assert points == [(3, {"loss": 0.5})]
    assert "0.5" not in repr(flatten(state)[0])


def test_plain_values_travel_and_those_of_the_setup_do_not_replace_them():
    def function(m):
        m.state["count"] = 0
        for _ in m:
            m.state["count"] += 1
            m.report(loss=m["lr"])

    assert Trainer(make(function)).after(3)["values"] == {"count": 3}


# --- reports --------------------------------------------------------------------------------------


def test_metrics_may_be_tensors_and_vectors_of_samples():
    def function(m):
        m["lr"]
        for _ in m:
            m.report(loss=torch.tensor(0.5), returns=[1.0, 2.0, 6.0], samples={"score": (0.0, 1.0)})

    state = Trainer(make(function)).after(1)
    assert state["metrics"] == {"loss": 0.5, "returns": 3.0, "score": 0.5}
    assert state["samples"]["returns"].tolist() == [1.0, 2.0, 6.0]
    assert state["samples"]["score"].tolist() == [0.0, 1.0]


def test_several_reports_make_an_interval_and_the_last_one_ranks():
    def function(m):
        m["lr"]
        for epoch in m:
            m.report(loss=float(epoch))

    trainer = Trainer(make(function))
    state = trainer.after(2, steps=3)
    assert state["rounds"] == 6
    assert state["metrics"] == {"loss": 5.0}


def test_nan_is_reported_as_it_is():
    def function(m):
        m["lr"]
        for _ in m:
            m.report(loss=math.nan)

    assert math.isnan(Trainer(make(function)).after(1)["metrics"]["loss"])


def test_a_generator_function_yields_its_metrics():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            optimizer.zero_grad()
            loss = model(INPUTS).square().mean()
            loss.backward()
            optimizer.step()
            yield {"loss": loss.item()}

    def same(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            optimizer.zero_grad()
            loss = model(INPUTS).square().mean()
            loss.backward()
            optimizer.step()
            m.report(loss=loss.item())

    assert digest(Trainer(make(function)).after(3)) == digest(Trainer(make(same)).after(3))


@pytest.mark.parametrize("reuse", [False, True])
def test_finished_ends_a_loop_through_finally(reuse):
    left = []

    def function(m):
        try:
            plain(m)
        finally:
            left.append(1)
        left.append("behind the loop")

    task = make(function, reuse=reuse)
    Trainer(task).after(2)
    task.close()
    assert "behind the loop" not in left
    assert len(left) == (3 if not reuse else 2)


def test_a_loop_that_swallows_finished_gets_it_again():
    caught = []

    def function(m):
        m["lr"]
        for _ in range(2):
            try:
                for _ in m:
                    m.report(loss=0.0)
            except Finished as error:
                caught.append(error)

    with pytest.warns(UserWarning, match="the function has caught Finished"):
        assert Trainer(make(function)).after(1)["rounds"] == 1
    assert len(caught) == 4  # twice in the setup of `init`, twice in the segment


# --- batches --------------------------------------------------------------------------------------


def test_an_interval_of_batches_begins_the_loader_again_and_counts_samples():
    seen = []

    def function(m):
        m["lr"]
        for _ in m:
            for batch in m.batches([torch.zeros(2, 1), torch.ones(3, 1)]):
                seen.append(float(batch[0]))
            m.report(loss=0.0)

    state = Trainer(make(function).in_unit("batches")).after(2, steps=3)
    assert seen == [0.0, 1.0, 0.0] * 2
    assert state["rounds"] == 2
    assert state["position"] == 2 * (2 + 3 + 2)


def test_several_loaders_share_the_batches_of_an_interval():
    seen = []

    def function(m):
        m["lr"]
        for _ in m:
            seen.append(next(m.batches("ab")))
            seen.extend(m.batches("xy"))
            m.report(loss=0.0)

    Trainer(make(function).in_unit("batches")).after(1, steps=4)
    assert seen == ["a", "x", "y", "x"]


# --- hyperparameters ------------------------------------------------------------------------------


def test_a_rate_that_the_function_does_not_read_is_written():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            rates.append(optimizer.param_groups[0]["lr"])
            train_round(m, model, optimizer)

    rates = []
    trainer = Trainer(make(function))
    trainer.train(trainer.after(1), 1, lr=0.02)
    assert rates == [0.1, 0.02]


def test_groups_keep_their_ratio_to_the_rate():
    def function(m):
        model = network()
        groups = [
            {"params": model[0].parameters(), "lr": 0.1 * m["lr"]},
            {"params": model[2].parameters()},
        ]
        optimizer = torch.optim.SGD(groups, lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            rates.append([group["lr"] for group in optimizer.param_groups])
            train_round(m, model, optimizer)

    rates = []
    trainer = Trainer(make(function))
    trainer.train(trainer.after(1), 1, lr=0.5)
    assert rates == [pytest.approx([0.01, 0.1]), pytest.approx([0.05, 0.5])]


def test_an_heir_trains_with_its_own_rate_and_the_donors_moments():
    def function(m):
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            seen.append((optimizer.param_groups[0]["lr"], len(optimizer.state)))
            train_round(m, model, optimizer)

    seen = []
    trainer = Trainer(make(function))
    trainer.train(trainer.after(1), 1, member=1, lr=0.03)
    assert seen == [(0.1, 0), (0.03, 4)]


def test_a_name_of_its_own_is_an_alias_of_an_option():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        m.track(model=model, optimizer=optimizer).alias(rate="lr")
        for _ in m:
            rates.append(optimizer.param_groups[0]["lr"])
            train_round(m, model, optimizer)

    rates = []
    space = {"rate": popgrad.Uniform(0.0, 1.0)}
    Trainer(make(function, space=space), {"rate": 0.25}).after(1)
    assert rates == [0.25]


def test_an_alias_that_is_overwritten_is_named_as_in_the_space():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        m.track(model=model, optimizer=optimizer).alias(rate="lr")
        for _ in m:
            optimizer.param_groups[0]["lr"] = 0.5
            train_round(m, model, optimizer)

    space = {"rate": popgrad.Uniform(0.0, 1.0)}
    trainer = Trainer(make(function, space=space), {"rate": 0.25})
    with pytest.raises(RunError, match=r"'rate' is 0\.5 at the end of the interval.*m\['rate'\]"):
        trainer.after(1)


def test_functions_write_and_are_read_back():
    class Settings:
        gamma = 0.5

    def function(m):
        settings = Settings()
        m.on(gamma=(lambda value: setattr(settings, "gamma", value), lambda: settings.gamma))
        for _ in m:
            seen.append(settings.gamma)
            m.report(loss=0.0)

    seen = []
    space = {"gamma": popgrad.Uniform(0.0, 1.0)}
    trainer = Trainer(make(function, space=space), {"gamma": 0.9})
    trainer.train(trainer.after(1), 1, gamma=0.7)
    assert seen == [0.9, 0.7]


def test_a_value_in_single_precision_is_the_recorded_one():
    def function(m):
        kept = torch.zeros(())
        m.on(gamma=(kept.fill_, kept.item))
        for _ in m:
            m.report(loss=0.0)

    space = {"gamma": popgrad.Uniform(0.0, 1.0)}
    Trainer(make(function, space=space), {"gamma": 0.1}).after(1)


def test_own_warm_up_that_reads_the_rate_is_no_overwriting():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        for epoch in m:
            for group in optimizer.param_groups:
                group["lr"] = m["lr"] * (epoch + 1) / 10
            train_round(m, model, optimizer)

    assert Trainer(make(function)).after(2)["rounds"] == 2


def cycling(m, **options):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), momentum=options.pop("start", 0.9))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20, **options)
    m.track(model=model, optimizer=optimizer, scheduler=scheduler)
    for _ in m:
        train_round(m, model, optimizer)
        scheduler.step()


@pytest.mark.parametrize(
    "function",
    [
        cycling,
        lambda m: cycling(m, max_momentum=0.8),
        lambda m: cycling(m, start=m["momentum"]),
        lambda m: cycling(m, start=dict(m.hparams)["momentum"]),
    ],
)
def test_a_momentum_that_a_cycle_replaces_is_refused(function):
    task = make(function, space={"momentum": popgrad.Uniform(0.0, 0.95)})
    with pytest.raises(
        UsageError, match=r"'momentum' would have no effect: OneCycleLR.*max_momentum=m"
    ):
        Trainer(task, {"momentum": 0.7}).fresh()


@pytest.mark.parametrize(
    "function",
    [
        lambda m: cycling(m, max_momentum=m["momentum"]),
        lambda m: cycling(m, max_momentum=1 - m["momentum"] / 2),
        lambda m: cycling(m, start=m["momentum"], cycle_momentum=False),
        lambda m: cycling(m, cycle_momentum=False),
    ],
)
def test_a_momentum_that_reaches_a_cycle_is_none_of_these(function):
    task = make(function, space={"momentum": popgrad.Uniform(0.0, 0.95)})
    trainer = Trainer(task, {"momentum": 0.7})
    trainer.train(trainer.after(2), 2, momentum=0.6)


def test_an_option_is_left_alone_if_its_hyperparameter_is_read_for_something_else():
    """The default of the class stands there, which is no sign that the value belongs there too."""

    def function(m):
        model = network()
        penalty = m["weight_decay"]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            seen.append((penalty, optimizer.param_groups[0]["weight_decay"]))
            train_round(m, model, optimizer)

    seen = []
    trainer = Trainer(
        make(function, space={"weight_decay": popgrad.Uniform(0.0, 1.0)}), {"weight_decay": 0.5}
    )
    trainer.train(trainer.after(1), 1, weight_decay=0.25)
    assert seen == [(0.5, 0), (0.25, 0)]


def test_what_a_scheduler_makes_of_a_rate_is_no_overwriting():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        m.track(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in m:
            rates.append(optimizer.param_groups[0]["lr"])
            train_round(m, model, optimizer)
            scheduler.step()

    rates = []
    trainer = Trainer(make(function))
    trainer.train(trainer.after(2), 2, lr=0.4)
    assert rates == pytest.approx([0.1, 0.05, 0.1])


def test_a_used_up_rate_of_a_forgotten_scheduler_trains():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            train_round(m, model, optimizer)
            scheduler.step()

    assert Trainer(make(function)).after(2)["rounds"] == 2


def test_the_reductions_of_a_plateau_survive():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        m.track(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in m:
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step(1.0)
            train_round(m, model, optimizer)

    rates = []
    trainer = Trainer(make(function))
    state = trainer.after(3)
    assert rates == [0.1, 0.1, 0.05]
    trainer.train(state, 3)
    trainer.train(state, 3, lr=0.4)
    assert rates[3:] == pytest.approx([0.025, 0.1])


# --- each wrong use -------------------------------------------------------------------------------


def overwritten(m):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        optimizer.param_groups[0]["lr"] = 0.0079
        train_round(m, model, optimizer)


def overwritten_function(m):
    live = {"lr": 0.0}
    m.on(lr=(lambda value: None, lambda: live["lr"]))
    for _ in m:
        m.report(loss=0.0)


@pytest.mark.parametrize("intervals", [1, 2])
def test_a_rate_that_the_loop_overwrites_ends_the_run(intervals):
    with pytest.raises(
        RunError, match=r"'lr' is 0\.0079 at the end of the interval, but 0\.1 in the record"
    ):
        Trainer(make(overwritten)).after(intervals)


def test_a_rate_of_an_heir_that_the_loop_overwrites_is_found_too():
    """The groups of an optimizer are other objects after a load, if nobody takes care."""

    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        for epoch in m:
            if epoch:
                optimizer.param_groups[0]["lr"] = 0.0079
            train_round(m, model, optimizer)

    trainer = Trainer(make(function))
    state = trainer.after(1)
    with pytest.raises(RunError, match=r"'lr' is 0\.0079 at the end of the interval, but 0\.2"):
        trainer.train(state, 1, lr=0.2)


def test_a_rate_that_a_state_of_the_optimizer_overwrites_is_found():
    """`load_state_dict` makes new groups, with the options of the time when it was saved."""

    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        m.state["saved"] = optimizer.state_dict()
        for _ in m:
            train_round(m, model, optimizer)
            optimizer.load_state_dict(m.state["saved"])

    trainer = Trainer(make(function))
    state = trainer.after(1)
    with pytest.raises(RunError, match=r"'lr' is 0\.1 at the end of the interval, but 0\.2"):
        trainer.train(state, 1, lr=0.2)


def test_a_function_that_writes_nothing_is_found_at_the_start():
    with pytest.raises(RunError, match=r"'lr' is 0\.0 at the start of the interval, but 0\.1"):
        Trainer(make(overwritten_function)).after(1)


def no_report(m):
    m["lr"]
    for _ in m:
        pass


def two_reports(m):
    m["lr"]
    for _ in m:
        m.report(loss=0.0)
        m.report(loss=1.0)


def report_before(m):
    m.report(loss=0.0)


def empty_report(m):
    for _ in m:
        m.report()


def unnamed_report(m):
    for _ in m:
        m.report({"loss": 0.5})


def odd_report(m):
    for _ in m:
        m.report(loss="low")


def odd_samples(m):
    for _ in m:
        m.report(loss=[])


def never_begins(m):
    m["lr"]


def leaves_in_the_middle(m):
    m["lr"]
    for _ in m:
        return


def track_later(m):
    for _ in m:
        m.track(model=network())


def on_later(m):
    for _ in m:
        m.on(lr=lambda value: None)


def idle(m):
    for _ in m:
        m.report(loss=0.0)


def misspelt(m):
    m["lrr"]


def on_misspelt(m):
    m.on(lt=print)


def untrackable(m):
    m.track(epoch=3)


def untrackable_object(m):
    m.track(loss=lambda x: x)


def tracks_a_class(m):
    m.track(model=torch.nn.Linear)


def tracks_two(m):
    m.track(model=network())
    m.track(model=network())


def unknown_parameter(m):
    m.track(optimizer=torch.optim.SGD(network().parameters(), lr=m["lr"]))
    for _ in m:
        m.report(loss=0.0)


def batches_of_reports(m):
    m["lr"]
    for _ in m:
        list(m.batches([1]))


def odd_yield(m):
    m["lr"]
    for _ in m:
        yield 0.5


def values_that_are_not_plain(m):
    m["lr"]
    for _ in m:
        m.state["x"] = object()
        m.report(loss=0.0)


def samples_that_are_a_number(m):
    m["lr"]
    for _ in m:
        m.report(loss=0.0, samples=24)


def adds_a_group(m):
    model = network()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        optimizer.add_param_group({"params": model[0].parameters()})
        train_round(m, model, optimizer)


def lazy(m):
    model = torch.nn.LazyLinear(1)
    m.track(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=m["lr"]))
    for _ in m:
        m.report(loss=model(INPUTS).sum())


def keeps_a_view(m):
    model = network()
    m.track(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=m["lr"]))
    for epoch in m:
        m.state["best"] = [epoch, model.state_dict()]
        m.report(loss=0.0)


def names_twice(m):
    m.alias(lr="momentum", momentum="momentum")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_report, "the round has ended without a report"),
        (two_reports, "this round has a report already"),
        (report_before, "m.report: the loop has not started"),
        (empty_report, "m.report: expected metrics by name"),
        (unnamed_report, r"expected metrics by name.*m\.report\(\*\*metrics\)"),
        (odd_report, "loss"),
        (odd_samples, "loss: expected a number, or a sequence of them"),
        (never_begins, "loop never_begins: the function has returned before its loop began"),
        (leaves_in_the_middle, "returned in the middle of an interval, after 0 of 1 reports"),
        (track_later, r"m.track\(model\): the loop has started"),
        (on_later, r"m.on\(lr\): the loop has started"),
        (idle, r"hyperparameter 'lr' reaches nothing: the function does not read it \(m\['lr'\]\)"),
        (misspelt, r"m\['lrr'\]: the space has no hyperparameter 'lrr'; did you mean"),
        (on_misspelt, "m.on: the space has no hyperparameter 'lt'"),
        (untrackable, r"epoch is a int.*keep it in m.state: m.state\['epoch'\] = 3"),
        (untrackable_object, "loss is a function, which has no state; expected a module"),
        (tracks_a_class, "model is the class Linear; track an object of it"),
        (tracks_two, "'model' is tracked already, as another object"),
        (unknown_parameter, r"optimizer 'optimizer' trains a tensor of shape \[3, 2\]"),
        (batches_of_reports, "the interval counts reports; give it as a number of batches"),
        (odd_yield, "a generator function yields the metrics of each round by name"),
        (adds_a_group, r"'optimizer' holds other parameters.*parameter.requires_grad_\(False\)"),
        (lazy, "'model': weight of a lazy module has no shape.*one batch through it in setup"),
        (
            keeps_a_view,
            r"m.state\['best'\]\[1\]\['0.weight'\] is the memory of the tracked model.*clone",
        ),
        (samples_that_are_a_number, "m.report: samples: expected sequences.*got 24"),
        (values_that_are_not_plain, r"m.state\['x'\] is a builtins.object"),
    ],
)
def test_a_wrong_use_is_refused_in_one_line(function, message):
    with pytest.raises(UsageError, match=message) as caught:
        Trainer(make(function)).after(1)
    assert "\n" not in str(caught.value)


def test_two_names_for_one_option_are_refused():
    space = {"lr": popgrad.Uniform(0, 1), "momentum": popgrad.Uniform(0, 1)}
    task = make(names_twice, space=space)
    with pytest.raises(
        UsageError, match="'lr' and another hyperparameter would both be 'momentum'"
    ):
        Trainer(task, {"lr": 0.1, "momentum": 0.1}).after(1)


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (
            lambda m: None,
            "ended after 0 of 4 batches of the interval; take them all from m.batches",
        ),
        (lambda m: next(m.batches([1, 2])), "ended after 1 of 4 batches"),
        (lambda m: list(m.batches([])), "the loader yields no batch"),
        (lambda m: list(m.batches(iter([1]))), "cannot be iterated twice"),
    ],
)
def test_batches_that_are_not_all_taken_are_refused(take, message):
    def function(m):
        m["lr"]
        for _ in m:
            take(m)
            m.report(loss=0.0)

    with pytest.raises(UsageError, match=message):
        Trainer(make(function).in_unit("batches")).after(1, steps=4)


def test_a_width_that_is_explored_is_refused_by_its_shapes():
    def function(m):
        model = torch.nn.Linear(2, m["width"])
        m.track(model=model)
        for _ in m:
            m.report(loss=0.0)

    space = {"width": popgrad.Integer(1, 9)}
    trainer = Trainer(make(function, space=space), {"width": 3})
    with pytest.raises(
        UsageError, match=r"'weight' of shape \[3, 2\], the network's is \[4, 2\].*init-only"
    ):
        trainer.train(trainer.after(1), 1, width=4)


def test_other_objects_than_the_donors_are_refused():
    def function(m):
        m.track(**{f"model{m['kind']}": network()})
        for _ in m:
            m.report(loss=0.0)

    space = {"kind": popgrad.Integer(1, 9)}
    trainer = Trainer(make(function, space=space), {"kind": 3})
    with pytest.raises(UsageError, match="holds model3, and the loop now tracks model4"):
        trainer.train(trainer.after(1), 1, kind=4)


# --- callbacks of other libraries -----------------------------------------------------------------


def swapping(m):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    metrics = {"ignored": 1.0}
    while True:
        m.swap(**metrics)
        metrics = train_steps(model, optimizer)


def test_a_callback_swaps_members_as_the_loop_does():
    swapped, looped = Trainer(make(swapping)).after(3), Trainer(make(plain)).after(3)
    assert not list(differences(swapped, looped))


def test_a_trainer_at_its_end_finishes():
    def function(m):
        m["lr"]
        m.swap()
        m.finish(loss=0.5)

    state = Trainer(make(function)).after(1)
    assert state["metrics"] == {"loss": 0.5}
    with pytest.raises(UsageError, match="the loop is over after 1 of 2 reports"):
        Trainer(make(function)).after(1, steps=2)


def test_a_function_may_return_right_after_its_report():
    def function(m):
        m["lr"]
        next(m)
        m.report(loss=0.5)

    assert Trainer(make(function)).after(2)["rounds"] == 2


def test_an_exception_of_the_loop_is_its_own():
    def function(m):
        m["lr"]
        for _ in m:
            raise ValueError("of the loop")

    with pytest.raises(ValueError, match="of the loop"):
        Trainer(make(function)).after(1)
