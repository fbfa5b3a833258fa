"""Pictures of fitted estimators, each a Display that holds its numbers."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skmot._array_api import to_numpy

__all__ = ["LayerCouplingDisplay"]

# Larger matrices are legible as colours only.
_MOST_ANNOTATED_LAYERS = 12


class LayerCouplingDisplay:
    """Layer costs and layer coupling side by side.

    Make it with :meth:`from_estimator`. The numbers are kept, so that the picture can
    be drawn again without fitting.

    Parameters
    ----------
    layer_costs : ndarray of shape (n_source_layers, n_target_layers)
        Cost of each pair of layers.
    coupling : ndarray of shape (n_source_layers, n_target_layers)
        Weight of each pair of layers.
    direction : {"target", "source"}, default="target"
        Which side the weights reconstruct: they are drawn as shares of each target
        layer (columns sum to one) or of each source layer (rows sum to one).
    source_names, target_names : sequence of str, default=None
        The layers' names; None numbers them from 1.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    axes_ : ndarray of matplotlib Axes of shape (2,)
        Costs, coupling.
    images_ : list of matplotlib AxesImage
        Costs, coupling.

    See Also
    --------
    skmot.MultiLevelOT : What is drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.inspection import LayerCouplingDisplay
    >>> rng = np.random.default_rng(0)
    >>> layers = [rng.normal(size=(50, 8)) for _ in range(3)]
    >>> mot = MultiLevelOT().fit(layers, layers[:2])
    >>> LayerCouplingDisplay.from_estimator(mot).axes_.shape
    (2,)
    """

    def __init__(
        self,
        layer_costs,
        coupling,
        *,
        direction="target",
        source_names=None,
        target_names=None,
    ):
        self.layer_costs = layer_costs
        self.coupling = coupling
        self.direction = direction
        self.source_names = source_names
        self.target_names = target_names

    @classmethod
    def from_estimator(cls, estimator, *, direction="target", axes=None):
        """Draw a fitted estimator.

        Parameters
        ----------
        estimator : MultiLevelOT, or a Pipeline that ends in one
            Fitted.
        direction : {"target", "source"}, default="target"
            Which side's reconstruction the weights are of.
        axes : sequence of two matplotlib Axes, default=None
            Where costs and coupling are drawn; None makes a figure.

        Returns
        -------
        display : LayerCouplingDisplay
            Drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the direction is neither.
        """
        check_is_fitted(estimator)
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        coupling = to_numpy(
            estimator.coupling_
            if direction == "target"
            else estimator.inverse_coupling_
        )
        display = cls(
            to_numpy(estimator.layer_costs_),
            coupling,
            direction=direction,
            source_names=estimator.source_names_,
            target_names=estimator.target_names_,
        )
        return display.plot(axes)

    def plot(self, axes=None):
        """Draw.

        Parameters
        ----------
        axes : sequence of two matplotlib Axes, default=None
            Where costs and coupling are drawn; None makes a figure.

        Returns
        -------
        display : LayerCouplingDisplay
            Itself.

        Raises
        ------
        ValueError
            If the direction is neither "target" nor "source", or there are not two
            axes.
        """
        import matplotlib.pyplot as plt

        if self.direction not in ("target", "source"):
            raise ValueError(
                f"`direction` must be 'target' or 'source'; got {self.direction!r}."
            )
        n_source, n_target = np.shape(self.layer_costs)
        if axes is None:
            # As wide as the columns need, so that cells are square or wider.
            width = max(3.2, 0.55 * n_target + 1.6)
            height = max(2.6, 0.55 * n_source + 1.4)
            _, axes = plt.subplots(
                1, 2, figsize=(2 * width, height), layout="constrained", squeeze=True
            )
        axes = np.asarray(axes, dtype=object)
        if axes.shape != (2,):
            raise ValueError(
                f"Two axes are needed, for costs and coupling; got {axes}."
            )
        per_layer = n_target if self.direction == "target" else n_source
        panels = [
            (self.layer_costs, "Layer cost", "viridis_r", {}),
            (
                per_layer * np.asarray(self.coupling),
                f"Share of each {self.direction} layer",
                "Blues",
                {"vmin": 0.0, "vmax": 1.0},
            ),
        ]
        self.axes_, self.figure_, self.images_ = axes, axes[0].figure, []
        for axis, (values, title, colours, limits) in zip(axes, panels, strict=True):
            image = axis.imshow(values, cmap=colours, aspect="auto", **limits)
            self.images_.append(image)
            self.figure_.colorbar(image, ax=axis)
            axis.set(title=title, xlabel="target layer", ylabel="source layer")
            _label(axis.xaxis, self.target_names, n_target, rotation=45)
            _label(axis.yaxis, self.source_names, n_source)
            if max(n_source, n_target) <= _MOST_ANNOTATED_LAYERS:
                _annotate(axis, image, np.asarray(values))
        return self


def _label(axis, names, n_layers, rotation=0):
    if names is None:
        names = [str(number) for number in range(1, n_layers + 1)]
        rotation = 0
    step = 1 + (n_layers - 1) // _MOST_ANNOTATED_LAYERS
    axis.set_ticks(range(0, n_layers, step), [str(name) for name in names[::step]])
    if rotation:
        for tick in axis.get_ticklabels():
            tick.set(rotation=rotation, ha="right", rotation_mode="anchor")


def _annotate(axis, image, values):
    for row, column in np.ndindex(values.shape):
        red, green, blue, _ = image.cmap(image.norm(values[row, column]))
        # Luminance as the eye weighs colours: dark cells take white text.
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        axis.text(
            column,
            row,
            f"{values[row, column]:.2f}",
            ha="center",
            va="center",
            fontsize="small",
            color="black" if luminance > 0.5 else "white",
        )
