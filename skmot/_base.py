"""The common ground of the estimators: fit to two networks, predict, score."""

import warnings
from abc import ABCMeta, abstractmethod

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skmot._array_api import check_home, check_numpy, move_to_home_of
from skmot._labels import check_same_stimuli
from skmot._units import column_correlations
from skmot._validation import (
    check_fit_pair,
    check_later_side,
    check_layer,
    check_same_length,
    move_stack,
    warn_about_dead_units,
)
from skmot.layers import LayerStack, home_of_layers, layer_label
from skmot.metrics._reconstruction import mean_over_units

DIRECTIONS = ("target", "source")
# What a user can do about a shortfall, by its name.
_ADVICE = {
    "duality gap": "Costs are above the optimum by at most this much.",
    "fall of J in the last round": "Raise `max_iter`, or `tol` if it is small enough.",
}


def _maps_to(direction):
    """Make a method available where the estimator reconstructs that side."""

    def check(estimator):
        estimator._check_map(direction)
        return True

    return available_if(check)


class LayerEstimator(RegressorMixin, BaseEstimator, metaclass=ABCMeta):
    """Base of the estimators that are fitted to a source and a target network.

    A subclass says how it fits and how it reconstructs one side from the other; what is
    read, checked, warned of, scored and given back is the same for all.
    """

    # An array that lies where what was learned does; None where a level above is not
    # done with its fit.
    _home = None

    # -- what a subclass says ------------------------------------------------------

    @abstractmethod
    def _fit(self, source, target):
        """Learn from two stacks; the layouts are set. Must not warn: see `_report`."""

    @abstractmethod
    def _reconstruct(self, direction, stack):
        """Yield the layers of one side, from a stack of the other, one at a time."""

    def _check_map(self, direction):
        """Raise an AttributeError that says why a direction has no map."""

    def _shortfalls(self):
        """Return what did not reach its tolerance, as pairs of a name and an amount."""
        return []

    # -- fitting -------------------------------------------------------------------

    # An inner estimator has parameters of its own, so nested validation is not skipped.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Fit to a source and a target.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Source layers, each (n_stimuli, n_units); at least two stimuli. One array is
            one layer. What compares populations takes all layers as one population.
        y : LayerStack, list, dict, DataFrame or array-like
            Target layers over the same stimuli. One dimension is one unit.

        Returns
        -------
        self : estimator
            Fitted.

        Raises
        ------
        ValueError, TypeError
            If the input is not finite numbers in two dimensions, the sides differ in
            their stimuli, there are too few stimuli, a layer has constant units only,
            one side has several layers and the other is one bare array, or an inner
            estimator learns no finite `cost_`.

        Warns
        -----
        DeadUnitWarning
            If some units are constant; once, whatever their number.
        ConvergenceWarning
            If a plan is not proven optimal to 1e-9 of the spread of costs, or the
            rounds of a rotation did not settle; it says what to change.

        Notes
        -----
        Under scikit-learn's `array_api_dispatch
        <https://scikit-learn.org/stable/modules/array_api.html>`__ layers may be arrays
        of other libraries, on any device that has float64, where the estimator's tag
        `array_api_support` is set. They stay there: `y` is moved to the library and
        device of `X`, and dense learned attributes and reconstructions are of them too.
        Sparse plans are SciPy's, and scores numpy's, on the host.
        """
        self._fit_quietly(X, y)
        self._report()
        return self

    def _fit_quietly(self, X, y):
        """Fit, and leave what is to be reported to the caller."""
        source, target, source_layout, target_layout = check_fit_pair(self, X, y)
        self._source_layout, self._target_layout = source_layout, target_layout
        self.source_names_, self.target_names_ = source.names, target.names
        home = home_of_layers(source)
        if not get_tags(self).array_api_support:
            check_numpy(home, f"{type(self).__name__}, with the settings it has,")
        self._fit(source, target)
        self._follow(home)
        return self

    def _follow(self, home):
        """Move what was learned to where the source is, as scikit-learn has it.

        Sparse matrices and what is not public stay on the host.
        """
        self._home = home
        for name, value in list(vars(self).items()):
            if name.endswith("_") and not name.startswith("_"):
                setattr(self, name, _followed(value, home))

    def _report(self):
        """Warn, once a fit, of dead units and of plans short of their tolerance."""
        warn_about_dead_units(
            [self.dead_source_units_, self.dead_target_units_],
            ["X", "y"],
            # _report, fit, scikit-learn's wrapper of it, and then the caller.
            stacklevel=5,
        )
        shortfalls = self._shortfalls()
        for kind in dict.fromkeys(kind for kind, _ in shortfalls):
            amounts = [amount for other, amount in shortfalls if other == kind]
            warnings.warn(
                f"{len(amounts)} problem(s) did not reach the tolerance: the largest "
                f"{kind} is {max(amounts):.1e}. {_ADVICE[kind]}",
                ConvergenceWarning,
                stacklevel=4,
            )

    # -- costs on other stimuli ----------------------------------------------------

    def held_out_cost(self, X, y):
        """Read the cost of the fit on other stimuli.

        What was fitted is kept: `cost_` is read on the stimuli it was made small on,
        and at few stimuli the more units there are the smaller it is by itself.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.

        Returns
        -------
        cost : float
            As `cost_`; lower is more alike.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those fitted to or between the sides in their
            stimuli, or there are fewer than two stimuli.
        """
        return float(self._cost_on(*self._check_both(X, y, "held_out_cost")))

    @abstractmethod
    def _cost_on(self, source, target):
        """Return the cost of the fit on two stacks of other stimuli."""

    def _check_both(self, X, y, method):
        """Read both sides given to a method of a fitted estimator."""
        check_is_fitted(self)
        source, _ = check_later_side(self, X, self._source_layout)
        target, found = check_later_side(self, y, self._target_layout)
        check_same_length(source, target, "X", "y")
        check_same_stimuli(source.stimuli, target.stimuli, "X", "y")
        self._check_home(source, method)
        return source, move_stack(target, home_of_layers(source), found)

    def _check_home(self, stack, method):
        """Raise unless a side lies where what was learned does."""
        if self._home is not None:
            check_home(home_of_layers(stack), self._home, self, method)

    # -- predicting ----------------------------------------------------------------

    @_maps_to("target")
    def predict(self, X):
        """Reconstruct the target network from the source network.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Source layers of shape (n_stimuli, n_units), the ones fitted to.

        Returns
        -------
        y : same kind as the `y` fitted to
            Target layers of shape (n_stimuli, n_units), in the target's units.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those fitted to, or are not finite.
        """
        return self._predict("target", X)

    @_maps_to("source")
    def inverse_predict(self, y):
        """Reconstruct the source network from the target network.

        Parameters
        ----------
        y : LayerStack, list, dict, DataFrame or array-like
            Target layers of shape (n_stimuli, n_units), the ones fitted to.

        Returns
        -------
        X : same kind as the `X` fitted to
            Source layers of shape (n_stimuli, n_units), in the source's units.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those fitted to, or are not finite.
        """
        return self._predict("source", y)

    def _predict(self, direction, given):
        check_is_fitted(self)
        seen, wanted = self._layouts(direction)
        stack, _ = check_later_side(self, given, seen)
        method = "predict" if direction == "target" else "inverse_predict"
        self._check_home(stack, method)
        return wanted.restore(list(self._reconstruct(direction, stack)), stack.stimuli)

    def _layouts(self, direction):
        """Return the layouts of what is given and of what is reconstructed."""
        if direction == "target":
            return self._source_layout, self._target_layout
        return self._target_layout, self._source_layout

    # -- scoring -------------------------------------------------------------------

    @_maps_to("target")
    def score(self, X, y, sample_weight=None):
        """Score the reconstruction of the target on held-out stimuli.

        The mean over target layers of the mean over their units of the Pearson
        correlation between recorded and reconstructed responses. A unit constant in `y`
        is left out; one whose reconstruction is constant counts as 0.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        sample_weight : None
            Correlations here are not weighted: anything else is an error.

        Returns
        -------
        score : float
            From -1 to 1.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those fitted to or between the sides in their
            stimuli, weights are given, there are fewer than two stimuli, or every unit
            of a layer is constant.
        """
        scores = self._layer_scores("target", X, y, "score", sample_weight)
        return float(scores.mean())

    @_maps_to("source")
    def inverse_score(self, X, y, sample_weight=None):
        """Score the reconstruction of the source on held-out stimuli.

        As :meth:`score`, in the direction the second paper reports.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        sample_weight : None
            Correlations here are not weighted: anything else is an error.

        Returns
        -------
        score : float
            From -1 to 1.

        Raises
        ------
        NotFittedError, ValueError
            As :meth:`score`.
        """
        scores = self._layer_scores("source", X, y, "inverse_score", sample_weight)
        return float(scores.mean())

    @_maps_to("target")
    def layer_scores(self, X, y, direction="target"):
        """Score the reconstruction of each layer.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        direction : {"target", "source"}, default="target"
            Which side is reconstructed and scored.

        Returns
        -------
        scores : ndarray of shape (n_layers,)
            Mean over a layer's units of their correlation, from -1 to 1.

        Raises
        ------
        NotFittedError, ValueError
            As :meth:`score`.
        """
        return self._layer_scores(direction, X, y, "layer_scores")

    @_maps_to("target")
    def unit_scores(self, X, y, direction="target"):
        """Score the reconstruction of each unit.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        direction : {"target", "source"}, default="target"
            Which side is reconstructed and scored.

        Returns
        -------
        scores : ndarray of shape (n_units,), or list of them
            Correlation of each unit with its reconstruction, from -1 to 1; NaN where
            the unit is constant over these stimuli, 0 where its reconstruction is. One
            array a layer; the array itself where that side was fitted as one array.

        Raises
        ------
        NotFittedError, ValueError
            As :meth:`score`, but for constant layers.
        """
        scores = list(self._unit_scores(direction, X, y, "unit_scores"))
        return scores[0] if self._layouts(direction)[1].is_bare else scores

    def _layer_scores(self, direction, X, y, method, sample_weight=None):
        if sample_weight is not None:
            raise ValueError(
                "sample_weight is not supported: the score is a mean of unweighted "
                "correlations. Select stimuli by indexing X and y instead."
            )
        scores = self._unit_scores(direction, X, y, method)
        wanted = self._layouts(direction)[1]
        return np.array(
            [
                _mean_score(layer, wanted.where(index))
                for index, layer in enumerate(scores)
            ]
        )

    def _unit_scores(self, direction, X, y, method):
        if direction not in DIRECTIONS:
            raise ValueError(
                f"`direction` must be one of {DIRECTIONS}; got {direction!r}."
            )
        source, target = self._check_both(X, y, method)
        self._check_map(direction)
        given, truth = (source, target) if direction == "target" else (target, source)
        return self._compare(direction, given, truth)

    def _compare(self, direction, given, truth):
        wanted = self._layouts(direction)[1]
        layers = zip(truth.layers, self._reconstruct(direction, given), strict=True)
        for index, (truth_layer, layer) in enumerate(layers):
            yield _correlate(truth_layer, layer, wanted.where(index))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        # A matching is no regression: each target unit is matched to units like it, and
        # a target that is like none of them is not predicted well.
        tags.regressor_tags.poor_score = True
        tags.array_api_support = True
        return tags


def _followed(value, home):
    """Return what was learned with its arrays, of numbers, where another is."""
    if isinstance(value, LayerEstimator):
        value._follow(home)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return move_to_home_of(home, value)
    elif type(value) in (list, tuple):
        return type(value)(_followed(part, home) for part in value)
    elif type(value) is dict:
        return {key: _followed(part, home) for key, part in value.items()}
    return value


def _correlate(truth, prediction, where):
    """Correlate units of a layer, layer by layer where it was reconstructed so."""
    if isinstance(prediction, LayerStack):
        return [
            _correlate(part, predicted, f"{where}, {layer_label(index, truth.names)}")
            for index, (part, predicted) in enumerate(
                zip(truth.layers, prediction.layers, strict=True)
            )
        ]
    return column_correlations(check_layer(truth, where, min_stimuli=2), prediction)


def _mean_score(scores, where):
    """Average over units; of a stack, over its layers."""
    if isinstance(scores, list):
        return float(np.mean([_mean_score(part, where) for part in scores]))
    return mean_over_units(scores, where)
