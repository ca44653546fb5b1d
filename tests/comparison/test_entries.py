"""Strategies of a benchmark, as words."""

import pytest

from popgrad import UsageError
from popgrad.comparison.entries import folder_name, read_strategies


def test_settings_follow_the_name_after_colons() -> None:
    found = read_strategies("pbt, pbt:fraction=0.3:burn_in=2,pbt:factors=[0.5,2.0],random-search")
    assert list(found.values()) == [
        {"name": "pbt"},
        {"name": "pbt", "fraction": 0.3, "burn_in": 2},
        {"name": "pbt", "factors": [0.5, 2.0]},
        {"name": "random-search"},
    ]
    assert read_strategies(["pbt", "random-search"]).keys() == {"pbt", "random-search"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "got ''"),
        ([], "expected 1 to 50 names"),
        ([{"name": "pbt"}], "expected 1 to 50 names"),
        ("pbt,pbt:fraction=0.2", "pbt is given twice"),
        ("random-serch", "did you mean 'random-search'"),
        ("pbt:fraction", "expected settings as in pbt:NAME=VALUE"),
        ("pbt:", "expected settings as in pbt:NAME=VALUE"),
        ("pbt:name=schedule", "sets the name twice"),
        (["pbt"] * 51, "expected 1 to 50 names"),
    ],
)
def test_what_is_no_strategy_is_refused(given: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_strategies(given)  # type: ignore[arg-type]


def test_a_folder_is_named_after_its_strategy() -> None:
    assert folder_name("pbt:factors=[0.5,2.0]") == "pbt-factors=[0.5,2.0]"
    assert folder_name("../x") == "..-x"
