"""A schedule has the name of its shape, and the printed code gives the fitted values."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from popgrad import (
    Choice,
    Constant,
    Integer,
    LogUniform,
    OneMinus,
    Ordinal,
    Schedule,
    Space,
    Uniform,
)
from popgrad.core.space import Dimension
from popgrad.record.explanation import Explanation, explain_schedule, explanations
from popgrad.record.record import Record
from popgrad.record.scale import scale_of
from popgrad.record.shapes import Curve

RATE = LogUniform(1e-5, 1.0)
INTERVALS = 20
LENGTH = 30
STEPS = INTERVALS * LENGTH
CURVES = {
    "constant": Curve("constant", STEPS, 0.01, 0.01),
    "exponential": Curve("exponential", STEPS, 0.3, 0.003),
    "linear": Curve("linear", STEPS, 0.3, 0.003),
    "cosine": Curve("cosine", STEPS, 0.3, 0.003),
    "step": Curve("step", STEPS, 0.1, 0.01, 11 * LENGTH),
    "warm-up": Curve("warm-up", STEPS, 0.003, 0.003, 4 * LENGTH, 0.3, "cosine"),
}


def explained(
    dimension: Dimension,
    quantity: Callable[[float], Any],
    *,
    name: str = "lr",
    noise: float = 0.0,
    seed: int = 0,
    intervals: int = INTERVALS,
) -> Explanation:
    """Explain a path that follows a curve, up to a perturbation more or less in each interval."""
    rng = np.random.default_rng(seed)
    scale = scale_of(dimension, (0.8, 1.25))
    assert scale is not None
    rows = []
    for i in range(intervals):
        middle = i * LENGTH + (LENGTH - 1) / 2
        moved = scale.position(float(quantity(middle))) + noise * rng.choice([-1, 1])
        value = scale.value(float(scale.at(moved)))
        rows.append({"first_step": i * LENGTH, "steps": LENGTH, "hparams": {name: value}})
    (found,) = explain_schedule(Schedule.from_rows(rows), {name: dimension})
    return found


def listed(values: list[Any], dimension: Dimension, name: str) -> Explanation:
    rows = [
        {"first_step": 10 * i, "steps": 10, "hparams": {name: value}}
        for i, value in enumerate(values)
    ]
    (found,) = explain_schedule(Schedule.from_rows(rows), {name: dimension})
    return found


@pytest.mark.parametrize("shape", CURVES)
def test_a_shape_with_noise_of_one_perturbation_is_recognised(shape: str) -> None:
    found = [explained(RATE, CURVES[shape], noise=1.0, seed=seed) for seed in range(5)]
    # Measured with 20 seeds: all, but one linear path that was called cosine.
    assert sum(each.shape == shape for each in found) >= 4
    assert all(each.fits for each in found)


@pytest.mark.parametrize("shape", CURVES)
def test_a_shape_without_noise_is_recognised_and_off_by_almost_nothing(shape: str) -> None:
    found = explained(RATE, CURVES[shape])
    assert found.shape == shape
    assert found.error < 0.1


@pytest.mark.parametrize(
    "dimension",
    [RATE, Uniform(0.0, 1.0), OneMinus(0.5, 0.9999), Integer(1, 512), Uniform(-1.0, 1.0)],
)
def test_a_constant_is_constant_on_every_scale(dimension: Dimension) -> None:
    found = [
        explained(dimension, lambda _: 0.3, name="x", noise=noise, seed=seed)
        for seed, noise in enumerate((0.0, 1.0, 1.0, 1.0))
    ]
    assert {each.shape for each in found} == {"constant"}


def test_a_constant_is_not_exponential_with_few_intervals() -> None:
    shapes = [explained(RATE, CURVES["constant"], intervals=n).shape for n in range(1, 9)]
    assert set(shapes) == {"constant"}


def test_the_momentum_of_a_one_minus_dimension_decays_in_its_distance_to_one() -> None:
    curve = Curve("exponential", STEPS, 0.5, 0.001)
    found = explained(OneMinus(0.5, 0.9999), curve, name="momentum", noise=1.0)
    assert found.shape == "exponential"
    assert "in 1 - value" in found.description
    assert found.code.startswith("momentum = lambda step: 1 - (")


def test_a_random_walk_that_no_shape_fits_is_called_that() -> None:
    wild = explained(RATE, lambda step: 0.1 if (step // 90) % 2 else 0.001)
    assert not wild.fits
    assert "off the path" in wild.note


# The code


def rates(found: Explanation) -> list[float]:
    """Run the printed lines with an optimizer that is made as the note requires; a rate for each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=found.base_rate or 1.0)
    names: dict[str, Any] = {"torch": torch, "optimizer": optimizer}
    exec(found.code, names)
    seen = []
    for _ in range(STEPS):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        names["scheduler"].step()
    return seen


@pytest.mark.parametrize("decay", ["cosine", "linear", "exponential"])
@pytest.mark.parametrize("shape", CURVES)
def test_the_scheduler_of_torch_gives_the_fitted_rate_of_each_step(shape: str, decay: str) -> None:
    curve = CURVES[shape]
    if shape == "warm-up":
        curve = Curve("warm-up", STEPS, 0.003, 0.003, 4 * LENGTH, 0.3, decay)
    found = explained(RATE, curve, noise=1.0, seed=3)
    assert found.code.startswith("scheduler = torch.optim.lr_scheduler.")
    np.testing.assert_allclose(rates(found), [found.at(step) for step in range(STEPS)], rtol=1e-5)


