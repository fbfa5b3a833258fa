"""MassCurveDisplay, a plot of held-out similarity by matched mass."""

import numpy as np

from skmot.inspection._drawing import (
    CHANCE,
    FOUND,
    MIDDLE,
    STYLES,
    add_legend,
)
from skmot.inspection._result import ResultDisplay


class MassCurveDisplay(ResultDisplay):
    """Plot of the held-out similarity by the share of the units that is matched.

    The curve rises while units with a counterpart are added, and is flat when only
    others are left. A counterpart is a unit with related responses, which units of
    untrained networks that see the same stimuli have, too. A vertical line shows the
    estimated share of the units with a counterpart, and a shaded area the interval
    between its bounds. Use :meth:`from_result` to create a display.

    Parameters
    ----------
    masses : ndarray of shape (n_masses,)
        Shares of the units that are matched.
    similarities : ndarray of shape (n_masses,)
        Held-out similarity at each mass.
    fitted_similarities : ndarray of shape (n_masses,)
        Fitted curve, NaN if there is none.
    null_similarities : ndarray of shape (n_permutations, n_masses)
        Similarities of permuted rows.
    verdict : {"none detected", "some", "at least .95"}
        What was found.
    share, low, high : float
        Estimated share of the units with a counterpart, and its bounds. NaN if they are
        not judged.
    p_value : float
        p-value of the hypothesis that no unit has a counterpart.
    conclusion : str, default=""
        Sentence that is written above the plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    curve_ : matplotlib Line2D
        Similarities.
    fitted_curve_ : matplotlib Line2D or None
        Fitted curve.
    null_band_ : matplotlib artist
        Middle 95 % of the similarities of permuted rows.
    share_line_ : matplotlib Line2D or None
        Line at the estimated share, None if no share is judged.
    interval_ : matplotlib artist or None
        Area between both bounds.

    See Also
    --------
    skmot.partial.mass_curve : Computes and judges the curve.

    Examples
    --------
    Seven of the ten units of each side have a counterpart:

    >>> import numpy as np
    >>> from skmot.inspection import MassCurveDisplay
    >>> from skmot.partial import mass_curve
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(2, 200, 10))
    >>> y[:, :7] = X[:, 6::-1] + 0.3 * y[:, :7]
    >>> curve = mass_curve(X, y, np.arange(1, 11) / 10, random_state=0)
    >>> display = MassCurveDisplay.from_result(curve)
    >>> display.verdict, round(display.share, 2)
    ('some', 0.7)
    """

    def __init__(
        self,
        masses,
        similarities,
        fitted_similarities,
        null_similarities,
        *,
        verdict,
        share,
        low,
        high,
        p_value,
        conclusion="",
    ):
        self.masses = masses
        self.similarities = similarities
        self.fitted_similarities = fitted_similarities
        self.null_similarities = null_similarities
        self.verdict = verdict
        self.share = share
        self.low = low
        self.high = high
        self.p_value = p_value
        self.conclusion = conclusion

    _function = "mass_curve"
    _height = 2.7

    def _draw(self, ax):
        self.null_band_ = ax.fill_between(
            self.masses,
            *np.percentile(self.null_similarities, MIDDLE, axis=0),
            color=CHANCE,
            linewidth=0,
            label="permuted (95 %)",
        )
        self.fitted_curve_ = None
        if not np.isnan(self.fitted_similarities).any():
            (self.fitted_curve_,) = ax.plot(
                self.masses,
                self.fitted_similarities,
                color=STYLES[1]["color"],
                linestyle="--",
                label="fitted",
            )
        (self.curve_,) = ax.plot(
            self.masses,
            self.similarities,
            color=FOUND,
            marker="o",
            markersize=3,
            linestyle="",
            label="held-out",
        )
        ax.set(
            xlabel="matched share of the units (mass)",
            ylabel="sum of matched mass\ntimes held-out correlation",
            xlim=(0, 1.02),
        )
        self._draw_share(ax)
        add_legend(ax, title=f"verdict: {self.verdict} (p = {self.p_value:.2g})")

    def _draw_share(self, ax):
        self.share_line_ = self.interval_ = None
        if self.verdict == "none detected" or np.isnan(self.share):
            return
        # They end below the legend.
        bottom, top = ax.get_ylim()
        self.interval_ = ax.fill_between(
            [self.low, self.high],
            bottom,
            top,
            facecolor="#deebf7",
            linewidth=0,
            zorder=0,
            label=f"{self.low:.2f} to {self.high:.2f}",
        )
        (self.share_line_,) = ax.plot(
            [self.share, self.share],
            [bottom, top],
            color="black",
            linestyle=":",
            label=f"share {self.share:.2f}",
        )
        ax.set_ylim(bottom, top)
