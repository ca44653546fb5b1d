"""Plans of strategies, which may use NumPy's types, as plain Python values that the journal can write."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from popgrad.core.errors import RunError
from popgrad.core.plan import LONGEST_ROLE, Plan, Transform
from popgrad.core.population import SegmentId

_T = TypeVar("_T")
_PLAIN = {bool, int, float, str}


def plain_plan(plan: Plan) -> Plan:
    """Return a plan of plain Python values: NumPy scalars are converted, arrays and lists are tuples.

    The journal writes a plan as JSON, which has no NumPy values, and strategies are users' code. A
    mapping that is plain already is returned as the same object.

    Args:
        plan: Plan of a strategy, in whatever types it has used.

    Raises:
        RunError: It is no plan, or a value has no plain form; the message names the field and the position.

    Example:
        >>> plan = Plan(
        ...     members=np.array([0, 1]),
        ...     sources=np.array([0, 0]),
        ...     hparams=({"lr": 0.1}, {"lr": np.float32(0.5)}),
        ...     changes=({"lr": "kept"}, {"lr": np.float64(0.8)}),
        ... )
        >>> plain_plan(plan)  # doctest: +ELLIPSIS
        Plan(members=(0, 1), sources=(0, 0), hparams=({'lr': 0.1}, {'lr': 0.5}), changes=...
    """
    if not isinstance(plan, Plan):
        raise RunError(
            "the strategy's step: expected (plan, memory), a Plan and a dictionary, "
            f"got a {type(plan).__name__} as the plan"
        )

    return replace(
        plan,
        members=_entries("members", plan.members, _integer),
        sources=_entries("sources", plan.sources, _integer),
        hparams=_entries("hparams", plan.hparams, _values),
        changes=_entries("changes", plan.changes, _values),
        rests=_entries("rests", plan.rests, _boolean),
        lengths=_entries("lengths", plan.lengths, _integer),
        transforms=_entries("transforms", plan.transforms, _transform),
        roles=_entries("roles", plan.roles, _role),
        keep=_entries("keep", plan.keep, _segment),
    )


def _entries(name: str, given: Any, convert: Callable[[str, Any], _T]) -> tuple[_T, ...]:
    """Return the entries of one field, each converted; `convert` is given its name and the entry."""
    if not isinstance(given, tuple | list | np.ndarray) or (
        isinstance(given, np.ndarray) and not given.ndim
    ):
        raise _fault(name, "a tuple, a list or an array", given)
    return tuple([convert(f"{name}[{i}]", entry) for i, entry in enumerate(given)])


def _integer(name: str, given: Any) -> int:
    plain = _scalar(given)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    if type(plain) is not int:
        raise _fault(name, "an integer", given)
    return plain


def _boolean(name: str, given: Any) -> bool:
    plain = _scalar(given)
    if type(plain) is not bool:
        raise _fault(name, "True or False", given)
    return plain


def _string(name: str, given: Any) -> str:
    plain = _scalar(given)
    if type(plain) is not str:
        raise _fault(name, "a string", given)
    return plain


def _role(name: str, given: Any) -> str:
    plain = _string(name, given)
    if len(plain) > LONGEST_ROLE:
        raise _fault(name, f"at most {LONGEST_ROLE} characters", given)
    return plain


def _values(name: str, given: Any) -> Mapping[str, Any]:
    """Return a mapping of names to numbers, strings and booleans."""
    if not isinstance(given, Mapping):
        raise _fault(name, "a mapping of hyperparameters by name", given)
    # The usual case, and that of a member that keeps what it has: no copy is made.
    if set(map(type, given.values())) <= _PLAIN and set(map(type, given)) <= {str}:
        return given

    values = {}
    for key, value in given.items():
        plain = _scalar(value)
        if type(plain) not in _PLAIN:
            raise _fault(f"{name}[{key!r}]", "a number, a string or a boolean", value)
        values[_string(f"{name}, the name", key)] = plain
    return values


def _transform(name: str, given: Any) -> Transform | None:
    if given is None:
        return None
    if not isinstance(given, Transform):
        raise _fault(name, "a Transform or None", given)

    settings = _values(f"{name}.settings", given.settings)
    for key, value in settings.items():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise _fault(f"{name}.settings[{key!r}]", "a finite number", value)
    return Transform(_string(f"{name}.name", given.name), settings)


def _segment(name: str, given: Any) -> SegmentId:
    ids = _entries(name, given, _integer)
    if len(ids) != 2:
        raise _fault(name, "a segment, (member, interval)", given)
    return ids[0], ids[1]


def _scalar(given: Any) -> Any:
    """Return the Python value of a NumPy scalar or of an array of one; anything else as it is."""
    if isinstance(given, np.generic) or (isinstance(given, np.ndarray) and given.size == 1):
        return given.item()
    return given


def _fault(name: str, expected: str, given: Any) -> RunError:
    return RunError(
        f"the strategy's plan: {name}: expected {expected}, got {given!r:.80} ({type(given).__name__})"
    )
