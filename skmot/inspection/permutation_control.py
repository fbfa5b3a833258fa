"""PermutationControlDisplay, a plot of a score among scores by chance."""

import numpy as np

from skmot.inspection._drawing import (
    draw_null,
)
from skmot.inspection._result import ResultDisplay

# What was randomised, in the legend.
_RANDOMISED = {
    "stimuli": "permuted stimuli",
    "layers": "permuted layers",
    "basis": "rotated units",
}


class PermutationControlDisplay(ResultDisplay):
    """Plot of a held-out score, or a cost, among those of permuted data.

    Use :meth:`from_result` to create a display.

    Parameters
    ----------
    score : float
        Score that was found.
    null_scores : ndarray of shape (n_permutations,)
        Scores by chance.
    p_value : float
        p-value of the test, which need not be the share of the null scores.
    conclusion : str, default=""
        Sentence that is written above the plot.
    control : {"stimuli", "layers", "basis"}, default="stimuli"
        What was randomised.
    statistic : {"score", "cost"}, default="score"
        What was tested. Scores are then minus the cost, and the cost is drawn.
    direction : {"target", "source"}, default="target"
        Side that was scored.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    bars_ : matplotlib BarContainer
        Histogram of the null scores.
    line_ : matplotlib Line2D
        Vertical line at the score.

    See Also
    --------
    skmot.model_selection.permutation_control : The test.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.inspection import PermutationControlDisplay
    >>> from skmot.model_selection import permutation_control
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> y = X[:, ::-1] + rng.normal(size=(60, 8))
    >>> result = permutation_control(
    ...     SoftMatching(), X, y, control="stimuli", n_pilot=0, random_state=0
    ... )
    >>> display = PermutationControlDisplay.from_result(result)
    >>> display.p_value, display.null_scores.shape
    (0.001, (999,))
    """

    def __init__(
        self,
        score,
        null_scores,
        p_value,
        *,
        conclusion="",
        control="stimuli",
        statistic="score",
        direction="target",
    ):
        self.score = score
        self.null_scores = null_scores
        self.p_value = p_value
        self.conclusion = conclusion
        self.control = control
        self.statistic = statistic
        self.direction = direction

    _function = "permutation_control"
    _height = 2.0

    def _draw(self, ax):
        is_cost = self.statistic == "cost"
        sign = -1 if is_cost else 1
        name = "cost" if is_cost else "score"
        found = sign * self.score
        self.bars_, self.line_ = draw_null(
            ax,
            sign * np.asarray(self.null_scores),
            found,
            null_name=_RANDOMISED.get(self.control, "by chance"),
            value_name=f"{name} {found:.3g} (p = {self.p_value:.2g})",
        )
        ax.set_xlabel(
            "cost of the fit"
            if is_cost
            else f"held-out correlation of the {self.direction}"
        )
