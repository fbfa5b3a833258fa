"""LayerCouplingDisplay, a plot of layer costs and the layer coupling."""

import numpy as np
from scipy.stats import spearmanr
from sklearn.utils.validation import check_is_fitted

from skmot._scores import DIRECTIONS, unwrap
from skmot._utils.array_api import to_numpy
from skmot.inspection._costs import name_layer_cost
from skmot.inspection._drawing import (
    COLUMN_WIDTH,
    COST_COLOURS,
    SHARE_COLOURS,
    add_colour_bar,
    draw_cells,
    drawing,
    font_size,
    label_layers,
    lay_out,
    name_colour_bar,
    say_number,
    shorten,
    size_in_points,
    wrap,
    write_numbers,
)
from skmot.metrics import DepthPriorCoupling, hierarchy_score

# The order of the names of the two networks.
_SIDES = ("source", "target")
_PANELS = ("both", "costs", "coupling")
# Widths of a network grow (or fall) with depth if their rank correlation with depth is
# above this.
_WIDTHS_GROW = 0.5
# Smaller shares than this would be hard to see on a scale from 0 to 1.
_SMALL_SHARE = 0.5


class LayerCouplingDisplay:
    """Plot of layer costs and layer coupling.

    Use :meth:`from_estimator` to create a display. It stores the plotted values, so
    :meth:`plot` can draw them again without another fit.

    Parameters
    ----------
    layer_costs : ndarray of shape (n_source_layers, n_target_layers) or None
        Cost of each pair of layers. None if only the coupling is drawn.
    coupling : ndarray of shape (n_source_layers, n_target_layers)
        Weight of each pair of layers. Writing the hierarchy score of a
        :class:`skmot.metrics.DepthPriorCoupling` warns, because it is circular.
    direction : {"target", "source"}, default="target"
        Side that the weights reconstruct. They are drawn as shares of each target layer
        (columns sum to one) or of each source layer (rows sum to one).
    source_names, target_names : sequence of str, default=None
        Names of the layers. None numbers them from 1.
    network_names : tuple of two str, default=("source", "target")
        Names of the two networks, which the axes and the colour bars are labelled with.
    cost_name : str, default="cost"
        Quantity that the layer costs are, for instance "correlation distance".
    note : str, default=None
        Sentence that is written beside the hierarchy score.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the plot.
    axes_ : ndarray of matplotlib Axes of shape (n_panels,)
        Axes of the layer costs and of the layer coupling.
    images_ : list of matplotlib AxesImage
        Images of the layer costs and of the layer coupling.
    colour_bars_ : list of matplotlib Colorbar
        Colour bars of both images. Empty if they are not drawn.
    hierarchy_, adjusted_hierarchy_ : float
        Hierarchy scores of the coupling, see :func:`skmot.metrics.hierarchy_score`. NaN
        if a side has a single layer.
    mean_cost_, coupled_cost_ : float
        Mean of all layer costs, which is the cost of a uniform coupling, and the cost
        of the coupling that is drawn. NaN without layer costs.

    See Also
    --------
    plot_coupling_grid : Draws the couplings of many pairs of networks.
    skmot.MultiLevelOT : Estimator of the layer costs and the layer coupling.
    skmot.model_selection.hierarchy_test : Tests whether the similarity of layers falls
        with their difference in depth.

    Notes
    -----
    A coupling that lies near the diagonal does not show that layers of similar depth
    are more alike. Layers of unrelated noise can look so, if their widths grow with
    depth in both networks: see :func:`skmot.metrics.hierarchy_score`. If the layer
    costs are in-sample costs of such networks, :meth:`from_estimator` adds a note to
    the hierarchy score. It adds another one if the estimator has a `depth_prior`, with
    which the coupling follows depth because it was made to.

    A coupling looks as clear where all costs are nearly equal as where they differ,
    because the colours of the costs span their range. The plot therefore tells the mean
    of all costs and that of the coupled pairs. If they are close, the other pairs of
    layers would do almost as well. How close is too close is a question for
    ``permutation_control(..., control="layers")``.

    Dark cells are alike: they have low costs, or large shares.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.inspection import LayerCouplingDisplay
    >>> rng = np.random.default_rng(0)
    >>> layers = [rng.normal(size=(50, 8)) for _ in range(3)]
    >>> mot = MultiLevelOT().fit(layers, layers[:2])
    >>> display = LayerCouplingDisplay.from_estimator(
    ...     mot, network_names=("ResNet", "V1 to V4")
    ... )
    >>> display.axes_.shape, display.cost_name
    ((2,), 'correlation distance')
    """

    # What rows and columns are, and whether the cells of the coupling have numbers.
    _item = "layer"
    _writes_shares = True

    def __init__(
        self,
        layer_costs,
        coupling,
        *,
        direction="target",
        source_names=None,
        target_names=None,
        network_names=("source", "target"),
        cost_name="cost",
        note=None,
    ):
        self.layer_costs = layer_costs
        self.coupling = coupling
        self.direction = direction
        self.source_names = source_names
        self.target_names = target_names
        self.network_names = network_names
        self.cost_name = cost_name
        self.note = note

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        direction="target",
        network_names=("source", "target"),
        axes=None,
        **plot_options,
    ):
        """Plot the layer costs and the layer coupling of a fitted estimator.

        Parameters
        ----------
        estimator : MultiLevelOT, Pipeline, search or TransformedTargetLayers
            Fitted estimator. A Pipeline and a TransformedTargetLayers must end in a
            multi-level estimator. Of a search, the best estimator is used.
        direction : {"target", "source"}, default="target"
            Side that the weights reconstruct.
        network_names : tuple of two str, default=("source", "target")
            Names of the two networks.
        axes : sequence of two matplotlib Axes, default=None
            Axes for costs and coupling. None creates a figure.
        **plot_options
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : LayerCouplingDisplay
            Display that stores the plotted values.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If it couples no layers.
        ValueError
            If an argument is out of range.
        """
        return cls._read(estimator, direction, network_names).plot(axes, **plot_options)

    @classmethod
    def _read(cls, estimator, direction, network_names=("source", "target")):
        """Return the display of a fitted estimator, not drawn."""
        check_is_fitted(estimator)
        estimator, *_ = unwrap(estimator)
        cls._check_levels(estimator)
        coupling = to_numpy(
            estimator.coupling_
            if direction == "target"
            else estimator.inverse_coupling_
        )
        # Conversions to and from other array libraries lose the mark of a prior.
        if getattr(estimator, "depth_prior", 0):
            coupling = DepthPriorCoupling(coupling)
        return cls(
            to_numpy(estimator.layer_costs_),
            coupling,
            direction=direction,
            source_names=estimator.source_names_,
            target_names=estimator.target_names_,
            network_names=network_names,
            cost_name=name_layer_cost(estimator),
            note=_note_about_prior(estimator) or _note_about_widths(estimator),
        )

    @staticmethod
    def _check_levels(estimator):
        """Raise an error unless the estimator couples layers."""
        if not hasattr(estimator, "layer_costs_"):
            raise TypeError(
                f"{type(estimator).__name__} couples no layers: give a MultiLevelOT or "
                "MultiLevelOTRotation, or what ends in one."
            )

    def plot(
        self,
        axes=None,
        *,
        panels="both",
        cost_limits=None,
        share_limits=None,
        show_hierarchy=True,
    ):
        """Plot the layer costs and the layer coupling.

        Parameters
        ----------
        axes : matplotlib Axes or sequence of them, default=None
            Axes of each panel. None creates a figure.
        panels : {"both", "costs", "coupling"}, default="both"
            What to draw. If the display has no costs, "both" draws the coupling.
        cost_limits, share_limits : tuple of two floats, default=None
            Ends of the colour scales. Give the same ones to compare several plots. None
            scales the costs to their range, and the shares from 0 to 1, or to the
            largest share if that is below 0.5.
        show_hierarchy : bool, default=True
            Whether to write the hierarchy score of the coupling above it. Leave it out
            if the layers have no order, as regions of one stage of processing. If the
            costs are not drawn, their means are written there, too.

        Returns
        -------
        display : LayerCouplingDisplay
            The object itself.

        Raises
        ------
        ValueError
            If `direction` or `panels` is unknown, the display has no costs to draw, or
            the number of axes is not that of the panels.
        """
        if self.direction not in DIRECTIONS:
            raise ValueError(
                f"`direction` must be 'target' or 'source'; got {self.direction!r}."
            )
        if panels not in _PANELS:
            raise ValueError(f"`panels` must be one of {_PANELS}; got {panels!r}.")
        if self.layer_costs is None:
            if panels == "costs":
                raise ValueError("The display has no costs: `layer_costs` is None.")
            panels = "coupling"
        shown = ("costs", "coupling") if panels == "both" else (panels,)
        self.hierarchy_ = self.adjusted_hierarchy_ = float("nan")
        if 1 not in np.shape(self.coupling):
            # Without the mark of a depth prior, the score does not warn.
            unmarked = np.asarray(self.coupling)
            self.hierarchy_ = hierarchy_score(
                self.coupling if show_hierarchy else unmarked
            )
            self.adjusted_hierarchy_ = hierarchy_score(unmarked, adjusted=True)
        self.mean_cost_ = self.coupled_cost_ = float("nan")
        if self.layer_costs is not None:
            costs, coupling = (
                np.asarray(values, dtype=np.float64)
                for values in (self.layer_costs, self.coupling)
            )
            self.mean_cost_ = float(costs.mean())
            self.coupled_cost_ = float((costs * coupling).sum() / coupling.sum())
        n_source, _ = np.shape(self.coupling)
        # Many rows need height, and so does a note.
        height = min(3.3, 2.2 + 0.05 * n_source)
        height += 0.4 * (show_hierarchy and self.note is not None)
        height += 0.15 * (shown == ("coupling",))
        size = len(shown) * COLUMN_WIDTH, height
        draw = {
            "costs": lambda ax: self._draw_costs(ax, cost_limits),
            "coupling": lambda ax: self._draw_coupling(
                ax, share_limits, self._describe(show_hierarchy, shown)
            ),
        }
        with drawing(axes, size, len(shown)) as axes:
            self.axes_, self.figure_ = axes, axes[0].figure
            self.images_ = [
                draw[panel](ax) for ax, panel in zip(axes, shown, strict=True)
            ]
            self.colour_bars_ = [
                add_colour_bar(image, image.axes) for image in self.images_
            ]
            for ax in axes:
                self._label_axes(ax)
            lay_out(self.figure_)
            labels = {"costs": self.cost_name, "coupling": self._name_shares()}
            for bar, panel in zip(self.colour_bars_, shown, strict=True):
                name_colour_bar(bar, labels[panel])
            lay_out(self.figure_)
            for image, panel in zip(self.images_, shown, strict=True):
                if panel == "costs" or self._writes_shares:
                    write_numbers(image)
        return self

    def shares(self):
        """Return the coupling as shares of each layer of the reconstructed side.

        Returns
        -------
        shares : ndarray of shape (n_source_layers, n_target_layers)
            Weights whose columns (for `direction="target"`) or rows sum to one.
        """
        side = 1 if self.direction == "target" else 0
        return np.shape(self.coupling)[side] * np.asarray(self.coupling)

    def _name_shares(self):
        side = self.network_names[_SIDES.index(self.direction)]
        return f"share of each {shorten(side)} {self._item}"

    def _describe(self, show_hierarchy, shown):
        """Return the sentences that are written above the coupling."""
        lines = []
        if not show_hierarchy:
            return lines
        if not np.isnan(self.hierarchy_):
            lines.append(
                f"hierarchy {self.hierarchy_:.2f}, "
                f"adjusted {self.adjusted_hierarchy_:.2f}"
            )
            if self.note is not None:
                lines.append(self.note)
        if self.layer_costs is not None and "costs" not in shown:
            lines.append(f"cost: {self._say_costs()}")
        return lines

    def _say_costs(self):
        mean, coupled = map(say_number, (self.mean_cost_, self.coupled_cost_))
        return f"mean {mean}, of coupled pairs {coupled}"

    def _draw_costs(self, ax, limits):
        title = f"{self._item.capitalize()} cost\n{self._say_costs()}"
        ax.set_title(title, fontsize="medium")
        return draw_cells(ax, self.layer_costs, COST_COLOURS, limits)

    def _draw_coupling(self, ax, limits, sentences):
        shares = self.shares()
        if limits is None:
            limits = limits_of_shares(float(shares.max()))
        width, _ = size_in_points(ax)
        title = [f"{self._item.capitalize()} coupling"]
        title += [wrap(sentence, width, font_size()) for sentence in sentences]
        ax.set_title("\n".join(title), fontsize="medium")
        return draw_cells(ax, shares, SHARE_COLOURS, limits)

    def _label_axes(self, ax):
        n_source, n_target = np.shape(self.coupling)
        source, target = (shorten(name) for name in self.network_names)
        ax.set(xlabel=f"{target} {self._item}", ylabel=f"{source} {self._item}")
        label_layers(ax.xaxis, self.target_names, n_target)
        label_layers(ax.yaxis, self.source_names, n_source)


def limits_of_shares(largest):
    """Return the ends of a colour scale of shares, given the largest share."""
    return 0.0, 1.0 if largest >= _SMALL_SHARE else largest


def _note_about_prior(estimator):
    """Return a sentence if a prior on depth draws layers together, else None."""
    if not getattr(estimator, "depth_prior", 0):
        return None
    return (
        f"Made with depth_prior={estimator.depth_prior:g}: the score is circular, see "
        "hierarchy_test"
    )


def _note_about_widths(estimator):
    """Return a sentence if the widths alone could order the layers, else None."""
    if getattr(estimator, "cost_cv", None) is not None:
        return None
    trends = [
        _trend(layout.widths)
        for layout in (estimator._source_layout, estimator._target_layout)
    ]
    for sign, verb in ((1, "grow"), (-1, "fall")):
        if min(sign * trend for trend in trends) > _WIDTHS_GROW:
            return (
                f"Widths {verb} with depth on both sides, which alone can order "
                "layers: see hierarchy_test"
            )
    return None


def _trend(widths):
    """Return the rank correlation of the widths of layers with their depth."""
    if len(set(widths)) < 2:
        return 0.0
    return float(spearmanr(widths, range(len(widths))).statistic)
