"""ComparisonDisplay, a plot of the scores of methods and of their differences."""

import warnings

import numpy as np

from skmot.inspection._drawing import (
    CHANCE,
    COLUMN_WIDTH,
    FOUND,
    check_result,
    drawing,
    shorten,
)

_PAIR = "source", "target", "method", "direction"
_METHODS = "summary", "differences", "rows"
# Height of a method in inches, and of the rest.
_ROW, _REST = 0.28, 0.9


class ComparisonDisplay:
    """Plot of the scores of several methods, and of their differences from one.

    In the left panel each dot is a pair of networks, and a line joins the dots of the
    same pair. Diamonds are means over pairs. In the right panel are the differences
    from the reference method, with the confidence interval of the mean difference over
    networks, or of each pair over stimuli. Use :meth:`from_result` to create a display.

    Parameters
    ----------
    scores : list of dict
        Scores of the pairs, with the keys "source", "target", "method" and "mean".
    differences : list of dict
        Mean differences from the reference, with the keys "method", "difference",
        "low", "high" and "p_corrected". Empty for `over="stimuli"`.
    pair_differences : list of dict
        Differences of the pairs, with the keys "source", "target", "method",
        "difference", "low" and "high".
    reference : str
        Method that the others are compared with.
    over : {"networks", "stimuli"}, default="networks"
        What the intervals are over.
    direction : {"target", "source", "cost"}, default="target"
        What the scores are.
    conclusion : str, default=""
        What the differences show and do not show. It is kept for the caption, and not
        drawn.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (2,)
        Axes of the scores and of the differences.
    figure_ : matplotlib Figure
        Figure of the plot.
    lines_ : list of matplotlib Line2D
        Scores of each pair.
    pair_dots_ : matplotlib Line2D
        Differences of all pairs.
    means_ : list of matplotlib Line2D
        Means over pairs of the scores and of the differences.
    intervals_ : list of matplotlib artist
        Confidence intervals that are known.
    methods_ : list of str
        Methods from top to bottom.

    See Also
    --------
    skmot.model_selection.compare : Computes the scores.
    skmot.model_selection.Comparison.differences : Computes the differences.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.inspection import ComparisonDisplay
    >>> from skmot.model_selection import compare
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.normal(size=(60, 4))
    >>> def draw(n_units):
    ...     own = rng.normal(size=(60, n_units))
    ...     units = shared @ rng.normal(size=(4, n_units)) + own
    ...     return units * rng.exponential(size=n_units)
    >>> sources = {name: draw(12) for name in "abcd"}
    >>> targets = {name: draw(8) for name in "vwxyz"}
    >>> methods = {"plain": SoftMatching(), "raw": SoftMatching(reconstruct="raw")}
    >>> comparison = compare(
    ...     sources, targets, methods, cv=2, random_state=0, verbose=False
    ... )
    >>> display = ComparisonDisplay.from_result(comparison, "raw")
    >>> display.methods_, len(display.pair_differences), len(display.differences)
    (['plain', 'raw'], 20, 1)
    """

    def __init__(
        self,
        scores,
        differences,
        pair_differences,
        *,
        reference,
        over="networks",
        direction="target",
        conclusion="",
    ):
        self.scores = scores
        self.differences = differences
        self.pair_differences = pair_differences
        self.reference = reference
        self.over = over
        self.direction = direction
        self.conclusion = conclusion

    @classmethod
    def from_result(
        cls,
        comparison,
        reference,
        *,
        over="networks",
        direction="target",
        confidence_level=0.95,
        axes=None,
    ):
        """Plot the scores and the differences of a comparison.

        Parameters
        ----------
        comparison : Comparison
            What :func:`skmot.model_selection.compare` returns.
        reference : str
            Method that the others are compared with.
        over : {"networks", "stimuli"}, default="networks"
            What the intervals are over, see
            :meth:`skmot.model_selection.Comparison.differences`.
        direction : {"target", "source", "cost"}, default="target"
            What to draw.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        axes : sequence of two matplotlib Axes, default=None
            Axes of the scores and of the differences. None creates a figure.

        Returns
        -------
        display : ComparisonDisplay
            Display that stores the plotted values.

        Raises
        ------
        TypeError
            If `comparison` is no comparison.
        ValueError
            If there are no scores of this direction, or
            :meth:`skmot.model_selection.Comparison.differences` raises it.
        """
        check_result(comparison, _METHODS, "compare")
        scores = [
            row for row in comparison.summary(_PAIR) if row["direction"] == direction
        ]
        if not scores:
            known = sorted({row["direction"] for row in comparison.rows})
            raise ValueError(f"`direction` must be one of {known}; got {direction!r}.")
        result = comparison.differences(
            reference, over, confidence_level=confidence_level
        )
        pairs, means = result, []
        if over == "networks":
            means = [row for row in result if row["direction"] == direction]
            with warnings.catch_warnings():
                # They were raised by the call above.
                warnings.simplefilter("ignore", UserWarning)
                pairs = comparison.differences(
                    reference, "stimuli", confidence_level=confidence_level
                )
        return cls(
            scores,
            means,
            [row for row in pairs if row["direction"] == direction],
            reference=reference,
            over=over,
            direction=direction,
            conclusion=result.conclusion,
        ).plot(axes)

    def plot(self, axes=None):
        """Plot the scores and the differences.

        Parameters
        ----------
        axes : sequence of two matplotlib Axes, default=None
            Axes of the scores and of the differences. None creates a figure.

        Returns
        -------
        display : ComparisonDisplay
            The object itself.

        Raises
        ------
        ValueError
            If the number of axes is not two.
        """
        self.methods_ = list(dict.fromkeys(row["method"] for row in self.scores))
        height = _REST + _ROW * len(self.methods_)
        with drawing(axes, (1.6 * COLUMN_WIDTH, height), n_panels=2) as axes:
            self.axes_, self.figure_ = axes, axes[0].figure
            self.lines_, self.means_, self.intervals_ = [], [], []
            self._draw_scores(axes[0])
            self._draw_differences(axes[1])
            places = range(len(self.methods_))
            for ax in axes:
                ax.set_ylim(len(self.methods_) - 0.5, -0.5)
                ax.set_yticks(places, [""] * len(self.methods_))
            axes[0].set_yticks(places, [shorten(name) for name in self.methods_])
        return self

    def _draw_scores(self, ax):
        pairs = {}
        for row in self.scores:
            place = self.methods_.index(row["method"])
            pairs.setdefault((row["source"], row["target"]), []).append(
                (row["mean"], place)
            )
        for points in pairs.values():
            (line,) = ax.plot(
                *zip(*sorted(points, key=lambda point: point[1]), strict=True),
                color=CHANCE,
                linewidth=0.8,
                marker="o",
                markersize=3,
                markerfacecolor="0.45",
                markeredgewidth=0,
            )
            self.lines_.append(line)
        self._draw_means(ax, self.scores, "mean")
        ax.set_xlabel(
            "held-out cost"
            if self.direction == "cost"
            else f"held-out correlation of the {self.direction}"
        )

    def _draw_means(self, ax, rows, column):
        """Draw the mean over pairs of each method."""
        found = {}
        for row in rows:
            found.setdefault(self.methods_.index(row["method"]), []).append(row[column])
        (line,) = ax.plot(
            [np.mean(values) for values in found.values()],
            list(found),
            linestyle="",
            marker="D",
            markersize=5,
            color=FOUND,
            zorder=4,
        )
        self.means_.append(line)

    def _draw_differences(self, ax):
        ax.axvline(0, color="black", linewidth=0.8, linestyle=":")
        shifts = _shifts(self.pair_differences, len(self.lines_))
        places = [
            self.methods_.index(row["method"]) + shift
            for row, shift in zip(self.pair_differences, shifts, strict=True)
        ]
        (self.pair_dots_,) = ax.plot(
            [row["difference"] for row in self.pair_differences],
            places,
            linestyle="",
            marker="o",
            markersize=3,
            color="0.45",
            markeredgewidth=0,
        )
        if self.over == "stimuli":
            for row, place in zip(self.pair_differences, places, strict=True):
                self._draw_interval(ax, row, place, "0.45", 0.8)
        for row in self.differences:
            place = self.methods_.index(row["method"])
            self._draw_interval(ax, row, place, FOUND, 2)
            if not np.isnan(row["p_corrected"]):
                ax.annotate(
                    f"p = {row['p_corrected']:.2g}",
                    (1, place),
                    xycoords=("axes fraction", "data"),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize="small",
                )
        if self.differences:
            self._draw_means(ax, self.differences, "difference")
        place = self.methods_.index(self.reference)
        ax.annotate(
            "reference",
            (0, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
        ax.set_xlabel(f"difference from {shorten(self.reference)}")

    def _draw_interval(self, ax, row, place, colour, width):
        # Costs have no interval over stimuli, and few networks none over networks.
        if not np.isnan(row["low"]):
            self.intervals_.append(
                ax.hlines(
                    place, row["low"], row["high"], colors=colour, linewidths=width
                )
            )


def _shifts(rows, n_pairs):
    """Return a small shift for each pair of a method, so that intervals do not overlap.

    The pairs of a method fill the middle 60 % of its row.
    """
    counts, shifts = {}, []
    for row in rows:
        index = counts.get(row["method"], 0)
        counts[row["method"]] = index + 1
        shifts.append(0.6 * ((index + 0.5) / n_pairs - 0.5))
    return shifts
