"""Tables of a comparison, as a terminal shows them."""

import io

import pytest
from rich.console import Console

from popgrad.comparison.comparison import compare_trials
from popgrad.comparison.tables import comparison_view
from popgrad.comparison.trial import Trial
from trials import trial, trials

PBT = [0.91, 0.93, 0.92, 0.95, 0.94]
SEARCH = [0.90, 0.91, 0.91, 0.93, 0.92]


def shown(given: list[Trial], *, every_run: bool = False, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(comparison_view(compare_trials(given), every_run=every_run))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_row_has_the_numbers_of_a_strategy_and_the_verdict_comes_last() -> None:
    text = shown(trials("pbt", PBT) + trials("random-search", SEARCH))
    row = next(line for line in text.splitlines() if line.strip().startswith("pbt "))
    assert row.split()[:4] == ["pbt", "5", "0.930", "[0.913,"]
    assert "random-search *" in text
    assert "400" in row
    assert "popgrad compare --test reads the test split" in text
    assert text.rstrip().splitlines()[-1].startswith("pbt helped: ")


def test_the_test_scores_have_a_column_if_they_are_on_record() -> None:
    text = shown(trials("pbt", PBT, test=0.8) + trials("random-search", SEARCH, test=0.7))
    assert "test accuracy" in text
    assert "--test" not in text


def test_runs_that_do_not_count_and_unequal_budgets_are_noted() -> None:
    given = [
        *trials("pbt", PBT),
        trial("pbt", 5, finished=False),
        trial("pbt", 6, float("nan")),
        trial("pbt", 7, float("nan")),
        *trials("random-search", SEARCH, steps=300),
    ]
    text = shown(given)
    assert "pbt: 1 run not finished, and not counted yet" in text
    assert "pbt: 2 runs without a winner, since all members failed" in text
    assert "different numbers of member-steps" in text


def test_every_run_is_listed_on_request() -> None:
    given = trials("pbt", PBT) + trials("random-search", SEARCH)
    assert "/runs/digits/pbt/3" not in shown(given)
    assert "/runs/digits/pbt/3" in shown(given, every_run=True)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_narrow_terminal_gets_fewer_columns_and_the_whole_verdict(width: int) -> None:
    text = shown(trials("pbt", PBT) + trials("random-search", SEARCH), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "5 shared seeds" in " ".join(text.split())


def test_single_runs_have_no_interval_and_no_probability() -> None:
    text = shown([trial(), trial("random-search", winner=0.8)])
    (row,) = [line for line in text.splitlines() if line.strip().startswith("pbt ")]
    assert row.split()[:3] == ["pbt", "1", "0.9000"]
    assert "[" not in row
    assert "1 seed cannot show whether pbt helps" in text


def test_a_single_strategy_has_nothing_to_be_compared_with() -> None:
    assert "nothing to compare it with" in shown(trials("pbt", PBT))
