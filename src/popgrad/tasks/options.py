"""Options of factories of tasks: those that several share, and their listing in a signature."""

import dataclasses
import inspect
import math
import re
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from popgrad.core.errors import UsageError

Factory = TypeVar("Factory", bound=Callable[..., Any])

_LARGEST = 65_536
"""Largest width of a layer and side of an image: larger ones are slips, and would fill the memory."""

_LAYERS = 100
"""Most layers of a built-in network."""


_LIMITS = {
    "lr": (0, math.inf),
    "keep_prob": (0, 1),
    "weight_decay": (0, math.inf),
    "batch_size": (1, 2**31),
    "height": (1, _LARGEST),
    "width": (1, _LARGEST),
    "num_channels": (1, _LARGEST),
    "num_classes": (1, _LARGEST),
    "validation": (1, math.inf),
}
"""Smallest and largest value of each number."""


def check_widths(name: str, widths: Sequence[int]) -> None:
    """Refuse widths of layers that no network has.

    Args:
        name: Name of the option.
        widths: Width of each layer.

    Raises:
        UsageError: There are too many layers, or a width is out of range.
    """
    wrong = [width for width in widths if not 1 <= width <= _LARGEST]
    if wrong or len(widths) > _LAYERS:
        given = f"the width {wrong[0]}" if wrong else f"{len(widths)} layers"
        raise UsageError(
            f"{name}: expected at most {_LAYERS} layers, each of width 1 to {_LARGEST:,}, got {given}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options of a classifier of images.

    A hyperparameter "batch_size" or "batch_norm" that is added to the space replaces the option of
    its name; batch_norm has to be init-only.

    Attributes:
        batch_norm: Whether batch normalisation follows each hidden layer.
        lr: Adam's learning rate, fixed; None = searched, log-uniform in 1e-4..1e-1.
        keep_prob: 1 - dropout probability, fixed; None = searched, uniform in 0.5..1.
        weight_decay: Adam's L2 penalty.
        batch_size: Samples per step.
        dataset: "mnist" or "fashion-mnist": folder of the data, and the mean and standard deviation
            of its pixels. The folder may hold images of your own.
        height: Height of an image in pixels; 28 unless the images are your own.
        width: Width of an image in pixels; 28 unless the images are your own.
        num_channels: Channels of an image: 1 = grey, 3 = colour.
        num_classes: Number of classes; labels are 0 to num_classes - 1.
        data_dir: Directory of the data; None = POPGRAD_DATA, else the user's cache directory.
        validation: Number of training samples held out for validation, if the data has no val/
            folder; None = a twelfth of them, at most 5,000 and at least one for each class.
        split_seed: Seed that selects the samples held out.
        metric: Metric that ranks, higher is better: a name in `popgrad.metrics.METRICS`, or a
            function of your own, (outputs, targets) -> number, as "module:function" or
            "file.py:function"; with "-" before it if lower is better, such as "-loss",
            or "+" to maximise what is called a loss.
        shuffle: Whether each epoch has its own order; else the data keeps its order.
        crop: Whether each training image is shifted by up to `crop_shift` pixels each way, over
            black.
        crop_shift: Largest shift in pixels, at least 0; no effect without `crop`.
        hflip: Whether each training image is mirrored left and right with probability 1/2.
        vflip: Whether each training image is mirrored top and bottom with probability 1/2.
    """

    batch_norm: bool = True
    lr: float | None = None
    keep_prob: float | None = None
    weight_decay: float = 1e-5
    batch_size: int = 200
    dataset: str = "mnist"
    height: int = 28
    width: int = 28
    num_channels: int = 1
    num_classes: int = 10
    data_dir: str | None = None
    validation: int | None = None
    split_seed: int = 0
    metric: str = "accuracy"
    shuffle: bool = True
    crop: bool = False
    crop_shift: int = 0
    hflip: bool = False
    vflip: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                limits = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:,}"
                raise UsageError(f"{name}: expected {limits}, got {value!r:.100}")


def list_options(options: type) -> Callable[[Factory], Factory]:
    """Return a decorator that lists the options behind the `**options` of a factory.

    The factory then has the signature, annotations and docstring of one that declares each option
    itself, as `inspect.signature`, `typing.get_type_hints` and `help` show.

    Args:
        options: Keyword-only dataclass whose docstring ends with its `Attributes:`. The factory
            passes its `**options` to it, and its own docstring ends with its `Args:`.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Options:
        ...     '''Options of a network.
        ...
        ...     Attributes:
        ...         lr: Learning rate.
        ...     '''
        ...
        ...     lr: float = 0.1
        >>> @list_options(Options)
        ... def network(*, width: int = 8, **options: Any) -> str:
        ...     '''Return a network.
        ...
        ...     Args:
        ...         width: Width of each layer.
        ...         **options: Fields of `Options`.
        ...     '''
        ...     return f"{width} {Options(**options).lr}"
        >>> inspect.signature(network)
        <Signature (*, width: int = 8, lr: float = 0.1) -> str>
        >>> network(lr=0.5)
        '8 0.5'
    """

    def decorate(factory: Factory) -> Factory:
        signature = inspect.signature(factory)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        shared = inspect.signature(options).parameters
        signature = signature.replace(parameters=[*own, *shared.values()])

        hints = typing.get_type_hints(factory)
        annotations = {name: hints[name] for name in hints if name in signature.parameters}
        annotations.update(typing.get_type_hints(options))

        factory.__signature__ = signature  # type: ignore[attr-defined]
        factory.__annotations__ = {**annotations, "return": hints["return"]}
        factory.__doc__ = _with_attributes(factory.__doc__, options.__doc__)
        return factory

    return decorate


def _with_attributes(factory_doc: str | None, options_doc: str | None) -> str | None:
    """Return the docstring of a factory with the entries of its options in place of `**options`."""
    if factory_doc is None or options_doc is None:  # python -OO removes docstrings
        return None
    attributes = inspect.cleandoc(options_doc).partition("Attributes:\n")[2]
    arguments = re.sub(r"\n    \*\*options: .*", "", inspect.cleandoc(factory_doc), flags=re.S)
    return f"{arguments}\n{attributes}"
