"""plot_coupling_grid, the couplings of many pairs of networks in one figure."""

from collections.abc import Mapping
from itertools import product

import numpy as np
from sklearn.utils import Bunch

from skmot._scores import DIRECTIONS
from skmot._utils.array_api import to_numpy
from skmot._utils.sklearn import StrOptions, validate_params
from skmot.inspection._drawing import (
    COLUMN_WIDTH,
    COST_COLOURS,
    FONT_SIZE,
    SHARE_COLOURS,
    add_colour_bar,
    draw_cells,
    fix_tick_sizes,
    import_pyplot,
    label_layers,
    lay_out,
    name_colour_bar,
    shorten,
)
from skmot.inspection.layer_coupling import LayerCouplingDisplay, limits_of_shares

_QUANTITIES = ("coupling", "costs")
# Width and height of a panel in inches, and the room for labels and the colour bar.
_PANEL, _ROOM = 1.0, (1.8, 1.0)


@validate_params(
    {
        "estimators_or_couplings": [Mapping, "array-like"],
        "names": ["array-like", None],
        "quantity": [StrOptions(set(_QUANTITIES))],
        "direction": [StrOptions(set(DIRECTIONS))],
    },
    prefer_skip_nested_validation=True,
)
def plot_coupling_grid(
    estimators_or_couplings, names=None, *, quantity="coupling", direction="target"
):
    """Plot the layer couplings of many pairs of networks, with one colour scale.

    There is one panel for each pair. Rows are the source networks, columns the target
    networks. Pairs that are not given are left blank.

    Parameters
    ----------
    estimators_or_couplings : dict, or K x K nested sequence
        Fitted multi-level estimator, or layer coupling of shape (n_source_layers,
        n_target_layers), of each pair: a dict by (source name, target name), or one
        list for each source network with None for pairs that are not drawn. Pipelines
        and searches count as what they end in. Arrays are drawn as given; with
        `quantity="costs"` they are layer costs.
    names : sequence of str, default=None
        For a dict, the order of the networks; None takes the order of the keys. For a
        nested sequence, the names of the networks; None numbers them from 1.
    quantity : {"coupling", "costs"}, default="coupling"
        Whether to draw the layer couplings, as shares of the layers of the side that is
        reconstructed, or the layer costs.
    direction : {"target", "source"}, default="target"
        Side that the weights reconstruct.

    Returns
    -------
    grid : :class:`sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        `figure_` : matplotlib Figure
            The figure.
        `axes_` : ndarray of matplotlib Axes of shape (n_sources, n_targets)
            Axes of all pairs; those of pairs that are not given are hidden.
        matrices : dict of ndarray
            What is drawn, by (source name, target name).
        limits : tuple of two floats
            Ends of the colour scale.
        `colour_bar_` : matplotlib Colorbar
            Colour bar of all panels.

    Raises
    ------
    NotFittedError
        If an estimator is not fitted.
    TypeError
        If an estimator couples no layers.
    ValueError
        If there is no pair, a name is unknown or missing, an option is unknown, or the
        costs of the estimators are different quantities.

    See Also
    --------
    LayerCouplingDisplay : One pair, with its costs.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.inspection import plot_coupling_grid
    >>> rng = np.random.default_rng(0)
    >>> subjects = {s: [rng.normal(size=(40, 6)) for _ in range(3)] for s in "abc"}
    >>> fits = {
    ...     (s, t): MultiLevelOT().fit(subjects[s], subjects[t])
    ...     for s, t in [("a", "b"), ("a", "c"), ("b", "c")]
    ... }
    >>> grid = plot_coupling_grid(fits)
    >>> grid.axes_.shape, grid.limits
    ((2, 2), (0.0, 1.0))
    """
    pairs, sources, targets = _read_pairs(estimators_or_couplings, names)
    displays = {
        pair: _read_pair(given, pair, quantity, direction)
        for pair, given in pairs.items()
    }
    label = _name_quantity(displays.values(), quantity, direction)
    values = {
        pair: display.layer_costs if quantity == "costs" else display.shares()
        for pair, display in displays.items()
    }
    limits = _shared_limits(values.values(), quantity)
    colours = COST_COLOURS if quantity == "costs" else SHARE_COLOURS
    plt = import_pyplot()
    with plt.rc_context({"font.size": FONT_SIZE}):
        width, height = _ROOM + _PANEL * np.array([len(targets), len(sources)])
        figure, axes = plt.subplots(
            len(sources),
            len(targets),
            figsize=(max(COLUMN_WIDTH, width), height),
            layout="constrained",
            squeeze=False,
        )
        for (row, source), (column, target) in product(
            enumerate(sources), enumerate(targets)
        ):
            if (source, target) in values:
                image = draw_cells(
                    axes[row, column], values[source, target], colours, limits
                )
            else:
                axes[row, column].set_visible(False)
        bar = add_colour_bar(image, axes)
        lay_out(figure)
        _label_panels(axes, displays, values, sources, targets)
        name_colour_bar(bar, label)
        fix_tick_sizes(figure)
    return Bunch(
        figure_=figure, axes_=axes, matrices=values, limits=limits, colour_bar_=bar
    )


