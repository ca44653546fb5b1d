"""Checks of settings that strategies share."""

import math

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.settings import check_between, check_count, check_factor_range, check_option


def test_values_in_range_are_returned_as_plain_numbers():
    assert [check_count("k", value, "members") for value in (0, np.int64(3))] == [0, 3]
    assert check_between("x", np.float64(0.5), 0, 1) == 0.5
    assert type(check_between("x", 1, 0, math.inf)) is float
    assert check_factor_range([1, 2]) == (1.0, 2.0)
    assert check_option("rule", "a", ("a", "b")) == "a"


@pytest.mark.parametrize("given", [-1, 1.0, True, "1", None])
def test_a_count_is_an_integer_of_at_least_its_bound(given):
    with pytest.raises(UsageError, match=r"^k: expected a number of members, 0 or more, got"):
        check_count("k", given, "members")


@pytest.mark.parametrize("given", [-0.1, 1.1, math.nan, "x", None, True])
def test_a_number_lies_between_its_bounds(given):
    with pytest.raises(UsageError, match=r"^x: expected a (finite )?number"):
        check_between("x", given, 0, 1)


@pytest.mark.parametrize("given", [1.5, [1.5], [2, 1], [0.5, 2], [1, math.inf], "12"])
def test_a_range_of_factors_is_two_numbers_in_order(given):
    with pytest.raises(UsageError, match=r"^factor_range: expected"):
        check_factor_range(given)


@pytest.mark.parametrize("given", ["c", 1, None, ["a"]])
def test_a_word_is_one_of_those_allowed(given):
    with pytest.raises(UsageError, match=r"^rule: expected 'a' or 'b', got"):
        check_option("rule", given, ("a", "b"))
