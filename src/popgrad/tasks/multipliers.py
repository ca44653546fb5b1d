"""Relation of the groups of an optimizer to a hyperparameter: which are written, and times what.

An optimizer function may give groups values of their own: a tenth of the rate for a backbone, no
weight decay for biases. What it was made with is kept.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.tasks.groups import BETAS, MISSING, default_values, get_option

_SCALED = ("lr", "weight_decay")
"""Options of which a group keeps its ratio to the others. Any other that a group has of its own stays."""


@dataclass(frozen=True)
class Reads:
    """Hyperparameters that the optimizer function of a task has read.

    Attributes:
        optimizer: Names that `optimizer` has read one by one.
        all_by_optimizer: Whether `optimizer` has read all of them at once, as `dict(hparams)` does.
        elsewhere: Names among these whose options hold another value, so that they are meant for
            something else, or something is computed from them.
    """

    optimizer: Collection[str] = ()
    all_by_optimizer: bool = False
    elsewhere: Collection[str] = ()


def multipliers(
    name: str, optimizer: Any, groups: Sequence[dict[str, Any]], key: str, reads: Reads
) -> list[float | None]:
    """Return a factor for each group in which a hyperparameter lives; None = it is not written.

    Args:
        name: Name of the hyperparameter.
        optimizer: Optimizer of the groups.
        groups: Groups that the name reaches, with the options that they were made with.
        key: Option of the groups.
        reads: Names that were read.

    Raises:
        UsageError: The ratios of the groups are unknown.
    """
    made = [get_option(group, key) for group in groups]
    if name in reads.elsewhere:
        return [None for _ in made]
    class_default, default = default_values(optimizer, key)
    if all(value == class_default for value in made):
        return [1.0 for _ in made]

    # The function has computed the options from the hyperparameter that is live now.
    differ = any(value != made[0] for value in made)
    if name in reads.optimizer or (reads.all_by_optimizer and differ):
        return [None for _ in made]
    if not differ:
        return [1.0 for _ in made]

    # A group that has the default takes the hyperparameter, so the others relate to the default.
    others = {value for value in made if value != default}
    known = default is not MISSING and default in made
    if known and key not in _SCALED:
        return [1.0 if value == default else None for value in made]
    if known and default:
        return [float(value / default) for value in made]
    if known and len(others) == 1:
        return [float(value != default) for value in made]
    raise _unknown_ratios(name, key, made)


def _unknown_ratios(name: str, key: str, made: Sequence[Any]) -> UsageError:
    values = ", ".join(repr(value) for value in made)
    option = "betas" if key in BETAS else key
    return UsageError(
        f"hyperparameter {name!r}: parameter groups were made with {option} {values}, none of them with the "
        f"optimizer's own value, so their ratio to it is unknown; compute them from hparams[{name!r}] in "
        "`optimizer`, or name the groups and search a value for each"
    )
