"""Figures as methods of one object: names, options, and pictures in a notebook."""

import pytest
from matplotlib.figure import Figure

import popgrad
from popgrad import Result, UsageError
from popgrad.runs.plot import PLOTS, Plot

pytestmark = pytest.mark.draws


@pytest.fixture(scope="module")
def result() -> Result:
    return popgrad.run(
        "quadratic", population=4, intervals=3, interval=2, executor="serial", progress=False
    )


@pytest.mark.parametrize("name", PLOTS)
def test_each_figure_is_a_picture_in_a_notebook(result: Result, name: str) -> None:
    figure = getattr(result.plot, name)()
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert isinstance(result.figure(name), Figure)


def test_the_names_are_those_of_the_methods(result: Result) -> None:
    assert repr(result.plot) == f"Plot: {', '.join(PLOTS)}"
    assert all(callable(getattr(Plot, name)) for name in PLOTS)
    with pytest.raises(UsageError, match=r"figure: expected schedule, .* did you mean 'lineage'"):
        result.figure("linage")


def test_options_choose_what_is_drawn(result: Result) -> None:
    one = result.plot.schedule(1, hparams=["h1"], size=(5, 4))
    assert [axes.get_ylabel() for axes in one.axes] == ["h1", "q"]
    labels = [text.get_text() for text in one.legends[0].get_texts()]
    assert labels[1] == "lineage of member 1" or result.record.winner.member == 1
    coloured = result.plot.lineage((0, 1), colour="h0")
    assert coloured.axes[1].get_ylabel() == "h0"
    with pytest.raises(UsageError, match="there is no hyperparameter 'h'"):
        result.plot.schedule(hparams=["h"])
    with pytest.raises(UsageError, match="no segment of member 0 in interval 9"):
        result.plot.lineage((0, 9))
