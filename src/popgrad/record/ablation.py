"""An ablation as data: models that were trained alone, with the winner's schedule or with constants."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from popgrad.core.score import Score
from popgrad.record.arm import Arm, interval_row
from popgrad.statistics.bootstrap import ENOUGH, LEVEL, Interval, probability_of_improvement
from popgrad.statistics.difference import paired_difference, student_quantile


@dataclass(frozen=True)
class Ablation:
    """Whether the schedule of a run's winner helped, or the selection of its weights did.

    Attributes:
        arms: The schedule first, then the constants.
        seeds: Fresh seeds; model i of every arm has seed i, hence the same initial weights and data.
        ranking: Metric that ranks, with its direction.
        winner_score: Recorded score of the run's winner, higher is better.
        run_steps: Training steps of all members of the run, which found the schedule.
        phases: Phases of the schedule, equal neighbours as one; 1 = it is constant.
        search_steps: Training steps of the random search; 0 = it was left out.

    Example:
        >>> import popgrad
        >>> result = popgrad.run(
        ...     "quadratic", population=4, intervals=4, directory="runs/ablated", executor="serial"
        ... )
        >>> ablation = popgrad.ablate("runs/ablated", seeds=2, random_search=False)
        >>> ablation.arms[0].name, len(ablation.arms[0].scores)
        ('schedule', 2)
    """

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    ranking: Score
    winner_score: float
    run_steps: int
    phases: int
    search_steps: int = 0

    @property
    def schedule(self) -> Arm:
        """The arm with the winner's schedule."""
        return self.arms[0]

    @property
    def constants(self) -> tuple[Arm, ...]:
        """The arms with constants that can be compared: no model of theirs failed."""
        return tuple(arm for arm in self.arms[1:] if not arm.failed)

    @cached_property
    def best(self) -> Arm | None:
        """The constants with the highest interquartile mean; None = there are none to compare with."""
        return max(self.constants, key=lambda arm: arm.mean.value, default=None)

    def gain(self, arm: Arm, level: float = LEVEL) -> Interval:
        """Return the mean of schedule - constants, paired by seed, with Student's interval.

        Positive = the schedule is better; nan = a model failed.
        """
        if arm.failed or self.schedule.failed:
            return Interval(math.nan)
        return paired_difference(self.schedule.array, arm.array, level=level)

    def improvement(self, arm: Arm) -> Interval:
        """Return the probability that a model of the schedule beats one of an arm; nan = a model failed."""
        if arm.failed or self.schedule.failed:
            return Interval(math.nan)
        return probability_of_improvement([self.schedule.array], [arm.array])

    @property
    def selected(self) -> Interval:
        """Score of the winner less the schedule's mean, with the interval of one more model.

        The ends come from Student's prediction interval: if both are above 0, a model under the schedule
        alone is hardly ever as good as the winner.
        """
        scores = self.schedule.array
        if self.schedule.failed or not len(scores):
            return Interval(math.nan)
        gap = self.winner_score - float(scores.mean())
        if len(scores) < 2:
            return Interval(gap)
        spread = float(scores.std(ddof=1)) * math.sqrt(1 + 1 / len(scores))
        half = student_quantile(LEVEL, len(scores) - 1) * spread
        return Interval(gap, gap - half, gap + half)

    @property
    def outcome(self) -> str:
        """Outcome: "constant", "failed", "few seeds", "schedule", "constants", "selection" or "unclear".

        * "schedule": the schedule is better than each of the constants, by a 95 % interval each.
        * "constants": some constants are better than the schedule, by intervals that account for
          their number.
        * "selection": neither; and the winner is better than a model under its schedule, by more than
          the schedule can be better than the best constants.
        """
        if self.phases == 1:
            return "constant"
        if self.schedule.failed or self.best is None:
            return "failed"
        if len(self.seeds) < ENOUGH:
            return "few seeds"
        if all(self.gain(arm).low > 0 for arm in self.constants):
            return "schedule"

        if self.gain(self._strongest, self._corrected).high < 0:
            return "constants"
        gap = self.selected
        if gap.low > 0 and gap.value > self.gain(self.best).high:
            return "selection"
        return "unclear"

    @property
    def _corrected(self) -> float:
        """Level of each interval with which those of all constants hold together (Bonferroni)."""
        return 1 - (1 - LEVEL) / max(1, len(self.constants))

    @property
    def _strongest(self) -> Arm:
        """The constants that are most clearly better than the schedule, or least clearly worse."""
        return min(self.constants, key=lambda arm: self.gain(arm, self._corrected).high)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        outcome = self.outcome
        if outcome == "constant":
            return (
                "The winner's schedule is constant: no schedule is left to compare with constants."
            )
        unknown = "The data do not show whether the schedule helped"
        if self.schedule.failed:
            failed = f"{self.schedule.failed} of {len(self.seeds)} models"
            return f"{unknown}: under the schedule alone, {failed} failed."
        if self.best is None:
            return f"{unknown}: models of all constants failed, so it is compared with nothing."

        if outcome == "few seeds":
            count = f"{len(self.seeds)} seed{'' if len(self.seeds) == 1 else 's'}"
            beside = self._beside(self.best)
            return f"{unknown}, with {count}: {beside}; a verdict needs {ENOUGH} seeds."
        if outcome == "schedule":
            beside = self._beside(self.best, LEVEL)
            return f"The schedule helped beyond all constants: {beside}." + self._beyond()
        if outcome == "constants":
            beside = self._beside(self._strongest, self._corrected)
            return f"The schedule did not help: {beside}." + self._beyond()

        beside = self._beside(self.best, LEVEL)
        open_words = f"{unknown}: {beside}, {self._doubt(self.gain(self.best))}."
        if outcome == "selection":
            return open_words + self._beyond()
        return f"{open_words} Nor do they show that the selection of weights did."

    def _beside(self, arm: Arm, level: float | None = None) -> str:
        """Return the difference between the schedule and constants in words, and what it rests on."""
        gain = self.gain(arm, level or LEVEL)
        words = (
            f"with fresh seeds, the validation {self.ranking.metric} of the schedule alone is "
            f"{self._amount(gain)} than with the constants of {arm.name}"
        )
        if level is None:
            return words
        percent = f"{100 * level:.3g} %"
        together = (
            "" if level == LEVEL else f", 95 % for all {len(self.constants)} constants together"
        )
        seeds = f"{len(self.seeds)} shared seeds"
        return f"{words} ({percent} interval {self._ends(gain)}, {seeds}{together})"

    def _doubt(self, gain: Interval) -> str:
        """Return why the difference from the best constants is no verdict."""
        if gain.low > 0:
            return "but other constants are not clearly worse"
        if gain.high < 0:
            return "which is not clear beside so many constants"
        return "but the interval includes zero"

    def _beyond(self) -> str:
        """Return a sentence on the winner beside its schedule, if it exceeds the spread over seeds."""
        gap = self.selected
        if not gap.low > 0:
            return ""
        return (
            f" The {self.ranking.metric} of the run's winner is {self._amount(gap)} than that of a model "
            "under its schedule alone, more than the spread over seeds: selection of weights explains that."
        )

    def _amount(self, interval: Interval) -> str:
        """Return the size and the direction of a difference, as the metric has it."""
        upwards = (interval.value >= 0) != self.ranking.minimize
        return f"{abs(interval.value):.{interval.decimals}f} {'higher' if upwards else 'lower'}"

    def _ends(self, interval: Interval) -> str:
        """Return the ends of an interval, in the direction that the amount states."""
        size = interval.size
        return f"{size.low:.{size.decimals}f} to {size.high:.{size.decimals}f}"

    def row(self) -> dict[str, Any]:
        """Return the ablation as JSON-able values; numbers that are not finite are None."""
        return {
            "outcome": self.outcome,
            "sentence": self.sentence,
            "metric": self.ranking.metric,
            "direction": self.ranking.direction,
            "seeds": list(self.seeds),
            "winner": self.ranking.shown(self.winner_score),
            "beyond_schedule": interval_row(self.selected),
            "run_steps": self.run_steps,
            "random_search_steps": self.search_steps,
            "model_steps": sum(sum(arm.steps) for arm in self.arms),
            "arms": [self._arm_row(arm) for arm in self.arms],
        }

    def _arm_row(self, arm: Arm) -> dict[str, Any]:
        row = arm.row(self.ranking)
        if arm is not self.schedule:
            row["schedule_better_by"] = interval_row(self.gain(arm))
            row["probability_of_improvement"] = interval_row(self.improvement(arm))
        return row