@pytest.mark.parametrize(
    ("dimension", "curve"),
    [
        (Uniform(0.0, 1.0), Curve("linear", STEPS, 0.0, 0.9)),
        (Uniform(0.0, 1.0), Curve("step", STEPS, 0.0, 0.9, 300)),
        (Uniform(0.0, 1.0), Curve("linear", STEPS, 0.9, 0.0)),
        (RATE, Curve("linear", STEPS, 0.001, 0.9)),
        (RATE, Curve("exponential", STEPS, 0.001, 0.9)),
    ],
)
def test_rates_from_zero_and_rising_rates_are_given_too(dimension: Dimension, curve: Curve) -> None:
    found = explained(dimension, curve)
    assert found.shape == curve.shape
    np.testing.assert_allclose(
        rates(found), [found.at(step) for step in range(STEPS)], rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("shape", CURVES)
@pytest.mark.parametrize(
    "dimension",
    [Uniform(0.0, 1.0), OneMinus(0.5, 0.9999), LogUniform(1e-4, 1.0), Integer(1, 4096, log=True)],
)
def test_the_function_of_another_hyperparameter_gives_the_fitted_value_of_each_step(
    dimension: Dimension, shape: str
) -> None:
    curve = CURVES[shape]
    larger = 1000 if isinstance(dimension, Integer) else 1
    found = explained(dimension, lambda step: larger * curve(step), name="x", noise=0.5)
    names: dict[str, Any] = {}
    exec(found.code, names)
    values = [names["x"](step) for step in range(STEPS)]
    np.testing.assert_allclose(values, [found.at(step) for step in range(STEPS)], rtol=1e-6)


def test_a_name_that_is_no_variable_gives_one() -> None:
    assert explained(RATE, CURVES["constant"], name="a b").code == "value = lambda step: 0.01"
    assert explained(RATE, CURVES["constant"], name="lambda").code.startswith("value = ")


# Options


def test_options_are_a_list_of_steps() -> None:
    found = listed([16, 16, 64, 32, 32], Ordinal((16, 32, 64)), "width")
    assert found.description == "steps: 16, then 64 at step 20, 32 at step 30"
    names: dict[str, Any] = {}
    exec(found.code, names)
    assert [names["width"](step) for step in (0, 19, 20, 29, 30, 49)] == [16, 16, 64, 64, 32, 32]
    assert [found.at(step) for step in (0, 19, 20, 29, 30, 49)] == [16, 16, 64, 64, 32, 32]


def test_an_option_that_stays_is_constant() -> None:
    found = listed(["relu"] * 3, Choice(("relu", "tanh")), "activation")
    assert (found.shape, found.code) == ("constant", "activation = lambda step: 'relu'")


def test_constants_and_what_is_not_in_the_schedule_are_left_out() -> None:
    rows = [{"first_step": 0, "steps": 5, "hparams": {"lr": 0.1, "wd": 1e-5}}]
    space = {"wd": Constant(1e-5), "lr": RATE, "more": RATE}
    assert [each.name for each in explain_schedule(Schedule.from_rows(rows), space)] == ["lr"]


def test_the_base_of_a_scheduler_is_called_that() -> None:
    rows = [
        {"first_step": 0, "steps": 5, "hparams": {"lr": 0.1}, "live": {"lr": [0.1, 0.05]}},
    ]
    (found,) = explain_schedule(Schedule.from_rows(rows), {"lr": RATE})
    assert found.base_only
    assert "keep that one too" in found.note


# A run


def test_the_factors_and_the_steps_are_those_of_the_run() -> None:
    path = Schedule.from_rows(
        {"first_step": 10 * i, "steps": 10, "hparams": {"lr": 0.01 * 2.0 ** (i % 2)}}
        for i in range(8)
    )
    space = Space({"lr": RATE})
    config = {"strategy": {"name": "pbt", "factors": [0.5, 2.0]}, "interval": "1 report"}
    (own,) = explanations(Record(space=space, score_name="q", config=config), path)
    (usual,) = explanations(Record(space=space, score_name="q"), path)
    assert own.error == pytest.approx(0.5, abs=1e-3)
    assert usual.error == pytest.approx(0.5 * math.log(2) / math.log(1.25), abs=1e-3)
    assert "after each report" in own.note
    assert "after each training step" in usual.note


# The scale


@pytest.mark.parametrize(
    "dimension",
    [RATE, Uniform(0.0, 1.0), Uniform(-2.0, 3.0), OneMinus(0.5, 0.9999), Uniform(5.0, 9.0)],
)
def test_a_perturbation_is_one_long_wherever_it_begins(dimension: Any) -> None:
    scale = scale_of(dimension, (0.8, 1.25))
    assert scale is not None
    rng = np.random.default_rng(0)
    for _ in range(50):
        before = dimension.sample(rng)
        after, _ = dimension.perturb(rng, before, [1.25])
        if after in (dimension.low, dimension.high) or abs(before) < scale.least:
            continue
        ends = [scale.position(scale.quantity(each)) for each in (before, after)]
        assert abs(float(ends[1] - ends[0])) == pytest.approx(1.0)


def test_positions_lead_back_to_quantities() -> None:
    scale = scale_of(Uniform(-2.0, 3.0), (0.5,))
    assert scale is not None
    quantities = np.linspace(-2.0, 3.0, 101)
    np.testing.assert_allclose(scale.at(scale.position(quantities)), quantities, atol=1e-12)
    assert math.isclose(scale.unit, math.log(2))
