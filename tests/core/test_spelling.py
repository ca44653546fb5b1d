"""Suggestions for misspelt names: the nearest known one, and none where nothing is near."""

import pytest

from popgrad.core.spelling import closest, did_you_mean

KEYS = ("population", "intervals", "interval", "fraction", "max_time", "resample_probability")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("interals", "intervals"),
        ("fractoin", "fraction"),
        ("max-time", "max_time"),
        ("MAX_TIME", "max_time"),
        ("pop", "population"),
        ("resample", "resample_probability"),
        ("mutation", None),
        ("lr", None),
        ("", None),
        (3, None),
        (None, None),
        (["interals"], None),
    ],
)
def test_the_nearest_name_is_suggested_if_it_is_near(name: object, meant: str | None) -> None:
    assert closest(name, KEYS) == meant


def test_a_suggestion_ends_a_message() -> None:
    assert did_you_mean("interals", KEYS) == "; did you mean 'intervals'?"
    assert did_you_mean("xyz", KEYS) == ""
    assert did_you_mean("xyz", []) == ""
