"""UnitCouplingDisplay, a plot of a sparse plan between many units."""

from numbers import Integral

import numpy as np
from scipy.sparse import coo_array, issparse
from sklearn.utils.validation import check_is_fitted

from skmot._scores import unwrap
from skmot._utils.array_api import to_numpy
from skmot.inspection._drawing import (
    COLUMN_WIDTH,
    add_colour_bar,
    drawing,
    label_places,
    lay_out,
    name_colour_bar,
    shorten,
    write_sentence,
)

# Shares are compared with this many decimals, so that rounding errors decide no tie.
_SHARE_DECIMALS = 12
# Area of a dot in points: as wide as a unit of a figure of this many points, but such
# that 2,000 units can still be seen.
_DOTS_ACROSS = 150
_SMALLEST_DOT, _LARGEST_DOT = 2, 60


class UnitCouplingDisplay:
    """Plot of the plan between the units of two populations.

    Each dot is a pair of units with a weight. Its colour is the share of the target
    unit's weight that comes from the source unit: 1 if it is its only counterpart.
    Target units are sorted by the share of their best counterpart, the largest first.
    Source units are sorted by the mean position of the target units that they are
    matched to. The dots of units that are matched one to one are on the diagonal, and
    those of units that share counterparts are beside it.

    Parameters
    ----------
    coupling : array-like or sparse array of shape (n_source_units, n_target_units)
        Nonnegative weights.
    source_layers, target_layers : sequence of (name, int), default=None
        Name and number of units of each layer, if the populations consist of several.
        Units are sorted within layers. None means one layer.
    top : int, default=None
        Number of source units to draw for each target unit: those of largest share,
        ties to the lower index. None draws all pairs with a weight.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    dots_ : matplotlib PathCollection
        One dot for each pair that is drawn.
    colour_bar_ : matplotlib Colorbar
        Colour bar of the shares.
    source_order_, target_order_ : ndarray of int
        Units from the first to the last position on both axes. Units without a weight,
        such as constant units, are left out.
    shares_ : coo_array of shape (n_source_units, n_target_units)
        Shares of the pairs that are drawn, in the order of the given units.
    best_shares_ : ndarray of shape (n_target_units,)
        Share of the best counterpart of each target unit, NaN without a weight.

    See Also
    --------
    matches : Table of the matched units, with their correlations.
    LayerCouplingDisplay : Coupling of layers.

    Notes
    -----
    Both axes are sorted by the plan, so dots lie near the diagonal whatever the plan
    is: this does not show that units correspond. What can be read is how the weight of
    a unit is shared between counterparts, and, with several layers, between layers. If
    the populations differ in size, units of the smaller one have several counterparts
    in any plan.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.inspection import UnitCouplingDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 40))
    >>> display = UnitCouplingDisplay.from_estimator(SoftMatching().fit(X, X[:, ::-1]))
    >>> display.best_shares_.min()
    np.float64(1.0)
    """

    def __init__(self, coupling, *, source_layers=None, target_layers=None, top=None):
        self.coupling = coupling
        self.source_layers = source_layers
        self.target_layers = target_layers
        self.top = top

    @classmethod
    def from_estimator(cls, estimator, *, layers=None, top=None, ax=None):
        """Plot the plan between units of a fitted estimator.

        Parameters
        ----------
        estimator : SoftMatching, SemiMatching, OneToOneMatching, MultiLevelOT, \
Pipeline, search or TransformedTargetLayers
            Fitted estimator with a plan between units, or with such estimators as inner
            ones. A Pipeline and a TransformedTargetLayers must end in it. Of a search,
            the best estimator is used.
        layers : tuple of two, default=None
            Names or indices of the source layer and of the target layer whose plan is
            drawn, for an estimator that couples layers; for stacks of stacks, a tuple
            with one for each level.
        top : int, default=None
            Number of source units to draw for each target unit.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : UnitCouplingDisplay
            Display that stores the plotted values.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If it has no plan between units.
        ValueError
            If `layers` are missing, or are not those of the estimator.
        """
        check_is_fitted(estimator)
        estimator, *_ = unwrap(estimator)
        estimator, labels = _find_pair(estimator, layers)
        coupling = getattr(estimator, "coupling_", None)
        if coupling is None:
            raise TypeError(
                f"{type(estimator).__name__} has no plan between units, `coupling_`."
            )
        layouts = estimator._source_layout, estimator._target_layout
        source_layers, target_layers = (
            _layers_of(layout, label)
            for layout, label in zip(layouts, labels, strict=True)
        )
        return cls(
            coupling, source_layers=source_layers, target_layers=target_layers, top=top
        ).plot(ax)

    def plot(self, ax=None):
        """Plot the plan.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : UnitCouplingDisplay
            The object itself.

        Raises
        ------
        ValueError
            If the coupling has no weight, the layers do not have its units, or `top`
            is below 1.
        """
        plan = self.coupling if issparse(self.coupling) else to_numpy(self.coupling)
        plan = coo_array(plan, dtype=np.float64)
        plan.sum_duplicates()
        sides = [
            _check_layers(layers, n_units, side)
            for layers, n_units, side in zip(
                (self.source_layers, self.target_layers),
                plan.shape,
                ("source", "target"),
                strict=True,
            )
        ]
        if self.top is not None and self.top < 1:
            raise ValueError(f"`top` must be at least 1; got {self.top}.")
        rows, columns, shares = _shares(plan)
        if len(shares) == 0:
            raise ValueError("The coupling has no weight: there is nothing to draw.")
        self._sort(rows, columns, shares, plan.shape, sides)
        if self.top is not None:
            kept = _largest(rows, columns, shares, self.top)
            rows, columns, shares = rows[kept], columns[kept], shares[kept]
        self.shares_ = coo_array((shares, (rows, columns)), plan.shape)
        is_new = ax is None
        with drawing(ax, (COLUMN_WIDTH, 2.8)) as (ax,):
            self.ax_, self.figure_ = ax, ax.figure
            self._draw(ax, rows, columns, shares)
            self._label(ax, sides, is_new)
        return self

    def _sort(self, rows, columns, shares, shape, sides):
        """Set the orders of the units, and the shares of the best counterparts."""
        best = np.full(shape[1], np.nan)
        best[np.unique(columns)] = 0.0
        np.maximum.at(best, columns, shares)
        self.best_shares_ = best
        source_layers, target_layers = (_index_of_layer(side) for side in sides)
        used = np.flatnonzero(~np.isnan(best))
        descending = -best[used].round(_SHARE_DECIMALS)
        self.target_order_ = used[np.lexsort((descending, target_layers[used]))]
        places = _places(self.target_order_, shape[1])
        sums = np.bincount(rows, shares, shape[0])
        used = np.flatnonzero(sums)
        means = np.bincount(rows, shares * places[columns], shape[0])[used] / sums[used]
        self.source_order_ = used[np.lexsort((means, source_layers[used]))]

    def _draw(self, ax, rows, columns, shares):
        n_source, n_target = len(self.source_order_), len(self.target_order_)
        across = _places(self.target_order_, self.shares_.shape[1])[columns]
        down = _places(self.source_order_, self.shares_.shape[0])[rows]
        # The largest share is drawn last, on top of the others.
        order = np.argsort(shares)
        size = (_DOTS_ACROSS / max(n_source, n_target)) ** 2
        self.dots_ = ax.scatter(
            across[order],
            down[order],
            c=shares[order],
            s=np.clip(size, _SMALLEST_DOT, _LARGEST_DOT),
            cmap="viridis_r",
            vmin=0,
            vmax=1,
            linewidths=0,
            rasterized=True,
        )
        ax.set(xlim=(-0.5, n_target - 0.5), ylim=(n_source - 0.5, -0.5))
        self.colour_bar_ = add_colour_bar(self.dots_, ax)
        lay_out(self.figure_)
        name_colour_bar(self.colour_bar_, "share of the target unit")

    def _label(self, ax, sides, is_new):
        orders = self.source_order_, self.target_order_
        names = "source", "target"
        axes = ax.yaxis, ax.xaxis
        for axis, layers, order, name in zip(axes, sides, orders, names, strict=True):
            axis.set_label_text(f"{name} unit, sorted")
            if len(layers) > 1:
                axis.set_label_text(f"{name} layer, units sorted")
                _mark_layers(axis, layers, order)
            elif layers[0][0] is not None:
                axis.set_label_text(f"{name} unit of {shorten(layers[0][0])}, sorted")
        best = self.best_shares_[self.target_order_]
        n_left_out = len(self.best_shares_) - len(best)
        sentence = (
            f"The best counterpart of {len(best):,} target units has a share of "
            f"{best.mean():.2f} on average."
        )
        if n_left_out:
            sentence += f" {n_left_out:,} target units have none."
        write_sentence(ax, sentence, is_new=is_new)


