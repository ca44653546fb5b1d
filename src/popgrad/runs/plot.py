"""Figures of a run, as methods of one small object; needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.core.spelling import did_you_mean
from popgrad.record.record import Record

if TYPE_CHECKING:  # matplotlib takes its time to load
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS = ("schedule", "lineage", "results", "founders", "scores", "timeline")
"""Names of the figures."""


@dataclass(frozen=True, repr=False)
class Plot:
    """Figures of a run: `result.plot`.

    Each method returns a `matplotlib.figure.Figure`, which a notebook shows as it is, and which can
    be styled and saved. Sizes are width and height in inches. Figures with one panel can be drawn on
    axes of your own. Colours of text and background follow matplotlib's style.

    Attributes:
        record: Record of the run.
        telemetry: Clock times and training curves by segment.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("quadratic", population=4, intervals=3, executor="serial")
        >>> result.plot
        Plot: schedule, lineage, results, founders, scores, timeline
        >>> result.plot.lineage(colour="h0", size=(7, 3)).savefig("lineage.svg")
    """

    record: Record
    telemetry: Mapping[SegmentId, Telemetry]

    def __repr__(self) -> str:
        """Return the names of the figures."""
        return f"Plot: {', '.join(PLOTS)}"

    def draw(self, name: str) -> "Figure":
        """Return a figure by its name.

        Args:
            name: Name of a method: "schedule", "lineage", "results", "founders", "scores" or
                "timeline".

        Raises:
            UsageError: There is no such figure, or nothing to draw yet.
            AllMembersFailedError: There is no winner.
        """
        if name not in PLOTS:
            similar = did_you_mean(name, PLOTS)
            raise UsageError(f"figure: expected {', '.join(PLOTS)}, got {name!r}{similar}")
        figure: Figure = getattr(self, name)()
        return figure

    def schedule(
        self,
        member: int | SegmentId | None = None,
        *,
        hparams: Sequence[str] | None = None,
        size: tuple[float, float] | None = None,
    ) -> "Figure":
        """Draw the schedule of a lineage among all others: a panel for each hyperparameter, the score below.

        Args:
            member: Member, or (member, interval), at the end of the lineage; None = the winner.
            hparams: Hyperparameters to draw; None = all that were searched.
            size: Width and height in inches; None = as the number of panels suggests.

        Raises:
            UsageError: There is no segment, or no such member or hyperparameter.
            AllMembersFailedError: There is no winner.
        """
        from popgrad.reports import figures

        figure = figures.schedule(
            self.record, self.telemetry, leaf=member, names=hparams, size=size
        )
        return figures.shown_in_notebooks(figure)

    def lineage(
        self,
        member: int | SegmentId | None = None,
        *,
        colour: str | None = None,
        axes: "Axes | None" = None,
        size: tuple[float, float] | None = None,
    ) -> "Figure":
        """Draw the family tree: a row for each member, a bar for each segment, curves for copies.

        More than 200 members are a heat map.

        Args:
            member: Member, or (member, interval), whose lineage is framed; None = the winner.
            colour: Hyperparameter that the bars show; None = the metric that ranks.
            axes: Axes to draw on; None = those of a new figure.
            size: Width and height in inches; None = as the number of members suggests.

        Raises:
            UsageError: There is no segment, or no such member or hyperparameter.
            AllMembersFailedError: There is no winner.
        """
        from popgrad.reports import figures

        figure = figures.lineage(self.record, member, colour=colour, axes=axes, size=size)
        return figures.shown_in_notebooks(figure) if axes is None else figure

    def results(self, *, size: tuple[float, float] | None = None) -> "Figure":
        """Draw the region that was searched: every segment, the winner as a star.

        Args:
            size: Width and height in inches; None = as the number of panels suggests.

        Raises:
            UsageError: There is no segment.
        """
        from popgrad.reports import figures

        return figures.shown_in_notebooks(figures.results(self.record, size))

    def founders(
        self, *, axes: "Axes | None" = None, size: tuple[float, float] | None = None
    ) -> "Figure":
        """Draw the diversity: shares by founder, their effective number, spread of the hyperparameters.

        A line in words is above it if the diversity has collapsed.

        Args:
            axes: Axes to draw the shares alone on; None = all panels in a new figure.
            size: Width and height in inches; None = 9 x 7.6.

        Raises:
            UsageError: There is no segment.
        """
        from popgrad.reports import figures

        figure = figures.founders(self.record, axes=axes, size=size)
        return figures.shown_in_notebooks(figure) if axes is None else figure

    def scores(
        self,
        member: int | SegmentId | None = None,
        *,
        axes: "Axes | None" = None,
        size: tuple[float, float] | None = None,
    ) -> "Figure":
        """Draw the scores of all members, the best and the median, and the ancestry of the winner.

        Args:
            member: Member, or (member, interval), whose ancestry is drawn; None = the winner.
            axes: Axes to draw on; None = those of a new figure.
            size: Width and height in inches; None = 8 x 5.

        Raises:
            UsageError: There is no segment, or no such member.
            AllMembersFailedError: There is no winner.
        """
        from popgrad.reports import figures

        figure = figures.scores(self.record, member, axes=axes, size=size)
        return figures.shown_in_notebooks(figure) if axes is None else figure

    def timeline(
        self, *, axes: "Axes | None" = None, size: tuple[float, float] | None = None
    ) -> "Figure":
        """Draw workers against the clock: what each trained, and how long it waited.

        Args:
            axes: Axes to draw on; None = those of a new figure.
            size: Width and height in inches; None = as the number of workers suggests.

        Raises:
            UsageError: There is no segment, or no clock time of any.
        """
        from popgrad.reports import figures

        figure = figures.timeline(self.record, self.telemetry, axes=axes, size=size)
        return figures.shown_in_notebooks(figure) if axes is None else figure
