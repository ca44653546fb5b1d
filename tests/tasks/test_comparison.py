"""Comparison of states: equal bits, the first difference, and what comes back as something else."""

import collections
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from popgrad.tasks.comparison import difference, losses


@pytest.mark.parametrize(
    ("some", "other", "words"),
    [
        ({"w": 1.0}, {"w": 2.0}, "in state['w'] (1.0 and 2.0)"),
        ({"w": 1}, {"w": 1.0}, "in state['w'] (int and float)"),
        ({"w": 1}, {"v": 1}, "in state (keys 'v', 'w')"),
        ({"w": 1, "v": 1}, {"v": 1, "w": 1}, "in state (keys in another order)"),
        ([1, [2]], [1, [3]], "in state[1][0] (2 and 3)"),
        ([1], [1, 2], "in state (1 and 2 entries)"),
        (np.zeros(2), np.ones(2), "in state (up to 1)"),
        (torch.zeros(2), torch.zeros(3), "in state (float32 [2] and float32 [3])"),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "in state (1 of 2 entries)"),
        (torch.tensor([1.0]), torch.tensor([math.nan]), "in state (up to nan)"),
        (torch.zeros(0), torch.zeros(0).double(), "in state (float32 [0] and float64 [0])"),
        ([1.0, 1.0], [1.0 + 2**-52, 2.0], "in state[1] (1.0 and 2.0)"),
    ],
)
def test_the_largest_kind_of_difference_is_named(some: Any, other: Any, words: str) -> None:
    found = difference(some, other)
    assert str(found) == words
    assert found is not None
    assert not found.is_rounding(1e-5) or "order" in words


def test_equal_bits_are_no_difference() -> None:
    state = {"w": torch.tensor([math.nan]), "n": [np.arange(3), (None, "text", math.nan)]}
    assert difference(state, state) is None


def test_rounding_is_known() -> None:
    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    found = difference(x, x * (1 + 1e-6))
    assert found is not None
    assert found.is_rounding(1e-5)
    assert not found.is_rounding()
    complex_found = difference(x.to(torch.complex64), x.to(torch.complex64) + 1)
    assert complex_found is not None
    assert not complex_found.is_rounding(1e-5)


def test_what_comes_back_as_something_else_is_listed() -> None:
    Pair = collections.namedtuple("Pair", "a b")
    state = {"p": Pair(1, 2), "w": nn.Parameter(torch.zeros(1)), "o": collections.OrderedDict(x=1)}
    restored = {"p": (1, 2), "w": torch.zeros(1), "o": {"x": 1}}
    assert losses(state, restored) == (
        ": state['p'] comes back as a tuple, not a Pair, state['w'] comes back as a plain tensor that "
        "requires no gradient, state['o'] comes back as a dict, not a OrderedDict"
    )
    assert losses(restored, restored) == ""
