"""HierarchyTestDisplay, a plot of dissimilarity by difference in depth."""

import numpy as np

from skmot.inspection._drawing import (
    CHANCE,
    FOUND,
    MIDDLE,
    add_legend,
)
from skmot.inspection._result import ResultDisplay


class HierarchyTestDisplay(ResultDisplay):
    """Plot of the dissimilarity of layers by their difference in depth.

    Each dot is a pair of layers. From both axes the means of each source layer and of
    each target layer are subtracted, so that the line with the slope of the test is the
    regression line of the dots. The grey wedge has 95 % of the slopes of fits to
    permuted stimuli. Use :meth:`from_result` to create a display.

    Parameters
    ----------
    log_dissimilarities : ndarray of shape (n_source_layers, n_target_layers)
        Negative logarithm of the similarity above chance.
    depth_distances : ndarray of shape (n_source_layers, n_target_layers)
        Difference in relative depth of each pair of layers.
    slope : float
        Slope of the test.
    null_slopes : ndarray of shape (n_permutations,)
        Slopes by chance.
    p_value, p_stimuli, p_layers, p_layers_centred, p_layers_weighted : float
        p-value of the test, and the four p-values that it is the largest of.
    conclusion : str, default=""
        Sentence that is written above the plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    dots_ : matplotlib Line2D
        One dot for each pair of layers.
    line_ : matplotlib Line2D
        Line with the slope of the test.
    wedge_ : matplotlib artist
        Area between the 2.5 % and the 97.5 % quantile of the null slopes.

    See Also
    --------
    skmot.model_selection.hierarchy_test : The test.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.inspection import HierarchyTestDisplay
    >>> from skmot.model_selection import hierarchy_test
    >>> rng = np.random.default_rng(0)
    >>> signal, X, y = rng.normal(size=(100, 6)), [], []
    >>> for depth in range(5):
    ...     signal = 0.8 * signal + 0.6 * rng.normal(size=signal.shape)
    ...     X.append(signal @ rng.normal(size=(6, 10)))
    ...     y.append(signal @ rng.normal(size=(6, 12)))
    >>> result = hierarchy_test(
    ...     MultiLevelOT(), X, y, n_permutations=19, random_state=0
    ... )
    >>> display = HierarchyTestDisplay.from_result(result)
    >>> round(display.slope, 2), display.p_value
    (1.15, 0.05)
    """

    def __init__(
        self,
        log_dissimilarities,
        depth_distances,
        slope,
        null_slopes,
        *,
        p_value,
        p_stimuli,
        p_layers,
        p_layers_centred,
        p_layers_weighted,
        conclusion="",
    ):
        self.log_dissimilarities = log_dissimilarities
        self.depth_distances = depth_distances
        self.slope = slope
        self.null_slopes = null_slopes
        self.p_value = p_value
        self.p_stimuli = p_stimuli
        self.p_layers = p_layers
        self.p_layers_centred = p_layers_centred
        self.p_layers_weighted = p_layers_weighted
        self.conclusion = conclusion

    _function = "hierarchy_test"
    _height = 2.6

    def _draw(self, ax):
        distances = _centre_twice(self.depth_distances)
        dissimilarities = _centre_twice(self.log_dissimilarities)
        ends = np.array([distances.min(), distances.max()])
        low, high = np.percentile(self.null_slopes, MIDDLE)
        across = np.array([ends[0], 0.0, ends[1]])
        self.wedge_ = ax.fill_between(
            across,
            low * across,
            high * across,
            color=CHANCE,
            linewidth=0,
            label="permuted stimuli (95 %)",
        )
        (self.dots_,) = ax.plot(
            distances.ravel(),
            dissimilarities.ravel(),
            linestyle="",
            marker="o",
            # Of 1,600 pairs, dots overlap.
            markersize=np.clip(60 / np.sqrt(distances.size), 1.5, 4),
            color="black",
            alpha=0.6,
            markeredgewidth=0,
        )
        (self.line_,) = ax.plot(
            ends,
            self.slope * ends,
            color=FOUND,
            linewidth=2,
            label=f"slope {self.slope:.2f}",
        )
        ax.set(
            xlabel="difference in depth\n(means of layers subtracted)",
            ylabel="log dissimilarity\n(means of layers subtracted)",
        )
        add_legend(ax, title=self._say_p_values())

    def _say_p_values(self):
        return (
            f"p = {self.p_value:.2g}: stimuli {self.p_stimuli:.2g}, layers "
            f"{self.p_layers:.2g},\ncentred {self.p_layers_centred:.2g}, weighted "
            f"{self.p_layers_weighted:.2g}"
        )


def _centre_twice(values):
    """Subtract row means and column means."""
    values = np.asarray(values, dtype=np.float64)
    by_row = values.mean(axis=1, keepdims=True)
    return values - by_row - values.mean(axis=0) + values.mean()
