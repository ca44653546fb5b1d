"""Recipes for soups: which members' weights are averaged, chosen on the validation split.

Uniform and greedy soups of Wortsman et al. 2022, "Model soups", arXiv 2203.05482.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.runs.networks import Network, Networks, networks_of
from popgrad.runs.soup import Candidate, Soup
from popgrad.state import State
from popgrad.tasks.averages import average, difference
from popgrad.tasks.base import Context, Task

_TOLERANCE = 1e-3
"""Largest relative difference of a recorded score and the same evaluation on another machine."""


def make_soup(
    task: Task,
    last: Sequence[Segment],
    state: Callable[[SegmentId], State],
    ranking: Score,
    ctx: Context,
    *,
    test: bool = False,
    batches: Iterable[Any] | None = None,
) -> Soup:
    """Make both soups and the ensemble of the last members.

    Args:
        task: Task that the members were trained on.
        last: Last segment of each member; at least one has a finite score.
        state: Returns the final state of a segment.
        ranking: Metric that ranks.
        ctx: Context of the evaluations.
        test: Whether to evaluate each on the test split as well, once all is chosen.
        batches: Training batches for BatchNorm layers; None = those of the task.

    Raises:
        UsageError: The task's networks cannot be evaluated, or fewer than two have equal shapes.
    """
    networks = networks_of(task, ctx, batches)
    living = sorted(
        (segment for segment in last if not segment.failed),
        key=lambda segment: (-segment.score, segment.member),
    )
    members = {segment.member: (state(segment.id), segment.hparams) for segment in living}
    left_out = {segment.member: "it failed" for segment in last if segment.failed}
    left_out |= _other_shapes(members)
    mixed = [member for member in members if member not in left_out]
    if len(mixed) < 2:
        reasons = "; ".join(f"member {member}: {reason}" for member, reason in left_out.items())
        raise UsageError(
            f"soup: expected at least 2 members with networks of equal shapes, got {len(mixed)}"
            + (f" ({reasons})" if reasons else "")
        )

    recipes = Recipes(networks, members, ranking)
    winner = recipes.winner(living)
    uniform = recipes.soup("uniform soup", mixed)
    greedy = recipes.greedy(mixed, winner)
    ensemble = recipes.ensemble()

    # All is chosen: only now may the test split be read.
    if test:
        winner, uniform, greedy = map(recipes.tested, (winner, uniform, greedy))
        ensemble = None if ensemble is None else recipes.tested(ensemble)

    return Soup(
        winner=winner,
        uniform=uniform,
        greedy=greedy,
        ensemble=ensemble,
        mean=networks.mean,
        left_out=dict(sorted(left_out.items())),
        hparams=members[mixed[0]][1],
        task=task,
        ranking=ranking,
    )


def _other_shapes(members: Mapping[int, Network]) -> dict[int, str]:
    """Return the members whose networks differ in shape from that of the first, with the reason."""
    first, *others = members
    best = members[first][0]["model"]
    reasons = {member: difference(members[member][0]["model"], best) for member in others}
    return {
        member: f"{reason}, as in the best member, {first}"
        for member, reason in reasons.items()
        if reason
    }


@dataclass(frozen=True)
class Recipes:
    """Members of a population, and what can be made of their networks.

    Attributes:
        networks: Evaluates networks.
        members: State and hyperparameters by member, the best first.
        ranking: Metric that ranks.
    """

    networks: Networks
    members: Mapping[int, Network]
    ranking: Score

    def winner(self, living: Sequence[Segment]) -> Candidate:
        """Return the best member; the evaluation of every member has to agree with its record.

        The `evaluate=` of a loop that reads other data than the loop's reports would choose a soup
        on them, on the test split at worst.

        Args:
            living: Last segments of the members, the best first.

        Raises:
            UsageError: An evaluation differs from the record.
        """
        candidates = []
        for segment in living:
            metrics = self.networks.evaluate(self.members[segment.member], "validation")
            state = self.members[segment.member][0]
            found = self._candidate("winner", (segment.member,), metrics, state)
            candidates.append(found)
            if not math.isclose(found.score, segment.score, rel_tol=_TOLERANCE, abs_tol=1e-6):
                recorded, now = map(self.ranking.shown, (segment.score, found.score))
                raise UsageError(
                    f"soup: member {segment.member} was recorded with {self.ranking.metric} {recorded:.6g}, "
                    f"but its evaluation on the validation split gives {now:.6g}, so no soup can be compared "
                    "with it; the data have to be those of the run, and evaluate= of a loop has to evaluate "
                    'the split "validation" as the loop does'
                )
        return candidates[0]

    def soup(self, name: str, members: Sequence[int]) -> Candidate:
        """Return the average of members, the best of which is the first."""
        best, hparams = self.members[members[0]]
        mean = average([self.members[member][0]["model"] for member in members])
        mean |= self.networks.statistics(({**best, "model": mean}, hparams))
        state = {**best, "model": mean}
        metrics = self.networks.evaluate((state, hparams), "validation")
        return self._candidate(name, tuple(members), metrics, state)

    def greedy(self, members: Sequence[int], winner: Candidate) -> Candidate:
        """Return the average to which members were added in turn, each if the score did not fall.

        It starts with the best member as it is, so it is never below it on the validation split.
        """
        chosen = replace(winner, name="greedy soup")
        for member in members[1:]:
            tried = self.soup("greedy soup", [*chosen.members, member])
            if tried.score >= chosen.score:
                chosen = tried
        return chosen

    def ensemble(self) -> Candidate | None:
        """Return the ensemble of all members; None if their outputs have no mean."""
        try:
            metrics = self.networks.evaluate_ensemble([*self.members.values()], "validation")
        except UsageError:
            return None
        return self._candidate("ensemble", tuple(self.members), metrics, None)

    def tested(self, candidate: Candidate) -> Candidate:
        """Return a candidate with its metrics on the test split."""
        if candidate.state is None:
            metrics = self.networks.evaluate_ensemble([*self.members.values()], "test")
        else:
            hparams = self.members[candidate.members[0]][1]
            metrics = self.networks.evaluate((candidate.state, hparams), "test")
        return replace(candidate, test=metrics)

    def _candidate(
        self, name: str, members: tuple[int, ...], metrics: Mapping[str, float], state: State | None
    ) -> Candidate:
        """Return a candidate; a score that is not finite ranks last.

        Raises:
            UsageError: The metric that ranks is missing.
        """
        if self.ranking.metric not in metrics:
            raise UsageError(
                f"soup: the evaluation gives no {self.ranking.metric!r}, which ranks; it gives "
                f"{', '.join(metrics) or 'no metric'}"
            )
        score = self.ranking.rank(metrics[self.ranking.metric])
        return Candidate(
            name, members, metrics, score if math.isfinite(score) else -math.inf, state=state
        )