def _read_pairs(given, names):
    """Return the pairs by their names, and the names of sources and of targets."""
    if isinstance(given, Mapping):
        pairs = dict(given)
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ValueError(
                    "The keys of `estimators_or_couplings` must be pairs of networks, "
                    f"(source, target); got {pair!r}."
                )
        found = list(dict.fromkeys(name for pair in pairs for name in pair))
        names = found if names is None else list(names)
        unknown = [name for name in found if name not in names]
        if unknown:
            raise ValueError(f"`names` lacks the networks {unknown}.")
    else:
        n_networks = len(given)
        names = list(range(1, n_networks + 1)) if names is None else list(names)
        if len(names) != n_networks or any(len(row) != n_networks for row in given):
            raise ValueError(
                f"{n_networks} lists of {n_networks} pairs and as many names are "
                f"needed; got lists of {[len(row) for row in given]} and {len(names)} "
                "names."
            )
        pairs = {
            (source, target): pair
            for source, row in zip(names, given, strict=True)
            for target, pair in zip(names, row, strict=True)
        }
    pairs = {key: pair for key, pair in pairs.items() if pair is not None}
    if not pairs:
        raise ValueError("`estimators_or_couplings` has no pair to draw.")
    sides = zip(*pairs, strict=True)
    return pairs, *([name for name in names if name in side] for side in sides)


def _read_pair(given, pair, quantity, direction):
    """Return the display of a fitted estimator, or of an array."""
    if hasattr(given, "fit"):
        return LayerCouplingDisplay._read(given, direction)
    values = to_numpy(given)
    if values.ndim != 2:
        raise ValueError(
            "A layer coupling has two dimensions; `estimators_or_couplings` has an "
            f"array of shape {values.shape} for {pair}."
        )
    costs = values if quantity == "costs" else None
    return LayerCouplingDisplay(costs, values, direction=direction)


def _name_quantity(displays, quantity, direction):
    if quantity == "coupling":
        return f"share of each {direction} layer"
    labels = sorted({display.cost_name for display in displays})
    if len(labels) > 1:
        raise ValueError(
            f"The costs are different quantities, {labels}, which have no common scale."
        )
    return labels[0]


def _shared_limits(values, quantity):
    """Return the ends of the colour scale of all panels."""
    high = max(float(panel.max()) for panel in values)
    if quantity == "coupling":
        return limits_of_shares(high)
    return min(float(panel.min()) for panel in values), high


def _label_panels(axes, displays, values, sources, targets):
    """Label the layers and the networks of each row and of each column.

    Labels are at the outer panels of the first side where no pair is missing: for the
    pairs of one set, of which the lower half is blank, at the right and at the top.
    """
    sides = {
        "left": [(source, targets[0]) for source in sources],
        "right": [(source, targets[-1]) for source in sources],
        "bottom": [(sources[-1], target) for target in targets],
        "top": [(sources[0], target) for target in targets],
    }
    # If a pair is missing on both sides, all panels are labelled.
    whole = {side: all(pair in values for pair in sides[side]) for side in sides}
    for ax, pair in zip(axes.ravel(), product(sources, targets), strict=True):
        if pair not in values:
            continue
        display, shape = displays[pair], np.shape(values[pair])
        ax.set(xticks=[], yticks=[])
        for axis, first, second, names, n_layers, network in (
            (ax.yaxis, "left", "right", display.source_names, shape[0], pair[0]),
            (ax.xaxis, "bottom", "top", display.target_names, shape[1], pair[1]),
        ):
            side = second if whole[second] and not whole[first] else first
            if whole[side] and pair not in sides[side]:
                continue
            axis.set_ticks_position(side)
            axis.set_label_position(side)
            axis.set_label_text(shorten(network))
            label_layers(axis, names, n_layers)
