"""NetworkMapDisplay, a map of networks whose distances are their costs."""

import numpy as np

from skmot._utils.embedding import embed_costs, says_little
from skmot.inspection._drawing import (
    CHARACTER_WIDTH,
    COLUMN_WIDTH,
    POINTS_PER_INCH,
    SMALL,
    STYLES,
    drawing,
    font_size,
    lay_out,
    shorten,
)

# Half the width of a dot, and the distance of its name, in points.
_DOT, _BESIDE = 3.0, 5.0


class NetworkMapDisplay:
    """Map of networks, on which distances are close to their costs.

    The positions are found by metric multidimensional scaling
    (:class:`sklearn.manifold.MDS`). The stress above the map says how far its distances
    are from the costs. Use :meth:`from_costs` to create a display.

    Parameters
    ----------
    positions : ndarray of shape (n_networks, 2)
        Positions of the networks.
    stress : float
        Root of the sum of squared errors of the distances, divided by the sum of
        squared distances (stress-1). 0 is exact.
    equal_stress : float, default=None
        Stress of the same number of networks that are all equally far from each other.
    names : sequence of str, default=None
        Names of the networks. None numbers them from 1.
    groups : sequence of str, default=None
        Group of each network, which its marker and its colour show.
    costs : ndarray of shape (n_networks, n_networks), default=None
        Costs that the map shows.
    is_symmetrized : bool, default=False
        Whether the costs are means of both directions, which is written on the map.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    dots_ : list of matplotlib PathCollection
        Dots of each group.
    texts_ : list of matplotlib Annotation
        Names.

    See Also
    --------
    skmot.metrics.pairwise_costs : Computes the costs of all pairs of networks.
    skmot.model_selection.group_separation_test : Tests groups without a map.

    Notes
    -----
    The orientation of the map has no meaning. A stress of 0.1 means that the distances
    of the map differ from the costs by 10 % (root mean square, relative to that of the
    distances). No map in two dimensions can show networks that are all equally far from
    each other: their stress is .32 for eight networks, .35 for ten and .40 for twenty,
    and their map is a disc with a pattern that means nothing. The stress above the map
    is followed by this number, and is to be compared with it. From a stress of .3, or
    of .8 of that number, the map says that two dimensions say little: read the matrix
    of the costs instead. (Kruskal [1]_ calls .2 poor, for nonmetric scaling, whose
    stress is lower.)

    The costs of most estimators are no distances. Those of :class:`skmot.SoftMatching`
    and :class:`skmot.Procrustes` are squared distances, which need ``squared=True``.

    References
    ----------
    .. [1] J. B. Kruskal. Multidimensional scaling by optimizing goodness of fit to a
       nonmetric hypothesis. Psychometrika, 1964.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.inspection import NetworkMapDisplay
    >>> from skmot.metrics import pairwise_costs
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.normal(size=(100, 5))
    >>> networks = {name: shared + 0.5 * rng.normal(size=(100, 5)) for name in "abc"}
    >>> costs = pairwise_costs(networks, SoftMatching())
    >>> display = NetworkMapDisplay.from_costs(costs, squared=True)
    >>> display.stress < 0.001  # three points always fit
    True
    """

    def __init__(
        self,
        positions,
        stress,
        *,
        equal_stress=None,
        names=None,
        groups=None,
        costs=None,
        is_symmetrized=False,
    ):
        self.positions = positions
        self.stress = stress
        self.equal_stress = equal_stress
        self.names = names
        self.groups = groups
        self.costs = costs
        self.is_symmetrized = is_symmetrized

    @classmethod
    def from_costs(
        cls,
        costs,
        *,
        names=None,
        groups=None,
        squared=False,
        symmetrize=False,
        ax=None,
    ):
        """Embed networks in two dimensions, and plot the map.

        Parameters
        ----------
        costs : array-like of shape (n_networks, n_networks)
            Nonnegative costs of all pairs, at least three networks. The diagonal is not
            used.
        names : sequence of str, default=None
            Names of the networks. None uses those of the costs, if they are what
            :func:`skmot.metrics.pairwise_costs` returns.
        groups : sequence of str, default=None
            Group of each network, for instance its architecture.
        squared : bool, default=False
            Whether the costs are squared distances, whose roots the map shows: those of
            :class:`skmot.SoftMatching` and :class:`skmot.Procrustes`.
        symmetrize : bool, default=False
            Whether to take the mean of both directions, if costs are not symmetric. The
            map says so.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : NetworkMapDisplay
            Display that stores the plotted values.

        Raises
        ------
        ValueError
            If the costs are not a square matrix of finite nonnegative numbers, all are
            0, they are not symmetric and `symmetrize` is False, or the number of names
            or groups is not that of the networks.
        """
        names = getattr(costs, "names", None) if names is None else names
        found = embed_costs(costs, squared=squared, symmetrize=symmetrize)
        return cls(
            found.positions,
            found.stress,
            equal_stress=found.equal_stress,
            names=names,
            groups=groups,
            costs=found.costs,
            is_symmetrized=found.is_symmetrized,
        ).plot(ax)

    def plot(self, ax=None):
        """Plot the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : NetworkMapDisplay
            The object itself.

        Raises
        ------
        ValueError
            If the number of names or groups is not that of the networks.
        """
        positions = np.asarray(self.positions)
        names = range(1, len(positions) + 1) if self.names is None else self.names
        groups = [None] * len(positions) if self.groups is None else self.groups
        for argument, given in (("names", names), ("groups", groups)):
            if len(given) != len(positions):
                raise ValueError(
                    f"`{argument}` has {len(given)} entries, but there are "
                    f"{len(positions)} networks."
                )
        with drawing(ax, (COLUMN_WIDTH, 3.1)) as (ax,):
            self.ax_, self.figure_ = ax, ax.figure
            self.dots_ = [
                self._draw_group(ax, positions, groups, group, number)
                for number, group in enumerate(dict.fromkeys(groups))
            ]
            ax.set(
                xlabel="distance (in units of the cost)",
                ylabel="distance (in units of the cost)",
                title=self._say_stress(),
            )
            ax.title.set_fontsize("medium")
            # Circles of equal distance are circles. The margins have room for names.
            ax.set_aspect("equal", adjustable="datalim")
            ax.margins(0.18)
            lay_out(self.figure_)
            ax.apply_aspect()
            boxes = []
            if self.groups is not None:
                legend = ax.legend(frameon=True, fontsize="small", loc="best")
                boxes.append(legend.get_window_extent().extents)
            self.texts_ = _write_names(ax, positions, names, boxes)
        return self

    def _draw_group(self, ax, positions, groups, group, number):
        style = STYLES[number % len(STYLES)]
        members = [index for index, other in enumerate(groups) if other == group]
        return ax.scatter(
            *positions[members].T,
            s=(2 * _DOT) ** 2,
            color=style["color"],
            marker=style["marker"],
            label=group,
        )

    def _say_stress(self):
        said = f"stress {self.stress:.2f}"
        if self.equal_stress is not None:
            said += f" ({self.equal_stress:.2f} if all were equally far)"
        if says_little(self.stress, self.equal_stress):
            said += ":\ntwo dimensions say little"
        return f"{said}\nmean of both directions" if self.is_symmetrized else said


