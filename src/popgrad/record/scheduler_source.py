"""Source of a PyTorch scheduler that repeats a schedule exactly, without popgrad."""

import math
from collections.abc import Sequence

from popgrad.record.schedule import Schedule

_TEMPLATE = '''\
# {title}
from bisect import bisect_right

from torch.optim.lr_scheduler import LRScheduler

# Training steps from which on the values hold.
STEPS = {steps}
VALUES = {{
{values}
}}


def value(name, step):
    """Return a hyperparameter of a training step, counted from 0."""
    return VALUES[name][bisect_right(STEPS, step) - 1]


class Schedule(LRScheduler):
    """Sets hyperparameters of an optimizer that its parameter groups have, such as the learning rate.

    Call step() after each training step. Read all others by value(name, step).
    """

    # Keys of the parameter groups, and the hyperparameter that each is set to.
    KEYS = {keys}

    def get_lr(self):
        for key, name in self.KEYS.items():
            for group in self.optimizer.param_groups:
                if key in group and key != "lr":
                    group[key] = value(name, self.last_epoch)
        if "lr" not in self.KEYS:
            return [group["lr"] for group in self.optimizer.param_groups]
        return [value(self.KEYS["lr"], self.last_epoch)] * len(self.optimizer.param_groups)
'''

_GROUP_KEYS = ("lr", "momentum", "weight_decay", "dampening", "eps")
"""Keys of parameter groups of torch's optimizers that hold one number."""

_WIDTH = 100


def scheduler_source(schedule: Schedule, title: str) -> str:
    r"""Return a module of Python with a scheduler of torch for a schedule.

    Args:
        schedule: The schedule.
        title: Text of its first line, such as the run that it is from.

    Example:
        >>> from popgrad import Schedule
        >>> text = "first_step,steps,lr\n0,100,0.1\n100,50,0.01\n"
        >>> source = scheduler_source(Schedule.from_csv(text), "an example")
        >>> names = {}
        >>> exec(source, names)
        >>> names["value"]("lr", 120)
        0.01
    """
    phases = schedule.merged().phases
    names = list(dict.fromkeys(name for phase in phases for name in phase.hparams))
    values = [
        f"    {name!a}: {_wrapped([_literal(phase.hparams.get(name)) for phase in phases], 4)},"
        for name in names
    ]
    rates = [name for name in names if _is_number(schedule, name)]
    keys = {key: key for key in _GROUP_KEYS if key in rates}
    if "lr" not in keys and "learning_rate" in rates:
        keys["lr"] = "learning_rate"
    return _TEMPLATE.format(
        title=ascii(title)[1:-1],
        steps=_wrapped([str(phase.first_step) for phase in phases], 0),
        values="\n".join(values),
        keys=ascii(keys),
    )


def _literal(value: object) -> str:
    """Return a value as Python code: names of a record can hold anything, hence ASCII."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return ascii(value)


def _is_number(schedule: Schedule, name: str) -> bool:
    """Return whether every value of a hyperparameter is a number."""
    values = [phase.hparams.get(name) for phase in schedule.phases]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _wrapped(items: Sequence[str], indent: int) -> str:
    """Return a list of Python on several lines, if it is long."""
    one = f"[{', '.join(items)}]"
    if len(one) + indent <= _WIDTH:
        return one
    lines = [""]
    for item in items:
        if len(lines[-1]) + len(item) + indent + 6 > _WIDTH:
            lines.append("")
        lines[-1] += f"{item}, "
    margin = " " * (indent + 4)
    body = "\n".join(f"{margin}{line.rstrip()}" for line in lines if line)
    return f"[\n{body}\n{' ' * indent}]"
