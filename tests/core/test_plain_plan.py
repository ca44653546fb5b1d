"""Plans in the types that strategies use, and as plain data."""

import json

import numpy as np
import pytest

from popgrad.core.errors import RunError
from popgrad.core.plain_plan import plain_plan
from popgrad.core.plan import Plan, Transform

PLAIN = Plan(
    members=(0, 1),
    sources=(0, -1),
    hparams=({"lr": 0.5, "layers": 2}, {"lr": 0.25, "layers": 3}),
    changes=({"lr": "kept", "layers": "kept"}, {"lr": 0.5, "layers": "sampled"}),
    rests=(False, True),
    lengths=(1, 2),
    transforms=(None, Transform("shrink-perturb", {"keep": 0.25, "noise": 0.125})),
    roles=("reference", ""),
    keep=((0, 3), (1, 2)),
)


def with_numpy() -> Plan:
    return Plan(
        members=np.array([0, 1]),
        sources=[np.int64(0), np.int32(-1)],
        hparams=[
            {"lr": np.float32(0.5), "layers": np.int64(2)},
            {"lr": np.array(0.25), "layers": np.array([3])},
        ],
        changes=(
            {"lr": np.str_("kept"), "layers": "kept"},
            {"lr": np.float64(0.5), "layers": "sampled"},
        ),
        rests=np.array([False, True]),
        lengths=np.array([1.0, 2.0]),
        transforms=(
            None,
            Transform(np.str_("shrink-perturb"), {"keep": np.float64(0.25), "noise": 0.125}),
        ),
        roles=np.array(["reference", ""]),
        keep=np.array([[0, 3], [1, 2]]),
    )


def types(value: object) -> object:
    """The type of a value, and those of its content."""
    if isinstance(value, dict):
        return {key: types(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(types(inner) for inner in value)
    if isinstance(value, Transform):
        return types(vars(value))
    return type(value)


def test_numpy_values_of_every_field_become_plain():
    plan = plain_plan(with_numpy())
    assert plan == PLAIN
    assert types(vars(plan)) == types(vars(PLAIN))
    assert json.loads(json.dumps([plan.sources, plan.hparams, plan.changes, plan.keep]))


def test_mappings_that_are_plain_are_the_same_objects():
    plan = plain_plan(PLAIN)
    assert plan == PLAIN
    assert plan.hparams[0] is PLAIN.hparams[0]
    assert plan.changes[1] is PLAIN.changes[1]


@pytest.mark.parametrize(
    ("field", "given", "message"),
    [
        ("members", 3, r"members: expected a tuple, a list or an array, got 3 \(int\)"),
        ("members", np.array(3), r"members: expected a tuple, .*, got array\(3\)"),
        ("sources", (0, 0.5), r"sources\[1\]: expected an integer, got 0.5 \(float\)"),
        ("sources", (True, 0), r"sources\[0\]: expected an integer, got True \(bool\)"),
        ("sources", ("0", 0), r"sources\[0\]: expected an integer, got '0' \(str\)"),
        (
            "hparams",
            ({"lr": [1, 2]},),
            r"hparams\[0\]\['lr'\]: expected a number, a string or a boo",
        ),
        ("hparams", ({"lr": 1j},), r"hparams\[0\]\['lr'\]: expected a number.*\(complex\)"),
        (
            "hparams",
            (0.1,),
            r"hparams\[0\]: expected a mapping of hyperparameters by name, got 0.1",
        ),
        ("changes", ({1: "kept"},), r"changes\[0\], the name: expected a string, got 1 \(int\)"),
        ("rests", (1,), r"rests\[0\]: expected True or False, got 1 \(int\)"),
        ("lengths", (None,), r"lengths\[0\]: expected an integer, got None"),
        ("transforms", ("shrink",), r"transforms\[0\]: expected a Transform or None, got 'shrink'"),
        (
            "transforms",
            (Transform("shrink-perturb", {"keep": np.nan}),),
            r"transforms\[0\].settings\['keep'\]: expected a finite number, got nan",
        ),
        ("roles", (None,), r"roles\[0\]: expected a string, got None"),
        ("roles", ("a" * 201,), r"roles\[0\]: expected at most 200 characters, got 'aaa"),
        (
            "keep",
            ((0, 1, 2),),
            r"keep\[0\]: expected a segment, \(member, interval\), got \(0, 1, 2\)",
        ),
        ("keep", (3,), r"keep\[0\]: expected a tuple, a list or an array, got 3"),
    ],
)
def test_a_value_without_a_plain_form_is_named_with_its_position(field, given, message):
    fields = {**vars(PLAIN), field: given}
    with pytest.raises(RunError, match=f"^the strategy's plan: {message}"):
        plain_plan(Plan(**fields))


@pytest.mark.parametrize("given", [None, {}, (PLAIN,)])
def test_what_is_no_plan_is_refused(given):
    with pytest.raises(RunError, match=r"^the strategy's step: expected \(plan, memory\), a Plan"):
        plain_plan(given)
