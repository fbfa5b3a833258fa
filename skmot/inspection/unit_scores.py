"""UnitScoresDisplay, a plot of the scores of units, with their noise ceilings."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmot._scores import DIRECTIONS, unwrap
from skmot.inspection._drawing import (
    CHANCE,
    COLUMN_WIDTH,
    FOUND,
    MOST_LABELS,
    add_legend,
    check_result,
    drawing,
    label_layers,
    write_sentence,
)
from skmot.layers import LayerStack
from skmot.metrics import noise_ceiling

# Whiskers of the boxes, in percent.
_WHISKERS = 5, 95


class UnitScoresDisplay:
    """Plot of the scores of the units of each layer, with their noise ceilings.

    A box shows the quartiles and the median of the scores of a layer, whiskers their 5
    % and 95 % quantiles, and a diamond their mean, which is the score of the layer.
    Behind it is the same box of the noise ceilings. The sentence above says on how many
    units the scores rest.

    Parameters
    ----------
    unit_scores : ndarray of shape (n_units,), or list of them
        Score of each unit, one array for each layer, as returned by the method
        `unit_scores` of an estimator. For nested layers, lists of lists. NaN if a unit
        is constant.
    ceilings : ndarray of shape (n_units,), or list of them, default=None
        Noise ceilings of the same units, as returned by
        :func:`skmot.metrics.noise_ceiling`.
    threshold : float, default=None
        Units with a lower ceiling are left out. None leaves out no unit because of its
        ceiling.
    layer_names : sequence of str, default=None
        Names of the arrays. None numbers them from 1.
    direction : {"target", "source"}, default="target"
        Side that is scored.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    boxes_ : dict of list
        Artists of the boxes of the scores, as returned by matplotlib's `boxplot`.
    ceiling_boxes_ : dict of list or None
        The same of the ceilings, None without ceilings.
    means_ : matplotlib Line2D
        Mean score of each layer.
    kept_ : list of ndarray of bool of shape (n_units,)
        Units that are drawn: with a score, and with a ceiling of at least `threshold`.
    n_left_out_ : ndarray of int of shape (n_layers,)
        Number of units of each layer that are left out.
    layer_scores_ : ndarray of shape (n_layers,)
        Mean score of the units of each layer that are drawn; NaN if there is none.

    See Also
    --------
    skmot.metrics.corrected_scores : Divides the scores by the ceilings.
    skmot.metrics.noise_corrected_score : Corrects for the noise of both sides.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.inspection import UnitScoresDisplay
    >>> rng = np.random.default_rng(0)
    >>> layers = [rng.normal(size=(60, 8)) for _ in range(3)]
    >>> noisy = [layer + rng.normal(size=layer.shape) for layer in layers]
    >>> noisy[1][40:, 0] = 0
    >>> train, test = slice(40), slice(40, 60)
    >>> mot = MultiLevelOT().fit([x[train] for x in layers], [y[train] for y in noisy])
    >>> display = UnitScoresDisplay.from_estimator(
    ...     mot, [x[test] for x in layers], [y[test] for y in noisy]
    ... )
    >>> display.n_left_out_
    array([0, 1, 0])
    """

    def __init__(
        self,
        unit_scores,
        ceilings=None,
        *,
        threshold=None,
        layer_names=None,
        direction="target",
    ):
        self.unit_scores = unit_scores
        self.ceilings = ceilings
        self.threshold = threshold
        self.layer_names = layer_names
        self.direction = direction

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        ceilings=None,
        threshold=None,
        direction="target",
        ax=None,
    ):
        """Score the units of a fitted estimator, and plot the scores.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            Fitted estimator with the method `unit_scores`. A Pipeline's earlier steps
            are applied to `X`, and a TransformedTargetLayers transforms `y`. Of a
            search, the best estimator is used.
        X, y : LayerStack, list, dict, DataFrame or array-like
            Held-out source and target layers.
        ceilings : ndarray, list of them, or LayerStack, default=None
            Noise ceilings of the units that are scored, or a stack with trials of these
            layers, from which :func:`skmot.metrics.noise_ceiling` estimates them.
        threshold : float, default=None
            Units with a lower ceiling are left out.
        direction : {"target", "source"}, default="target"
            Side that is reconstructed and scored.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : UnitScoresDisplay
            Display that stores the plotted values.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If it has no `unit_scores`.
        ValueError
            If an argument does not fit the layers.
        """
        check_is_fitted(estimator)
        estimator, X, y = unwrap(estimator, X, y)
        if not hasattr(estimator, "unit_scores"):
            raise TypeError(
                f"{type(estimator).__name__} has no `unit_scores`: give an estimator "
                "of skmot that predicts."
            )
        if isinstance(ceilings, LayerStack):
            ceilings = noise_ceiling(ceilings, random_state=0)
        scores = estimator.unit_scores(X, y, direction)
        layout = estimator._layouts(direction)[1]
        names = None if layout.is_single_array else list(_names_of(layout.structure))
        return cls(
            scores,
            ceilings,
            threshold=threshold,
            layer_names=names,
            direction=direction,
        ).plot(ax)

    @classmethod
    def from_result(cls, result, *, layer_names=None, threshold=None, ax=None):
        """Plot the scores and the ceilings of a noise-corrected score.

        Parameters
        ----------
        result : Result
            What :func:`skmot.metrics.noise_corrected_score` returns.
        layer_names : sequence of str, default=None
            Names of the arrays. None takes those of the result.
        threshold : float, default=None
            Units with a lower ceiling are left out.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : UnitScoresDisplay
            Display that stores the plotted values.

        Raises
        ------
        TypeError
            If the result is of another function.
        """
        check_result(
            result, ("unit_scores", "ceilings", "direction"), "noise_corrected_score"
        )
        return cls(
            result.unit_scores,
            result.ceilings,
            threshold=threshold,
            layer_names=result.array_names if layer_names is None else layer_names,
            direction=result.direction,
        ).plot(ax)

    def plot(self, ax=None):
        """Plot the scores of the units.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : UnitScoresDisplay
            The object itself.

        Raises
        ------
        ValueError
            If scores, ceilings and names do not have the same layers and units, no unit
            has a score, `direction` is unknown, or a threshold is given without
            ceilings.
        """
        scores, ceilings = self._read()
        self.kept_ = [~np.isnan(layer) for layer in scores]
        if ceilings is not None and self.threshold is not None:
            self.kept_ = [
                kept & (layer >= self.threshold)
                for kept, layer in zip(self.kept_, ceilings, strict=True)
            ]
        n_kept = np.array([np.count_nonzero(kept) for kept in self.kept_])
        if not n_kept.any():
            raise ValueError("No unit has a score, so there is nothing to draw.")
        self.n_left_out_ = np.array([len(kept) for kept in self.kept_]) - n_kept
        scores = _select(scores, self.kept_)
        self.layer_scores_ = np.array(
            [layer.mean() if len(layer) else np.nan for layer in scores]
        )
        is_new = ax is None
        with drawing(ax, (COLUMN_WIDTH, 2.4)) as (ax,):
            self.ax_, self.figure_ = ax, ax.figure
            self.ceiling_boxes_ = None
            if ceilings is not None:
                self.ceiling_boxes_ = _draw_boxes(
                    ax, _select(ceilings, self.kept_), 0.8, "0.85", "0.5"
                )
            self.boxes_ = _draw_boxes(ax, scores, 0.45, "#9ecae1", "black")
            (self.means_,) = ax.plot(
                np.arange(len(scores)),
                self.layer_scores_,
                linestyle="",
                marker="D",
                markersize=3.5 if len(scores) <= MOST_LABELS else 2,
                color=FOUND,
                markeredgecolor="white",
                markeredgewidth=0.4,
                zorder=4,
            )
            ax.axhline(0, color=CHANCE, linewidth=0.8, zorder=0)
            self._label(ax, n_kept, is_new)
        return self

    def _read(self):
        """Return scores and ceilings as flat lists of arrays, after checking them."""
        if self.direction not in DIRECTIONS:
            raise ValueError(
                f"`direction` must be one of {DIRECTIONS}; got {self.direction!r}."
            )
        scores = _flatten(self.unit_scores)
        if self.layer_names is not None and len(self.layer_names) != len(scores):
            raise ValueError(
                f"`layer_names` has {len(self.layer_names)} names, but there are "
                f"{len(scores)} layers."
            )
        if self.ceilings is None:
            if self.threshold is not None:
                raise ValueError("`threshold` is of ceilings: give `ceilings`, too.")
            return scores, None
        ceilings = _flatten(self.ceilings)
        sizes = [[len(layer) for layer in side] for side in (scores, ceilings)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                "`unit_scores` and `ceilings` must have one number for each unit; got "
                f"layers of {sizes[0]} and of {sizes[1]} units."
            )
        return scores, ceilings

    def _label(self, ax, n_kept, is_new):
        label_layers(ax.xaxis, self.layer_names, len(n_kept))
        ax.set(
            xlabel=f"{self.direction} layer",
            ylabel="correlation with\nreconstruction",
            xlim=(-0.6, len(n_kept) - 0.4),
        )
        boxes, labels = [self.boxes_["boxes"][0]], ["unit scores"]
        if self.ceiling_boxes_ is not None:
            boxes.append(self.ceiling_boxes_["boxes"][0])
            labels.append("noise ceilings")
        add_legend(ax, handles=[*boxes, self.means_], labels=[*labels, "mean"])
        write_sentence(ax, self._say_units(n_kept), is_new=is_new)

    def _say_units(self, n_kept):
        n_left_out = int(self.n_left_out_.sum())
        total = int(n_kept.sum()) + n_left_out
        mean = np.nanmean(self.layer_scores_)
        said = (
            f"Mean score {mean:.2f} of {int(n_kept.sum()):,} of {total:,} "
            f"{self.direction} units; {n_left_out:,} left out"
        )
        if self.threshold is not None:
            return f"{said} (constant, or ceiling below {self.threshold:g})."
        return f"{said} (constant)." if n_left_out else f"{said}."


def _flatten(layers):
    """Return a flat list of arrays from one array, or from lists of them."""
    if isinstance(layers, list | tuple) and any(
        isinstance(layer, list | tuple) or np.ndim(layer) > 0 for layer in layers
    ):
        return [array for layer in layers for array in _flatten(layer)]
    return [np.asarray(layers, dtype=np.float64)]


def _names_of(structure, before=""):
    """Yield the names of all arrays of a structure, or their numbers from 1."""
    names, parts = structure
    for index, part in enumerate(parts):
        name = f"{before}{index + 1 if names is None else names[index]}"
        if isinstance(part, tuple):
            yield from _names_of(part, f"{name}, ")
        else:
            yield name


def _select(layers, kept):
    return [layer[mask] for layer, mask in zip(layers, kept, strict=True)]


def _draw_boxes(ax, layers, width, colour, edge):
    """Draw one box for each layer at 0, 1, and so on. Empty layers have none."""
    line = {"color": edge, "linewidth": 0.8}
    return ax.boxplot(
        layers,
        positions=np.arange(len(layers)),
        widths=width,
        whis=_WHISKERS,
        showfliers=False,
        showcaps=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour, "edgecolor": edge, "linewidth": 0.6},
        whiskerprops=line,
        medianprops=line | {"linewidth": 1.2},
    )
