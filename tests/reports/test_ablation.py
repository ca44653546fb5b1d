"""The figure of an ablation shows every model, and the difference with its interval."""

import numpy as np
import pytest

from popgrad.core.score import Score
from popgrad.record.ablation import Ablation
from popgrad.record.arm import Arm
from popgrad.reports.ablation import figure


def ablation(metric: str = "acc", broken: float = 0.7) -> Ablation:
    arms = (
        Arm("schedule", "", {}, (0.9, 0.8, 0.85)),
        Arm("final values, mean values", "", {}, (0.7, 0.75, broken)),
    )
    return Ablation(arms, (1, 2, 3), Score.parse(metric), 0.95, 100, 3)


def numbers(line: object) -> list[float]:
    return [round(float(value), 6) for value in np.atleast_1d(line.get_xdata())]  # type: ignore[attr-defined]


def test_it_has_a_mark_for_each_model_and_a_line_for_the_winner() -> None:
    left, right = figure(ablation()).axes
    drawn = [numbers(line) for line in left.lines]
    assert [0.9, 0.8, 0.85] in drawn
    assert [0.7, 0.75, 0.7] in drawn
    assert [0.95, 0.95] in drawn
    assert [0.133333] in [numbers(line) for line in right.lines]
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "final values,\nmean values",
        "schedule",
    ]


def test_a_loss_is_drawn_as_it_was_evaluated() -> None:
    left, right = figure(ablation("-loss")).axes
    assert [-0.9, -0.8, -0.85] in [numbers(line) for line in left.lines]
    assert [-0.133333] in [numbers(line) for line in right.lines]
    assert "lower is better" in left.get_xlabel()


def test_models_that_failed_are_a_note() -> None:
    left, right = figure(ablation(broken=float("nan"))).axes
    assert [text.get_text() for text in left.texts] == ["1 of 3 failed"]
    assert [0.7, 0.75] in [numbers(line) for line in left.lines]
    assert len(right.lines) == 1  # zero alone


@pytest.mark.parametrize("seeds", [1, 5])
def test_equal_scores_and_a_single_seed_can_be_drawn(seeds: int) -> None:
    arms = tuple(Arm(name, "", {}, (0.5,) * seeds) for name in ("schedule", "final values"))
    found = Ablation(arms, tuple(range(seeds)), Score.parse("acc"), 0.5, 100, 3)
    assert len(figure(found).axes) == 2
