"""Tasks, the training of one member. `TASKS` holds the built-in ones by name."""

from collections.abc import Callable, Mapping

from popgrad.tasks.base import Context, Split, Task
from popgrad.tasks.digits import digits
from popgrad.tasks.mnist import mnist_conv, mnist_fc
from popgrad.tasks.torch_task import TorchTask
from popgrad.tasks.toy_schedules import ToyDrifting, ToyPlain, ToyTimeLinked, ToyTriangle
from popgrad.tasks.toys import Quadratic

TASKS: Mapping[str, Callable[..., Task]] = {
    "digits": digits,
    "mnist-fc": mnist_fc,
    "mnist-conv": mnist_conv,
    "quadratic": Quadratic,
    "toy-plain": ToyPlain,
    "toy-time-linked": ToyTimeLinked,
    "toy-drifting": ToyDrifting,
    "toy-triangle": ToyTriangle,
}
"""Factories of the built-in tasks, by the names that a configuration uses."""

__all__ = [
    "TASKS",
    "Context",
    "Quadratic",
    "Split",
    "Task",
    "TorchTask",
    "ToyDrifting",
    "ToyPlain",
    "ToyTimeLinked",
    "ToyTriangle",
    "digits",
    "mnist_conv",
    "mnist_fc",
]
