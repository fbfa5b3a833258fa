"""LayerCouplingDisplay, a plot of layer costs and the layer coupling."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmot._scores import unwrap
from skmot._utils.array_api import to_numpy

# Numbers in the cells of larger matrices would be too small to read.
_MOST_ANNOTATED_LAYERS = 12


class LayerCouplingDisplay:
    """Plot of layer costs and layer coupling.

    Use :meth:`from_estimator` to create a display. It stores the plotted values, so
    :meth:`plot` can draw them again without another fit.

    Parameters
    ----------
    layer_costs : ndarray of shape (n_source_layers, n_target_layers)
        Cost of each pair of layers.
    coupling : ndarray of shape (n_source_layers, n_target_layers)
        Weight of each pair of layers.
    direction : {"target", "source"}, default="target"
        Side that the weights reconstruct. They are drawn as shares of each target layer
        (columns sum to one) or of each source layer (rows sum to one).
    source_names, target_names : sequence of str, default=None
        Names of the layers. None numbers them from 1.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the plot.
    axes_ : ndarray of matplotlib Axes of shape (2,)
        Axes of the layer costs and of the layer coupling.
    images_ : list of matplotlib AxesImage
        Images of the layer costs and of the layer coupling.

    See Also
    --------
    skmot.MultiLevelOT : Estimator of the layer costs and the layer coupling.
    skmot.model_selection.hierarchy_test : Tests whether the similarity of layers falls
        with their difference in depth.

    Notes
    -----
    A coupling that lies near the diagonal does not show that layers of similar depth
    are more alike. Layers of unrelated noise can look so, if their widths grow with
    depth in both networks: see :func:`skmot.metrics.hierarchy_score`.

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
        """Plot the layer costs and the layer coupling of a fitted estimator.

        Parameters
        ----------
        estimator : MultiLevelOT, Pipeline, search or TransformedTargetLayers
            Fitted estimator. A Pipeline and a TransformedTargetLayers must end in a
            multi-level estimator. Of a search, the best estimator is used.
        direction : {"target", "source"}, default="target"
            Side that the weights reconstruct.
        axes : sequence of two matplotlib Axes, default=None
            Axes for costs and coupling. None creates a figure.

        Returns
        -------
        display : LayerCouplingDisplay
            Display that stores the plotted values.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If `direction` is neither "target" nor "source".
        """
        check_is_fitted(estimator)
        estimator, *_ = unwrap(estimator)
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
        """Plot the layer costs and the layer coupling.

        Parameters
        ----------
        axes : sequence of two matplotlib Axes, default=None
            Axes for costs and coupling. None creates a figure.

        Returns
        -------
        display : LayerCouplingDisplay
            The object itself.

        Raises
        ------
        ValueError
            If `direction` is neither "target" nor "source", or if the number of axes is
            not two.
        """
        import matplotlib.pyplot as plt

        if self.direction not in ("target", "source"):
            raise ValueError(
                f"`direction` must be 'target' or 'source'; got {self.direction!r}."
            )
        n_source, n_target = np.shape(self.layer_costs)
        if axes is None:
            # The width grows with the number of columns: cells are square or wider.
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
        # Perceived luminance of the cell's colour. Dark cells have white text.
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