def _find_pair(estimator, layers):
    """Return the estimator of one pair of layers, and the names of the two layers."""
    if not hasattr(estimator, "inner_"):
        if layers is not None:
            raise ValueError(
                f"`layers` are of estimators that couple layers; "
                f"{type(estimator).__name__} has one plan for all units."
            )
        return estimator, (None, None)
    if layers is None:
        raise ValueError(
            f"{type(estimator).__name__} has one plan for each pair of layers: give "
            "`layers`, for instance (0, 0)."
        )
    paths = [side if isinstance(side, tuple) else (side,) for side in layers]
    if len(paths) != 2 or len(paths[0]) != len(paths[1]):
        raise ValueError(
            "`layers` must be a source layer and a target layer of the same level; got "
            f"{layers!r}."
        )
    labels = None, None
    for names in zip(*paths, strict=True):
        if not hasattr(estimator, "inner_"):
            raise ValueError(
                f"`layers` has more levels than the estimator: {layers!r}."
            )
        layouts = estimator._source_layout, estimator._target_layout
        row, column = (
            _find_layer(layout, name, side)
            for layout, name, side in zip(
                layouts, names, ("source", "target"), strict=True
            )
        )
        labels = _label(layouts[0], row), _label(layouts[1], column)
        estimator = estimator.inner_[row][column]
    if hasattr(estimator, "inner_"):
        raise ValueError(
            f"`layers` has fewer levels than the estimator: {layers!r}. Give a tuple "
            "with one layer for each level, for both sides."
        )
    return estimator, labels


