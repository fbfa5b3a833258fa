"""RotationCurveDisplay, a plot of similarity while one population is rotated."""

import numpy as np

from skmot.inspection._drawing import (
    COLUMN_WIDTH,
    STYLES,
    check_result,
    drawing,
)

_FIELDS = "alphas", "scores", "mean", "standard_deviation"


class RotationCurveDisplay:
    """Plot of the similarity of two populations while one is rotated.

    A line shows the mean over rotations, and bars its standard deviation. Several
    curves on the same axes have different markers and line styles. Use
    :meth:`from_result` to create a display.

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
        Exponents of the rotations: 0 is the original basis, 1 a random one.
    scores : ndarray of shape (n_rotations, n_alphas)
        Similarity of each rotation.
    mean, standard_deviation : ndarray of shape (n_alphas,)
        Mean and standard deviation over rotations. Deviations that are NaN, of a single
        rotation, are not drawn.
    name : str, default=None
        Name of the curve in the legend. None adds no legend.
    score_name : str, default="similarity"
        Quantity that the scores are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    curve_ : matplotlib ErrorbarContainer
        Mean and standard deviation.

    See Also
    --------
    skmot.metrics.rotation_curve : Computes the curve.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.inspection import RotationCurveDisplay
    >>> from skmot.metrics import rotation_curve
    >>> X = np.random.default_rng(0).exponential(size=(200, 20))
    >>> sparse = rotation_curve(X, X[:, ::-1], [0, 0.5, 1], random_state=0)
    >>> display = RotationCurveDisplay.from_result(sparse, name="exponential")
    >>> display.mean.round(1)
    array([1. , 0.6, 0.4])

    A second curve is drawn on the same axes:

    >>> X = np.random.default_rng(0).normal(size=(200, 20))
    >>> normal = rotation_curve(X, X[:, ::-1], [0, 0.5, 1], random_state=0)
    >>> other = RotationCurveDisplay.from_result(normal, name="normal", ax=display.ax_)
    >>> [text.get_text() for text in other.ax_.get_legend().get_texts()]
    ['exponential', 'normal']
    """

    def __init__(
        self,
        alphas,
        scores,
        mean,
        standard_deviation,
        *,
        name=None,
        score_name="similarity",
    ):
        self.alphas = alphas
        self.scores = scores
        self.mean = mean
        self.standard_deviation = standard_deviation
        self.name = name
        self.score_name = score_name

    @classmethod
    def from_result(cls, result, *, name=None, score_name="similarity", ax=None):
        """Plot a rotation curve.

        Parameters
        ----------
        result : Bunch
            What :func:`skmot.metrics.rotation_curve` returns.
        name : str, default=None
            Name of the curve in the legend.
        score_name : str, default="similarity"
            Quantity that the scores are, for instance "soft matching score".
        ax : matplotlib Axes, default=None
            Axes to draw on, which may have other curves. None creates a figure.

        Returns
        -------
        display : RotationCurveDisplay
            Display that stores the plotted values.

        Raises
        ------
        TypeError
            If the result is of another function.
        """
        check_result(result, _FIELDS, "rotation_curve")
        values = {field: getattr(result, field) for field in _FIELDS}
        return cls(**values, name=name, score_name=score_name).plot(ax)

    def plot(self, ax=None):
        """Plot the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, which may have other curves. None creates a figure.

        Returns
        -------
        display : RotationCurveDisplay
            The object itself.
        """
        deviation = np.asarray(self.standard_deviation)
        with drawing(ax, (COLUMN_WIDTH, 2.4)) as (ax,):
            self.ax_, self.figure_ = ax, ax.figure
            style = STYLES[len(ax.containers) % len(STYLES)]
            self.curve_ = ax.errorbar(
                self.alphas,
                self.mean,
                yerr=None if np.isnan(deviation).any() else deviation,
                label=self.name,
                markersize=4,
                capsize=2,
                **style,
            )
            ax.set(
                xlabel="rotation (0: units as given, 1: random basis)",
                ylabel=self.score_name,
            )
            if self.name is not None:
                ax.legend(frameon=False, fontsize="small", handlelength=3)
        return self
