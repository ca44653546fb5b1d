"""Evaluators of FIRE PBT: members that measure how fast the weights of others improve.

Dalibard and Jaderberg 2021, arXiv 2109.13800; the rules are those of PBT-Zoo (see `fire`). An
evaluator trains a copy of a parent's weights, from sub-population P2, with the hyperparameters of a
child, from P1, and compares its curve with the child's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from popgrad.core.population import Population
from popgrad.strategies.base import Memory
from popgrad.strategies.curves import Curve, best_score_difference, overlap, sign_test, smooth

CURVE_LENGTH = 100
"""Last scores of a curve that the memory keeps: 10 intervals at 10 evaluations each."""

P1 = "p1"
P2 = "p2"
EVALUATOR = "evaluator"

Verdict = Literal["continue", "stop", "success"]


class Evaluation(NamedTuple):
    """The members of one evaluation in progress.

    Attributes:
        parent: Member of P2 whose weights the evaluator started from.
        child: Member of P1 whose hyperparameters it trains with.
        rounds: Intervals that it has trained.
    """

    parent: int
    child: int
    rounds: int


@dataclass(frozen=True)
class Evaluators:
    """The memory of FIRE PBT.

    Attributes:
        curves: Scores of members of P1 since they last copied weights, and of evaluators since
            they started, by member; at most `CURVE_LENGTH` each.
        evaluations: Evaluation in progress, by evaluator.
        waits: Intervals since its last evaluation, by member of P2; -1 = it was just replaced.
    """

    curves: Mapping[int, tuple[float, ...]]
    evaluations: Mapping[int, Evaluation]
    waits: Mapping[int, int]

    @classmethod
    def from_memory(cls, memory: Memory) -> "Evaluators":
        """Return what `memory` has written; an empty memory is that before the first decision."""
        stored = cast(Mapping[str, Mapping[str, Any]], memory)
        return cls(
            {int(member): tuple(kept) for member, kept in stored.get("curves", {}).items()},
            {int(m): Evaluation(*kept) for m, kept in stored.get("evaluations", {}).items()},
            {int(member): int(wait) for member, wait in stored.get("waits", {}).items()},
        )

    def memory(self) -> Memory:
        """Return plain JSON."""
        return {
            "curves": {str(member): list(curve) for member, curve in self.curves.items()},
            "evaluations": {str(member): list(kept) for member, kept in self.evaluations.items()},
            "waits": {str(member): wait for member, wait in self.waits.items()},
        }

    def fitness(self) -> dict[int, float]:
        """Return the improvement-rate fitness of each member of P2 that is evaluated, by member.

        It is the sum of the best score differences between its evaluator's curve and the others'.
        """
        curves = {
            evaluation.parent: smooth(np.array(self.curves[evaluator]))
            for evaluator, evaluation in self.evaluations.items()
            if self.curves[evaluator]
        }
        return {
            parent: sum(
                best_score_difference(curve, other)
                for opponent, other in curves.items()
                if opponent != parent
            )
            for parent, curve in curves.items()
        }


def after_interval(
    evaluators: Evaluators, population: Population, roles: Sequence[str]
) -> Evaluators:
    """Return the evaluators after an interval: longer curves, evaluations and waits.

    An evaluation ends here if its evaluator has failed, or if its members have other roles because
    the population has another size.

    Args:
        evaluators: The evaluators at the last decision.
        population: All N members.
        roles: [N] role of each member.
    """
    evaluations = {
        member: evaluation._replace(rounds=evaluation.rounds + 1)
        for member, evaluation in evaluators.evaluations.items()
        if _intact(member, evaluation, population, roles)
    }

    curves = {}
    for member, role in enumerate(roles):
        if role == P1 or member in evaluations:
            scores = (*evaluators.curves.get(member, ()), *_points(population, member))
            curves[member] = scores[-CURVE_LENGTH:]

    evaluated = {evaluation.parent for evaluation in evaluations.values()}
    waits = {
        member: evaluators.waits.get(member, 0) + (member not in evaluated)
        for member, role in enumerate(roles)
        if role == P2
    }
    return Evaluators(curves, evaluations, waits)


def _intact(
    evaluator: int, evaluation: Evaluation, population: Population, roles: Sequence[str]
) -> bool:
    members = (evaluator, evaluation.parent, evaluation.child)
    if max(members) >= len(roles) or not np.isfinite(population.scores[evaluator]):
        return False
    return tuple(roles[member] for member in members) == (EVALUATOR, P2, P1)


def _points(population: Population, member: int) -> tuple[float, ...]:
    """Return the finite scores within the last segment of a member, in order."""
    if len(population.curves):
        curve = np.asarray(population.curves[member], dtype=np.float64)
    else:
        curve = population.scores[member : member + 1]
    return tuple(curve[np.isfinite(curve)].tolist())


def judge(
    evaluators: Evaluators, replaced: frozenset[int], *, max_rounds: int, significance: float
) -> tuple[Evaluators, dict[int, int]]:
    """End the evaluations that stop or succeed; a success gives the child weights and curve.

    An evaluation stops if its child or parent is replaced. If several succeed for one child, each
    is compared with the curve of the one before; the others of that child stop.

    Args:
        evaluators: The evaluators after the interval.
        replaced: Members that this decision replaces.
        max_rounds: See `verdict`.
        significance: See `verdict`.

    Returns:
        The evaluators that continue, and the evaluator that each child inherits from, by child.
    """
    curves = {
        member: () if member in replaced else kept for member, kept in evaluators.curves.items()
    }
    evaluations = dict(evaluators.evaluations)
    donors: dict[int, int] = {}

    for evaluator, evaluation in sorted(evaluators.evaluations.items()):
        child = evaluation.child
        outcome: Verdict = "stop" if child in replaced else "continue"
        if curves[evaluator] and curves[child]:
            own, other = smooth(np.array(curves[evaluator])), smooth(np.array(curves[child]))
            outcome = verdict(
                own, other, evaluation.rounds, max_rounds=max_rounds, significance=significance
            )

        if outcome == "success":
            donors[child] = evaluator
            curves[child] = curves[evaluator]
        if outcome != "continue" or evaluation.parent in replaced:
            del evaluations[evaluator]

    # The curve that the others of the child were compared with is gone.
    evaluations = {e: kept for e, kept in evaluations.items() if kept.child not in donors}
    waits = {
        member: -1 if member in replaced else wait for member, wait in evaluators.waits.items()
    }
    return Evaluators(curves, evaluations, waits), donors


def verdict(
    own: Curve, child: Curve, rounds: int, *, max_rounds: int, significance: float
) -> Verdict:
    """Compare the curve of an evaluator with that of its child.

    Args:
        own: Curve of the evaluator, since it started.
        child: Curve of the child, since it last copied weights.
        rounds: Intervals that the evaluator has trained, at least 1.
        max_rounds: Intervals until the bound of the sign test has fallen to `significance`, and
            after which an evaluator without an overlap stops.
        significance: Bound on the p-value, in (0, 1).

    Returns:
        "success" if the best score difference is above 0 and the p-value of the sign test below
        `significance`. "stop" without an overlap after `max_rounds`, or with one and a p-value above
        significance + max(0, 1 - rounds / max_rounds). Else "continue".

    Example:
        >>> import numpy as np
        >>> slow = Curve(np.linspace(0.0, 1.0, 10), np.linspace(0.0, 1.0, 10))
        >>> fast = Curve(np.linspace(0.0, 2.0, 10), np.linspace(0.0, 2.0, 10))
        >>> verdict(fast, slow, 1, max_rounds=3, significance=0.01)  # 9 of 10 are above: p = 0.0107
        'continue'
        >>> verdict(slow, fast, 1, max_rounds=3, significance=0.01)
        'stop'
    """
    p_value = sign_test(own, child)
    if p_value < significance and best_score_difference(own, child) > 0:
        return "success"

    if overlap(own.smooth, child.smooth) is None:
        return "stop" if rounds >= max_rounds else "continue"
    bound = significance + max(0.0, 1 - rounds / max_rounds)
    return "stop" if p_value > bound else "continue"


def assign(
    evaluators: Evaluators,
    population: Population,
    roles: Sequence[str],
    replaced: frozenset[int],
) -> tuple[Evaluators, dict[int, Evaluation]]:
    """Start an evaluation with each idle evaluator, if P1 has a child for it.

    The parent is the member of P2 that has waited longest; ties: the lower member. The child is the
    best member of P1 that is not replaced by this decision; ties: the lower member.

    Args:
        evaluators: The evaluators that continue.
        population: All N members.
        roles: [N] role of each member.
        replaced: Members that this decision replaces.

    Returns:
        The evaluators of the next interval, and the evaluations that start, by evaluator.
    """
    children = [
        member
        for member, role in enumerate(roles)
        if role == P1 and member not in replaced and np.isfinite(population.scores[member])
    ]
    busy = {evaluation.parent for evaluation in evaluators.evaluations.values()}
    free = [member for member in evaluators.waits if member not in busy]
    queue = sorted(free, key=lambda member: (-evaluators.waits[member], member))
    idle = [
        member
        for member, role in enumerate(roles)
        if role == EVALUATOR and member not in evaluators.evaluations
    ]
    if not children:
        return evaluators, {}

    child = max(children, key=lambda member: (population.scores[member], -member))
    started = {
        evaluator: Evaluation(parent, child, 0)
        for evaluator, parent in zip(idle, queue, strict=False)
    }
    curves = {**evaluators.curves, **dict.fromkeys(started, ())}
    waits = {**evaluators.waits, **{each.parent: 0 for each in started.values()}}
    return Evaluators(curves, {**evaluators.evaluations, **started}, waits), started
