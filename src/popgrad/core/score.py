"""The metric that ranks, and its direction: read from a name, checked, ranked, and shown.

Selection, strategies and the record know one number, the score, and higher is better. A metric of
which lower is better is its negative. Only this module knows the sign.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from popgrad.core.errors import UsageError

# Words in the name of a metric of which lower is better; those of the second set are never negative.
_LOWER = {
    *("loss", "losses", "logloss", "nll", "bce", "crossentropy", "perplexity", "ppl", "bpc", "bpb"),
    *("regret", "cost", "costs", "divergence", "brier", "ece"),
}
_NEVER_NEGATIVE = {
    *("error", "errors", "err", "mse", "rmse", "mae", "mape", "smape", "msle", "rmsle"),
    *("wer", "cer", "eer", "fid", "kid", "perplexity", "ppl", "brier", "ece"),
}
# Words that turn the direction: "neg_mse", "error_reduction".
_TURNING = {
    *("neg", "negative", "minus", "inv", "inverse", "free", "profit", "avoided"),
    *("reduction", "improvement", "decrease", "saving", "savings", "saved"),
}
_ENDINGS = ("loss", "error", "perplexity")


@dataclass(frozen=True)
class Score:
    """The metric that ranks, with its direction.

    Attributes:
        metric: Name of the metric, as the task evaluates it.
        minimize: Whether lower is better.

    Example:
        >>> score = Score.parse("-loss")
        >>> score.rank(0.25), score.shown(-0.25), score.label
        (-0.25, 0.25, 'loss (lower is better)')
        >>> Score.parse("accuracy")
        Score(metric='accuracy', minimize=False)
    """

    metric: str
    minimize: bool = False

    @classmethod
    def parse(cls, text: str) -> "Score":
        """Return the score that a string names: "accuracy", "-loss" (lower is better) or "+loss".

        A name after "+" is maximised, whatever it is called.
        """
        sign = text[:1] if text[:1] in ("-", "+") else ""
        return cls(text.removeprefix(sign), sign == "-")

    @property
    def text(self) -> str:
        """String that `parse` reads, without a "+"."""
        return f"-{self.metric}" if self.minimize else self.metric

    @property
    def direction(self) -> str:
        """Direction as a word: "minimize" or "maximize"."""
        return "minimize" if self.minimize else "maximize"

    @property
    def label(self) -> str:
        """Name for headings and axes, with the direction if lower is better."""
        return f"{self.metric} (lower is better)" if self.minimize else self.metric

    @property
    def heading(self) -> str:
        """Name for the heading of a column: "loss ↓" if lower is better."""
        return f"{self.metric} ↓" if self.minimize else self.metric

    def rank(self, value: float) -> float:
        """Return the score of a value of the metric: higher is better."""
        return -value if self.minimize else value

    def shown(self, score: float) -> float:
        """Return the value of the metric that has a score, for people to read."""
        # Zero has a sign, which no reader expects.
        return -score + 0.0 if self.minimize else score

    def words(self, score: float) -> str:
        """Return the metric and its value for people to read, such as "loss 0.25 (lower is better)"."""
        note = " (lower is better)" if self.minimize else ""
        return f"{self.metric} {self.shown(score):.4g}{note}"

    def target(self, value: float | None) -> float | None:
        """Return the score at which a target is reached.

        Args:
            value: Target, a value of the metric; None = no target.

        Raises:
            UsageError: The target is negative, but the metric never is.
        """
        if value is None:
            return None
        if self.minimize and value < 0 and _words(self.metric) & _NEVER_NEGATIVE:
            raise UsageError(
                f"target_score: got {value:g}, but {self.metric} is minimised and never negative; "
                f"expected its own value, such as {-value:g}: the run stops once it is that low"
            )
        return self.rank(value)


def named_score(score: str | None, minimize: str | None, where: str = "") -> str | None:
    """Return the string for `Score.parse` of two settings, of which at most one is set.

    Args:
        score: Metric to maximise, or its name after "-" to minimise it; None = not set.
        minimize: Metric to minimise; None = not set.
        where: Beginning of a message, such as "task: ".

    Raises:
        UsageError: Both are set and differ, or one is not the name of a metric.
    """
    for key, name in (("score", score), ("minimize", minimize)):
        signed = key == "score"
        if name is not None and (not isinstance(name, str) or not name.lstrip("+-" * signed)):
            raise UsageError(f"{where}{key}: expected the name of a metric, got {name!r}")

    if minimize is None:
        return score
    if minimize[0] in "+-":
        raise UsageError(
            f"{where}minimize: expected the name of a metric without a sign, got {minimize!r}; "
            f"minimize={minimize[1:]!r} ranks by its lowest value"
        )
    if score not in (None, f"-{minimize}"):
        raise UsageError(
            f"{where}score, minimize: got {score!r} and {minimize!r}, but one metric ranks; leave one out"
        )
    return f"-{minimize}"


def check_direction(text: str) -> None:
    """Refuse to maximise a metric that is called a loss or an error.

    Args:
        text: String for `Score.parse`; one with a sign is accepted, as its direction is explicit.

    Raises:
        UsageError: Lower is better, by the name of the metric, and it would be maximised.
    """
    if not text.startswith(("-", "+")) and lower_is_better(text):
        raise UsageError(
            f"score: {text!r} would be maximised, but lower is better, by its name; give "
            f'minimize="{text}" in place of score="{text}", or score="+{text}" to maximise it all the same'
        )


def parse_objectives(given: object) -> tuple[Score, ...]:
    """Return the objectives that strings name, as `Score.parse` reads them.

    Args:
        given: Strings such as ["accuracy", "-params"], each of another metric.

    Raises:
        UsageError: It is not a list of names, two are of one metric, or one of which lower is better,
            by its name, would be maximised.

    Example:
        >>> [objective.label for objective in parse_objectives(["accuracy", "-params"])]
        ['accuracy', 'params (lower is better)']
    """
    expected = 'objectives: expected names of metrics such as ["accuracy", "-params"]'
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UsageError(f"{expected}, got {given!r}")

    objectives: list[Score] = []
    for text in given:
        if not isinstance(text, str) or not text.lstrip("+-"):
            raise UsageError(f"{expected}, got {text!r} among them")
        objective = Score.parse(text)
        if text[0] not in "+-" and lower_is_better(text):
            raise UsageError(
                f"objectives: {text!r} would be maximised, but lower is better, by its name; give "
                f'"-{text}", or "+{text}" to maximise it all the same'
            )
        if any(objective.metric == other.metric for other in objectives):
            raise UsageError(
                f"objectives: expected each metric once, got {objective.metric!r} twice"
            )
        objectives.append(objective)
    return tuple(objectives)


def lower_is_better(name: str) -> bool:
    """Return whether a metric's name states a loss, an error or the like, such as "val_loss" or "testMSE".

    Example:
        >>> [lower_is_better(name) for name in ("val_loss", "testMSE", "lossless", "neg_mse", "accuracy")]
        [True, True, False, False, False]
    """
    words = _words(name)
    named = bool(words & (_LOWER | _NEVER_NEGATIVE)) or {"cross", "entropy"} <= words
    return (named or any(word.endswith(_ENDINGS) for word in words)) and not words & _TURNING


def _words(name: str) -> set[str]:
    """Return the words of a name in lower case: "valLoss_2" is {"val", "loss"}."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return set(re.findall(r"[a-z]+", spaced.lower()))
