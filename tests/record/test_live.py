"""Live rates: read from training curves, beside the base that the record holds."""

from dataclasses import replace

import pytest
import torch

import popgrad
from popgrad.core.segment import Segment, Telemetry
from popgrad.record.lineage import schedule
from popgrad.record.live import live_points, live_values
from popgrad.tasks import digits

ONE = Segment(
    0, 2, None, {"lr": 0.1, "act": "tanh"}, {}, 0, 20, 10, 0, 0.5, {}, "", "done"
)  # fmt: skip


def curves(*points: tuple[int, str, float]) -> dict[tuple[int, int], Telemetry]:
    return {ONE.id: Telemetry(curve=points)}


def test_points_with_the_name_of_a_hyperparameter_are_its_live_values() -> None:
    logged = curves((21, "lr", 0.1), (25, "train_loss", 3.0), (30, "lr", 0.05))
    assert live_points(ONE, logged, "lr") == [(20, 0.1), (29, 0.05)]
    assert live_values(ONE, logged) == {"lr": (0.1, 0.05)}
    assert live_points(ONE, logged, "act") == []


def test_a_rate_that_nothing_has_changed_is_no_live_rate() -> None:
    single = torch.tensor(0.1).item()  # as an optimizer with a tensor rate keeps it
    assert live_values(ONE, curves((30, "lr", single))) == {}
    assert live_values(ONE, {}) == {}


def test_with_several_optimizers_their_own_names_count() -> None:
    logged = curves((30, "body_lr", 0.02), (30, "head_lr", 0.03))
    assert live_values(ONE, logged) == {"lr": (0.02, 0.02)}
    own = replace(ONE, hparams={"body_lr": 0.1, "head_lr": 0.1})
    assert live_values(own, logged) == {"body_lr": (0.02, 0.02), "head_lr": (0.03, 0.03)}


def test_a_schedule_has_them_and_equality_ignores_them() -> None:
    first = replace(ONE, first_step=0)
    logged = curves((1, "lr", 0.1), (10, "lr", 0.05))
    whole = schedule([first], logged)
    assert whole.phases[0].live == {"lr": (0.1, 0.05)}
    assert whole == schedule([first])
    second = replace(whole.phases[0], first_step=10, live={"lr": (0.05, 0.01)})
    both = popgrad.Schedule((*whole.phases, second)).merged()
    assert [phase.live for phase in both.phases] == [{"lr": (0.1, 0.01)}]
    assert both.only(["act"]).phases[0].live == {}
    for again in (
        popgrad.Schedule.from_csv(both.to_csv()),
        popgrad.Schedule.from_json(both.to_json()),
    ):
        assert again == both
        assert again.phases[0].live == both.phases[0].live


@pytest.fixture(scope="module")
def cosine() -> popgrad.Result:
    task = replace(
        digits(), scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12)
    )  # fmt: skip
    return popgrad.run(task, population=2, intervals=3, interval=4, executor="serial")


def test_a_scheduler_shows_in_all_that_is_called_the_schedule(cosine: popgrad.Result) -> None:
    winner = cosine.winner
    for whole in (winner.schedule, cosine.schedule()):
        base = whole.at(0)["lr"]
        first, last = whole.merged().phases[-1].live["lr"]
        assert isinstance(base, float)
        assert last < 0.1 * base
        assert first <= base * 1.000001
        assert "live lr" in str(whole)
        assert "live_last.lr" in whole.to_csv().splitlines()[0]
        assert "live" in whole.rows()[0]
    # Each segment has its first and its last rate.
    assert all(
        [step for step, _ in live_points(one, cosine.telemetry, "lr")]
        == [one.first_step, one.last_step - 1]
        for one in cosine.segments
    )


def test_the_torch_scheduler_of_such_a_schedule_warns(cosine: popgrad.Result) -> None:
    adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    with pytest.warns(UserWarning, match="schedule of lr is the base that a scheduler of the task"):
        cosine.winner.schedule.scheduler(adam)


def test_without_a_scheduler_nothing_is_added() -> None:
    result = popgrad.run("digits", population=2, intervals=2, interval=4, executor="serial")
    assert all(not phase.live for phase in result.schedule().phases)
    assert {len(each.curve) for each in result.telemetry.values()} == {2}