def _write_names(ax, positions, names, boxes):
    """Write a name beside each dot, where it covers nothing, if it can.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes with the dots.
    positions : ndarray of shape (n_networks, 2)
        Positions of the dots.
    names : sequence of str
        Names.
    boxes : list of ndarray of shape (4,)
        Left, bottom, right and top, in pixels, of what names must not cover.
    """
    to_points = POINTS_PER_INCH / ax.figure.dpi
    dots = ax.transData.transform(positions) * to_points
    size = SMALL * font_size()
    page = ax.bbox.extents * to_points
    taken, texts = [(*dot - _DOT, *dot + _DOT) for dot in dots], []
    taken += [box * to_points for box in boxes]
    # Names are preferably written towards the middle, where there is more room.
    is_right = dots[:, 0] > dots[:, 0].mean()
    for dot, position, name, right in zip(
        dots, positions, names, is_right, strict=True
    ):
        name = shorten(name)
        width = CHARACTER_WIDTH * size * len(name)
        sides = (-1, 1) if right else (1, -1)
        places = [
            (side, vertical, _box(dot, side, vertical, width, size))
            for vertical in (1, 0, -1)
            for side in sides
        ]
        # A name that leaves the axes could be cut off, which is worse than any overlap.
        costs = [
            (
                round(width * size - _overlap(box, page)),
                sum(_overlap(box, other) for other in taken),
            )
            for _, _, box in places
        ]
        side, vertical, box = places[costs.index(min(costs))]
        taken.append(box)
        texts.append(
            ax.annotate(
                name,
                position,
                xytext=(side * _BESIDE, vertical * size),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=size,
            )
        )
    return texts


def _box(dot, side, vertical, width, size):
    """Return the left, bottom, right and top of a name beside a dot."""
    start, middle = dot[0] + side * _BESIDE, dot[1] + vertical * size
    left, right = sorted((start, start + side * width))
    return left, middle - size / 2, right, middle + size / 2


def _overlap(first, second):
    """Return the area that two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)