def _find_layer(layout, name, side):
    """Return the index of a layer, given by its name or its index."""
    n_layers = len(layout.widths)
    if layout.names is not None and name in layout.names:
        return layout.names.index(name)
    if isinstance(name, Integral) and 0 <= name < n_layers:
        return int(name)
    known = list(range(n_layers)) if layout.names is None else list(layout.names)
    raise ValueError(f"There is no {side} layer {name!r}; there are {known}.")


def _label(layout, index):
    """Return the name of a layer, or its number if it has none."""
    return f"layer {index + 1}" if layout.names is None else layout.names[index]


def _layers_of(layout, label):
    """Return the name and the width of each layer of a side with one plan."""
    if len(layout.widths) == 1:
        name = label
        if name is None and layout.names is not None:
            name = layout.names[0]
        return [(name, layout.widths[0])]
    names = layout.names
    if names is None:
        names = range(1, 1 + len(layout.widths))
    return list(zip(names, layout.widths, strict=True))


def _check_layers(layers, n_units, side):
    """Return the layers of a side, one if none are given."""
    if layers is None:
        return [(None, n_units)]
    layers = list(layers)
    if sum(width for _, width in layers) != n_units:
        raise ValueError(
            f"The {side} layers have {sum(width for _, width in layers)} units, but "
            f"the coupling has {n_units}."
        )
    return layers


def _shares(plan):
    """Return rows, columns and shares of the pairs that have a weight."""
    (rows, columns), weights = plan.coords, plan.data
    kept = weights > 0
    rows, columns, weights = rows[kept], columns[kept], weights[kept]
    return rows, columns, weights / np.bincount(columns, weights)[columns]


def _largest(rows, columns, shares, top):
    """Return the indices of the largest shares of each column."""
    order = np.lexsort((rows, -shares.round(_SHARE_DECIMALS), columns))
    ordered = columns[order]
    ranks = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[ranks < top]


def _places(order, n_units):
    """Return the place of each unit in an order. Units that are not in it have 0."""
    places = np.zeros(n_units, dtype=np.intp)
    places[order] = np.arange(len(order))
    return places


def _index_of_layer(layers):
    """Return the index of the layer of each unit."""
    return np.repeat(np.arange(len(layers)), [width for _, width in layers])


def _mark_layers(axis, layers, order):
    """Draw lines between layers, and label the middle of each by its name."""
    counts = np.bincount(_index_of_layer(layers)[order], minlength=len(layers))
    ends = np.cumsum(counts)
    draw = axis.axes.axhline if axis.axis_name == "y" else axis.axes.axvline
    for end in ends[:-1]:
        draw(end - 0.5, color="0.6", linewidth=0.5, zorder=0)
    label_places(axis, [name for name, _ in layers], ends - (counts + 1) / 2)
