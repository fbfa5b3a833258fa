"""Base classes of the estimators that are fitted to a source and a target.

Derive from :class:`PairComparison` or :class:`PairMapping` to write your own comparison
of two populations. A subclass implements one method, `_solve`, and then works as the
inner estimator of `MultiLevelOT` at any level, with `cost_cv`, `memory` and `n_jobs`,
and with `compare` and the controls.
"""

import numbers
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skmot._scores import DIRECTIONS, as_columns, layer_scores, pair_arrays
from skmot._units import (
    UnitStatistics,
    column_correlations,
    join_curves,
    live_units,
    mean_over_units,
    over_all_units,
    read_statistics,
    standardize,
    tuning_curves,
    unit_statistics,
    unstandardize,
    warn_about_dead_units,
)
from skmot._utils.array_api import (
    apply_plan,
    check_numpy,
    check_same_device,
    move_to_device_of,
    namespace_of,
)
from skmot._utils.docstrings import shared_docs
from skmot._utils.methods import available_where
from skmot._utils.progress import begin_fit, end_fit
from skmot._utils.sklearn import fit_context
from skmot._utils.state import PlainState
from skmot._utils.warnings import say_few_validation, stacklevel_of_caller
from skmot.layers import LayerStack
from skmot.layers.checks import check_layer, check_same_length
from skmot.layers.labels import check_same_stimuli, warn_about_row_numbers
from skmot.layers.layout import Layout, nest
from skmot.layers.sides import check_fit_pair, check_later_side, move_stack
from skmot.layers.splits import repeated_rows
from skmot.layers.stack import Leaf, device_of_layers, leaves_of, side_by_side
from skmot.layers.training import TrainingStimuli
from skmot.transport import TuningCurves

__all__ = [
    "PairComparison",
    "PairMapping",
    "Population",
    "RawPopulation",
    "Solution",
]

# Advice in the ConvergenceWarning about a quantity that exceeds its tolerance.
_ADVICE = {
    "duality gap": "Costs are above the optimum by at most this much.",
    "fall of J in the last round": "Raise `max_iter`, or `tol` if it is small enough.",
}
# Quantity of a Solution that is no tolerance of a solver, and has a warning of its own.
FEW_VALIDATION_STIMULI = "validation stimuli"
_NO_MAP = (
    "{name} has no `{method}` and no scores: it compares two populations and maps "
    "neither to the other. It has a `cost_`."
)


@dataclass(frozen=True)
class Solution:
    """Result of `_solve`: everything that is learned from one pair of populations.

    Parameters
    ----------
    cost : float
        Distance of the two populations, which becomes `cost_`. Lower means more alike.
    maps : tuple of two, default=None
        Map from source to target, and map from target to source. Each map is a dense or
        sparse matrix of shape (n_input_units, n_output_units), which standardised units
        are multiplied with; or a function that takes an array of shape (n_stimuli,
        n_input_units) and returns a new array of shape (n_stimuli, n_output_units).
        Both work on the live units, in their original order. Functions must be
        picklable for `n_jobs` and `memory`. None if the estimator does not predict.
    attributes : dict, default={}
        Further fitted attributes by name, such as ``"coef_"``.
    converged : bool, or dict of str to float, default=True
        Whether the solver has converged; False raises a ConvergenceWarning. A dict
        contains the quantities that exceed their tolerance, by name. Their values
        appear in the warning.

    Examples
    --------
    >>> from skmot.base import Solution
    >>> Solution(cost=0.25)
    Solution(cost=0.25, maps=None, attributes={}, converged=True)
    """

    cost: float
    maps: tuple | None = None
    attributes: Mapping = field(default_factory=dict)
    converged: object = True


@dataclass(frozen=True)
class Population:
    """Input of `_solve` by default: one or more layers as one standardised population.

    Attributes
    ----------
    units : array of shape (n_stimuli, n_live_units)
        Live units, each with mean 0 and variance 1. Computed at each access.
    curves : TuningCurves
        Tuning curves of the live units: `curves.vectors` have mean 0 and norm 1 for the
        metric "correlation", which is the default.
    statistics : UnitStatistics
        Mean, deviation and `live` mask of all units, including constant units.
    groups : ndarray of int of shape (n_stimuli,) or None
        Groups of rows with equal stimulus labels, if labels repeat and the estimator
        splits rows. None otherwise.
    """

    curves: TuningCurves
    statistics: UnitStatistics
    groups: object = None

    @property
    def units(self):
        vectors = self.curves.vectors
        return vectors * np.sqrt(vectors.shape[0]).astype(self.statistics.dtype)


@dataclass(frozen=True)
class RawPopulation:
    """Input of `_solve` for `_input = "raw"`: one or more layers as one population.

    Attributes
    ----------
    units : array of shape (n_stimuli, n_units)
        All units, including constant units, without any scaling. The values are finite
        and float32 or float64. They must not be modified.
    statistics : UnitStatistics
        Mean, deviation and `live` mask of all units.
    """

    units: object
    statistics: UnitStatistics


def _if_mapped(direction):
    """Make a method available if the estimator can reconstruct the given side."""
    return available_where(lambda estimator: estimator._check_map(direction))


class LayerEstimator(
    PlainState, CallbackSupportMixin, RegressorMixin, BaseEstimator, metaclass=ABCMeta
):
    """Base class of the estimators that are fitted to a source and a target network.

    A subclass implements the fit, the reconstruction of one side from the other, and
    the cost on other stimuli. This class reads and checks the input, raises warnings,
    computes scores, and returns predictions in the format of the training data.
    """

    _parameter_constraints = {}
    # Whether pairs of layers can be fitted in threads. This requires code that releases
    # the global interpreter lock and raises no warnings.
    _runs_in_threads = False
    # Quantity that `cost_` is, in the words of a colour bar. None if it has no name.
    _cost_name = None
    # Whether constant units are left out, and reported in a warning.
    _leaves_out_constant_units = True
    # Empty array on the device of the fitted attributes. None for an inner estimator
    # until the fit of the outer estimator is complete.
    _device_reference = None
    # Digests of the training stimuli, if these have labels.
    _training = None

    # -- methods that a subclass implements ----------------------------------------

    @abstractmethod
    def _fit(self, source, target):
        """Set the fitted attributes from two stacks. The layouts are already set.

        It calls `begin_fit`, for the callbacks, once it knows the number of parts.
        """

    @abstractmethod
    def _reconstruct(self, direction, stack):
        """Yield the layers of one side, one at a time, from a stack of the other."""

    @abstractmethod
    def _cost_on(self, source, target):
        """Return the cost of the fit on two stacks of other stimuli."""

    def _why_no_map(self, method):
        """Return why the estimator has no `predict` or `inverse_predict`, or None."""
        return None

    @property
    def _is_stochastic(self):
        """Whether the fitted attributes depend on `random_state`."""
        return hasattr(self, "random_state")

    # -- fitting -------------------------------------------------------------------

    # Nested validation is not skipped, because inner estimators have parameters, too.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Fit the estimator to a source and a target.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Source layers, each of shape (n_stimuli, n_units), with at least two
            stimuli. A single array is one layer. Estimators of one pair of populations
            treat all layers as one population.
        y : LayerStack, list, dict, DataFrame or array-like
            Target layers over the same stimuli. A one-dimensional array is one unit.

        Returns
        -------
        self : estimator
            Fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If the input is not numeric, finite and two-dimensional, the stimuli of the
            two sides differ, there are too few stimuli, all units of a layer are
            constant, one side has several layers and the other is a single array, or an
            inner estimator has no finite `cost_` after fitting.

        Warns
        -----
        DeadUnitWarning
            If some units are constant. Raised once per fit.
        ConvergenceWarning
            If a plan is not proven optimal to 1e-9 of the spread of the costs, or if
            the iterations for a rotation did not converge. The message says which
            parameter to change.

        Notes
        -----
        If scikit-learn's `array_api_dispatch
        <https://scikit-learn.org/stable/modules/array_api.html>`__ is enabled and the
        estimator's tag `array_api_support` is set, layers may be arrays of other
        libraries on any device that supports float64. Then `y` is moved to the
        namespace and device of `X`, and dense fitted attributes and reconstructions are
        there, too. Sparse plans are SciPy arrays and scores are numpy arrays, both on
        the CPU.
        """
        source, target, *layouts = check_fit_pair(self, X, y)
        self._set_layouts(*layouts)
        reference = device_of_layers(source)
        if not get_tags(self).array_api_support:
            check_numpy(reference, f"{type(self).__name__}, with the settings it has,")
        self._training = TrainingStimuli.of(source, target)
        self._fit(source, target)
        # Layers in files must not have changed while they were read.
        source._check_files(self._source_layout.where)
        target._check_files(self._target_layout.where)
        self._move_learned_to(reference)
        self._report()
        end_fit(self, X=source, y=target)
        return self

    def _set_layouts(self, source, target):
        """Set the layouts, which the input of later calls is compared with."""
        self._source_layout, self._target_layout = source, target
        self.source_names_, self.target_names_ = source.names, target.names
        self.n_features_in_ = sum(source.widths)

    def _move_learned_to(self, reference):
        """Move dense fitted attributes to the namespace and device of the source.

        Sparse matrices and private attributes stay on the CPU.
        """
        self._device_reference = reference
        for name, value in list(vars(self).items()):
            if name.endswith("_") and not name.startswith("_"):
                setattr(self, name, _move_arrays(value, reference))

    def _report(self):
        """Warn about dead units and convergence issues, once per fit."""
        if self._leaves_out_constant_units:
            warn_about_dead_units(
                [self.dead_source_units_, self.dead_target_units_],
                ["X", "y"],
                layouts=(self._source_layout, self._target_layout),
            )
        issues = self._convergence_issues
        for kind in dict.fromkeys(kind for kind, _ in issues):
            amounts = [amount for other, amount in issues if other == kind]
            if kind == FEW_VALIDATION_STIMULI:
                warnings.warn(
                    say_few_validation(
                        len(amounts), min(amounts), "validation_fraction"
                    ),
                    UserWarning,
                    stacklevel=stacklevel_of_caller(),
                )
                continue
            largest = "" if kind is None else f": the largest {kind} is "
            largest += "" if kind is None else f"{max(amounts):.1e}"
            warnings.warn(
                f"{len(amounts)} problem(s) did not reach the tolerance{largest}. "
                f"{_ADVICE.get(kind, 'The result may be inaccurate.')}",
                ConvergenceWarning,
                stacklevel=stacklevel_of_caller(),
            )

    # -- costs on other stimuli ----------------------------------------------------

    def held_out_cost(self, X, y):
        """Compute the cost of the fit on held-out stimuli.

        The attribute `cost_` is computed on the training stimuli, on which the fit
        minimised it. With few stimuli, it therefore decreases with the number of units.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.

        Returns
        -------
        cost : float
            Cost in the units of `cost_`. Lower means more alike.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those in `fit`, the stimuli of the two sides
            differ, or there are fewer than two stimuli.
        """
        return float(self._cost_on(*self._check_both(X, y, "held_out_cost")))

    def _check_both(self, X, y, method):
        """Read and check both arguments of a method of a fitted estimator."""
        check_is_fitted(self)
        source, _ = check_later_side(self, X, self._source_layout)
        target, found = check_later_side(self, y, self._target_layout)
        check_same_length(source, target, "X", "y")
        check_same_stimuli(source.stimuli, target.stimuli, "X", "y")
        warn_about_row_numbers(source._row_numbers, target._row_numbers, "X", "y")
        if self._training is not None:
            self._training.check(source, target)
        self._check_device(source, method)
        return source, move_stack(target, device_of_layers(source), found)

    def _check_device(self, stack, method):
        """Raise an error unless a side is on the device of the fitted attributes."""
        if self._device_reference is not None:
            check_same_device(
                device_of_layers(stack), self._device_reference, self, method
            )

    # -- predicting ----------------------------------------------------------------

    @_if_mapped("target")
    def predict(self, X):
        """Reconstruct the target network from the source network.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            The source layers of `fit`, each of shape (n_stimuli, n_units).

        Returns
        -------
        y : same type as `y` in `fit`
            Predicted target layers, each of shape (n_stimuli, n_units).

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those in `fit`, or are not finite.
        """
        return self._predict("target", X)

    @_if_mapped("source")
    def inverse_predict(self, y):
        """Reconstruct the source network from the target network.

        Parameters
        ----------
        y : LayerStack, list, dict, DataFrame or array-like
            The target layers of `fit`, each of shape (n_stimuli, n_units).

        Returns
        -------
        X : same type as `X` in `fit`
            Predicted source layers, each of shape (n_stimuli, n_units).

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those in `fit`, or are not finite.
        """
        return self._predict("source", y)

    def _predict(self, direction, given):
        check_is_fitted(self)
        layout_in, layout_out = self._layouts(direction)
        stack, _ = check_later_side(self, given, layout_in)
        self._check_device(stack, _method_name(direction))
        layers = list(self._reconstruct(direction, stack))
        return layout_out.restore(layers, stack.stimuli, stack._row_numbers)

    def _layouts(self, direction):
        """Return the layout of the given side and that of the reconstructed side."""
        if direction == "target":
            return self._source_layout, self._target_layout
        return self._target_layout, self._source_layout

    def _check_map(self, direction):
        """Raise an AttributeError if the given side cannot be reconstructed."""
        reason = self._why_no_map(_method_name(direction))
        if reason is not None:
            raise AttributeError(reason)

    # -- scoring -------------------------------------------------------------------

    @_if_mapped("target")
    def score(self, X, y, sample_weight=None):
        """Score the reconstruction of the target on held-out stimuli.

        The score is the Pearson correlation between recorded and reconstructed
        responses, averaged over the units of each layer and then over layers. Units
        that are constant in `y` are left out. Units with a constant reconstruction
        count as 0.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        sample_weight : None
            Not supported: any other value raises an error.

        Returns
        -------
        score : float
            Mean correlation, from -1 to 1.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those in `fit`, the stimuli of the two sides
            differ, sample weights are given, there are fewer than two stimuli, or all
            units of a layer are constant.
        """
        scores = self._layer_scores("target", X, y, "score", sample_weight)
        return float(scores.mean())

    @_if_mapped("source")
    def inverse_score(self, X, y, sample_weight=None):
        """Score the reconstruction of the source on held-out stimuli.

        Same as :meth:`score`, in the direction that the multi-level OT paper reports.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        sample_weight : None
            Not supported: any other value raises an error.

        Returns
        -------
        score : float
            Mean correlation, from -1 to 1.

        Raises
        ------
        NotFittedError, ValueError
            Same as in :meth:`score`.
        """
        scores = self._layer_scores("source", X, y, "inverse_score", sample_weight)
        return float(scores.mean())

    @_if_mapped("target")
    def layer_scores(self, X, y, direction="target"):
        """Score the reconstruction of each layer.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        direction : {"target", "source"}, default="target"
            Side that is reconstructed and scored.

        Returns
        -------
        scores : ndarray of shape (n_layers,)
            Mean correlation of the units of each layer, from -1 to 1.

        Raises
        ------
        NotFittedError, ValueError
            Same as in :meth:`score`.
        """
        return self._layer_scores(direction, X, y, "layer_scores")

    @_if_mapped("target")
    def unit_scores(self, X, y, direction="target"):
        """Score the reconstruction of each unit.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        direction : {"target", "source"}, default="target"
            Side that is reconstructed and scored.

        Returns
        -------
        scores : ndarray of shape (n_units,), or list of such arrays
            Correlation of each unit with its reconstruction, from -1 to 1; NaN if the
            unit is constant over these stimuli, 0 if its reconstruction is constant.
            One array per layer, or a single array if that side was a single array in
            `fit`.

        Raises
        ------
        NotFittedError, ValueError
            Same as in :meth:`score`, except that constant layers are allowed.
        """
        all_scores = []
        for layer, parts in self._paired_layers(direction, X, y, "unit_scores"):
            scores = [part.unit_scores() for part in parts]
            # A stack can be reconstructed as one population, which is one array.
            n_arrays = sum(1 for _ in leaves_of(layer, "y"))
            is_nested = isinstance(layer, LayerStack) and len(scores) == n_arrays
            all_scores.append(nest(scores, layer.structure) if is_nested else scores[0])
        if self._layouts(direction)[1].is_single_array:
            return all_scores[0]
        return all_scores

    def _layer_scores(self, direction, X, y, method, sample_weight=None):
        if sample_weight is not None:
            raise ValueError(
                "sample_weight is not supported: the score is a mean of unweighted "
                "correlations. Select stimuli by indexing X and y instead."
            )
        paired = self._paired_layers(direction, X, y, method)
        return layer_scores(part for _, parts in paired for part in parts)

    def _paired_layers(self, direction, X, y, method):
        """Yield each layer of a side, and its arrays paired with their predictions.

        Layers are read and reconstructed one at a time.
        """
        if direction not in DIRECTIONS:
            raise ValueError(
                f"`direction` must be one of {DIRECTIONS}; got {direction!r}."
            )
        source, target = self._check_both(X, y, method)
        self._check_map(direction)
        given, truth = (source, target) if direction == "target" else (target, source)
        layout = self._layouts(direction)[1]
        layers = zip(truth.layers, self._reconstruct(direction, given), strict=True)
        for index, (layer, prediction) in enumerate(layers):
            yield (
                layer,
                pair_arrays(
                    layer, prediction, layout.where(index), index, accept_sparse=True
                ),
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        # A matching is not a regression: a target unit is matched to similar units, so
        # a target that is similar to none of them is not predicted well.
        tags.regressor_tags.poor_score = True
        if self._why_no_map("predict") is not None:
            tags.estimator_type = None
            tags.regressor_tags = None
        return tags


def _method_name(direction):
    return "predict" if direction == "target" else "inverse_predict"


def _move_arrays(value, reference):
    """Move the numeric arrays of a fitted attribute to the device of a reference."""
    if isinstance(value, LayerEstimator):
        value._move_learned_to(reference)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return move_to_device_of(reference, value)
    elif type(value) in (list, tuple):
        return type(value)(_move_arrays(part, reference) for part in value)
    elif type(value) is dict:
        return {key: _move_arrays(part, reference) for key, part in value.items()}
    return value


def convergence_issues(converged):
    """Return the quantities that exceed their tolerance.

    Parameters
    ----------
    converged : bool, dict, or list of pairs
        The `converged` of a :class:`Solution`.

    Returns
    -------
    issues : list of pairs
        Name (or None) and value of each quantity that exceeds its tolerance.
    """
    if isinstance(converged, Mapping):
        return list(converged.items())
    if isinstance(converged, bool | np.bool_):
        return [] if converged else [(None, 0.0)]
    return list(converged)


@shared_docs
class PairComparison(LayerEstimator):
    """Base class of the estimators that compare one population with another.

    A subclass implements `_solve(source, target)`, which returns a :class:`Solution`
    with a cost. If a side has several layers, they are treated as one population.

    The class attribute `_input` selects the input of `_solve`:

    - "standardized" (the default): two :class:`Population`, whose `units` are the live
      units, each with mean 0 and variance 1;
    - "raw": two :class:`RawPopulation`, whose `units` are all units without scaling.

    `held_out_cost` calls `_solve` on the given stimuli. A subclass that computes its
    held-out cost in another way overrides `_held_out_cost`.

    Attributes
    ----------
    cost_ : float
        Distance of the two populations. Lower means more alike.
    <<pair attributes>>

    See Also
    --------
    PairMapping : Base class of comparisons that also predict.
    skmot.FunctionComparison : Compares by any function, without a class.

    Notes
    -----
    `_solve` may only depend on the estimator's parameters and its arguments. It must
    not set attributes or modify its arguments. If the estimator has a parameter
    `random_state`, `_solve` must be deterministic for an integer `random_state`.

    Examples
    --------
    Difference of the dimensions of two populations:

    >>> import numpy as np
    >>> from skmot.base import PairComparison, Solution
    >>> class DimensionComparison(PairComparison):
    ...     def _solve(self, source, target):
    ...         first, second = (
    ...             np.linalg.matrix_rank(side.units) for side in (source, target)
    ...         )
    ...         return Solution(cost=abs(int(first) - int(second)))
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(20, 4)), rng.normal(size=(20, 7))
    >>> DimensionComparison().fit(X, y).cost_
    3.0
    """

    # Input of `_solve`, "standardized" or "raw".
    _input = "standardized"
    # Metric of the tuning curves.
    _curves_metric = "correlation"

    # -- methods that a subclass implements ----------------------------------------

    @abstractmethod
    def _solve(self, source, target):
        """Compare two populations.

        Parameters
        ----------
        source, target : Population or RawPopulation
            The two populations, as `_prepare` returns them.

        Returns
        -------
        solution : Solution
            Cost, maps and further fitted attributes.
        """

    def _prepare(self, leaves, statistics):
        """Convert a population to the input of `_solve`.

        Parameters
        ----------
        leaves : iterable of Leaf
            Arrays of the population, with their names in error messages.
        statistics : UnitStatistics
            Statistics of all units of the population.

        Returns
        -------
        population : Population or RawPopulation
            Input of `_solve`. A subclass may use another type.
        """
        if self._input == "raw":
            return RawPopulation(read_side_by_side(leaves)[0], statistics)
        curves = [
            tuning_curves(layer, own, self._curves_metric)
            for layer, own in self._layers_of(leaves, statistics)
        ]
        return Population(join_curves(curves), statistics)

    def _layers_of(self, leaves, statistics, min_stimuli=1):
        """Yield each checked array of a population, and the statistics of its units."""
        start = 0
        for leaf in leaves:
            layer = check_layer(
                leaf.layer,
                leaf.where,
                min_stimuli=min_stimuli,
                accept_sparse=self._accepts_sparse,
            )
            stop = start + layer.shape[1]
            yield layer, statistics[start:stop]
            start = stop

    def _prepare_for_one(self, leaves, statistics):
        """Return what `_prepare` does, for a population with one partner only.

        A subclass overrides it if another preparation is then faster.
        """
        return self._prepare(leaves, statistics)

    def _prepared_bytes(self, n_stimuli, statistics):
        """Return the approximate size in bytes of the return value of `_prepare`."""
        n_units = statistics.n_live
        if self._input == "raw":
            n_units = len(statistics.live)
        return n_stimuli * n_units * statistics.dtype.itemsize

    def _prepare_held_out(self, leaves, statistics):
        """Convert a population over held-out stimuli to the input of `_held_out_cost`.

        Parameters
        ----------
        leaves : iterable of Leaf
            Arrays of the population over the held-out stimuli.
        statistics : UnitStatistics
            Statistics of the units over the training stimuli.

        Returns
        -------
        population : object
            By default the input of `_solve`, with the units that were live in training.
        """
        layer, where = read_side_by_side(leaves)
        if self._input == "raw":
            return RawPopulation(layer, statistics)
        layer = live_units(layer, statistics)
        held_out_statistics = unit_statistics(layer)
        check_some_scored(held_out_statistics, where)
        return self._prepare([Leaf(layer, where, 0, 1.0)], held_out_statistics)

    def _held_out_cost(self, source, target):
        """Return the cost of the fit on held-out stimuli.

        By default, this is the cost of a new solution for the held-out stimuli.

        Parameters
        ----------
        source, target : object
            The two populations, as `_prepare_held_out` returns them.

        Returns
        -------
        cost : float
            Lower means more alike.
        """
        return self._solve_checked(source, target).cost

    def _why_no_map(self, method):
        return _NO_MAP.format(name=type(self).__name__, method=method)

    # -- methods shared by all subclasses ------------------------------------------

    # Whether `_solve` splits the rows, and must keep repeats of a stimulus together.
    _splits_rows = False
    # Whether `_held_out_cost` depends on the solution for the training stimuli. If not,
    # `cost_cv` does not compute one.
    _held_out_cost_needs_fit = True

    @property
    def _leaves_out_constant_units(self):
        return self._input != "raw"

    def _solve_checked(self, source, target, labels=()):
        """Call `_solve` and check the type of its return value.

        Parameters
        ----------
        source, target : object
            The two populations, as `_prepare` returns them.
        labels : sequence of (ndarray or None)
            Stimulus labels of both sides.
        """
        if self._splits_rows:
            source = replace(source, groups=repeated_rows(*labels))
        solution = self._solve(source, target)
        if not isinstance(solution, Solution):
            raise TypeError(
                f"{type(self).__name__}._solve returned a "
                f"{type(solution).__name__}; it must return a skmot.base.Solution."
            )
        if not isinstance(solution.cost, numbers.Real):
            raise TypeError(
                f"{type(self).__name__}._solve returned a cost of "
                f"{solution.cost!r}; it must be a real number."
            )
        return solution

    def _fit(self, source, target):
        begin_fit(self, X=source, y=target)
        first, source_statistics = self._prepare_side(
            "source", source, self._source_layout
        )
        second, target_statistics = self._prepare_side(
            "target", target, self._target_layout
        )
        labels = source.stimuli, target.stimuli
        solution = self._solve_checked(first, second, labels)
        if not np.isfinite(solution.cost):
            raise ValueError(
                f"{type(self).__name__}._solve returned a cost of {solution.cost}; it "
                "must be finite."
            )
        self._set_solution(solution, source_statistics, target_statistics)

    def _prepare_side(self, side, stack, layout):
        """Return a side as one prepared population, and the statistics of its units."""
        statistics = self._read(side, stack, layout.where)
        # `read_statistics` has checked that the values are finite.
        with config_context(assume_finite=True):
            return self._prepare_for_one(layout.leaves(stack), statistics), statistics

    def _read(self, side, stack, where, digest=None):
        """Check the arrays of a population, and return the statistics of its units.

        Parameters
        ----------
        side : {"source", "target"} or None
            Side of the population. None if it is used on both sides.
        stack : LayerStack
            All arrays of the population.
        where : callable
            Function that takes the index of a layer of the stack and returns its name
            in error messages.
        digest : LayerDigest, default=None
            Hash that everything is added to that the statistics depend on.

        Returns
        -------
        statistics : UnitStatistics
            Statistics of all units.
        """
        return read_statistics(stack._leaves(where), digest)

    def _check_as_inner(self):
        """Raise an error if a parameter is only for a single pair of populations."""
        return

    def _set_solution(self, solution, source_statistics, target_statistics):
        """Set the fitted attributes from the solution for two populations."""
        self._source_statistics = source_statistics
        self._target_statistics = target_statistics
        self.dead_source_units_ = self._constant_units(source_statistics)
        self.dead_target_units_ = self._constant_units(target_statistics)
        self.cost_ = float(solution.cost)
        self._maps = solution.maps
        self._convergence_issues = convergence_issues(solution.converged)
        for name, value in solution.attributes.items():
            setattr(self, name, value)

    def _constant_units(self, statistics):
        if self._leaves_out_constant_units:
            return statistics.dead_units
        return np.empty(0, dtype=np.intp)

    def _set_solution_of_layers(self, solution, source_statistics, target_statistics):
        """Set the fitted attributes and the layouts, as the inner estimator of a level.

        Parameters
        ----------
        solution : Solution
            Solution for one layer of each side.
        source_statistics, target_statistics : UnitStatistics
            Statistics of the units of the two layers.
        """
        self._set_layouts(
            Layout.of_units("X", len(source_statistics.live)),
            Layout.of_units("y", len(target_statistics.live)),
        )
        self._set_solution(solution, source_statistics, target_statistics)

    def _cost_on(self, source, target):
        return self._held_out_cost(
            self._prepare_held_out(
                self._source_layout.leaves(source), self._source_statistics
            ),
            self._prepare_held_out(
                self._target_layout.leaves(target), self._target_statistics
            ),
        )

    def _reconstruct(self, direction, stack):
        self._check_map(direction)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = self._supports_array_api
        return tags

    # Whether `_solve` and the maps support arrays of all array API libraries.
    _supports_array_api = False
    # Whether `_solve`, the maps and `_held_out_cost` take a `ShiftedSparse` of a sparse
    # layer. Otherwise sparse layers become dense arrays, one at a time.
    _accepts_sparse = False


@shared_docs
class PairMapping(PairComparison):
    """Base class of the estimators that compare two populations and predict each other.

    A subclass implements `_solve(source, target)`, which returns a :class:`Solution`
    with a cost and two maps between standardised live units. Predictions are scaled
    back to the training means and deviations of the predicted units. Dead units are not
    used for predictions, and are predicted as their constant value.

    `held_out_cost` is 1 minus the mean correlation of the target units with their
    predictions. A subclass that computes its held-out cost in another way overrides
    `_held_out_cost`, whose arguments are arrays of all units of each side, unscaled.

    Attributes
    ----------
    cost_ : float
        Distance of the two populations. Lower means more alike.
    <<pair attributes>>

    See Also
    --------
    PairComparison : Base class of comparisons that do not predict.
    skmot.RegressorMapping : Predicts by any scikit-learn regressor, without a class.

    Notes
    -----
    The requirements on `_solve` are those of :class:`PairComparison`.

    Examples
    --------
    A map by least squares:

    >>> import numpy as np
    >>> from skmot.base import PairMapping, Solution
    >>> class LeastSquares(PairMapping):
    ...     def _solve(self, source, target):
    ...         X, Y = source.units, target.units
    ...         to_target = np.linalg.lstsq(X, Y)[0]
    ...         to_source = np.linalg.lstsq(Y, X)[0]
    ...         error = np.mean((Y - X @ to_target) ** 2)
    ...         return Solution(cost=error, maps=(to_target, to_source))
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 4))
    >>> y = X @ rng.normal(size=(4, 7)) + 3
    >>> round(LeastSquares().fit(X[:40], y[:40]).score(X[40:], y[40:]), 9)
    1.0
    """

    # -- methods that a subclass may override --------------------------------------

    def _prepare_map(self, leaves, statistics):
        """Convert a population to the input of the maps, standardised live units."""
        return side_by_side(
            self._to_map_units(layer, own)
            for layer, own in self._layers_of(leaves, statistics)
        )

    def _to_map_units(self, layer, statistics):
        """Convert the activations of a layer to the input units of the maps."""
        return standardize(layer, statistics, statistics.live)

    def _from_map_units(self, units, statistics):
        """Convert the output of a map, extended by 0 for dead units, to activations."""
        return unstandardize(units, statistics)

    def _prepare_held_out(self, leaves, statistics):
        return read_side_by_side(leaves)[0]

    def _held_out_cost(self, source, target):
        source_statistics, target_statistics = self._statistics("target")
        units = standardize(source, source_statistics, source_statistics.live)
        predicted = self._map_live_units("target", units)
        recorded = live_units(target, target_statistics)
        return 1.0 - mean_over_units(column_correlations(recorded, predicted), "y")

    def _why_no_map(self, method):
        return None

    # -- methods shared by all subclasses ------------------------------------------

    def _solve_checked(self, source, target, labels=()):
        solution = super()._solve_checked(source, target, labels)
        if solution.maps is None or len(solution.maps) != 2:
            raise TypeError(
                f"{type(self).__name__}._solve returned no maps: a PairMapping needs "
                "two, from source to target and from target to source. What only "
                "compares is a PairComparison."
            )
        return solution

    def _set_solution(self, solution, source_statistics, target_statistics):
        shape = source_statistics.n_live, target_statistics.n_live
        for mapping, wanted in zip(solution.maps, (shape, shape[::-1]), strict=True):
            found = getattr(mapping, "shape", wanted)
            if tuple(found) != wanted:
                raise ValueError(
                    f"{type(self).__name__}._solve returned a map of shape "
                    f"{tuple(found)}; between the live units it must be {wanted}."
                )
        super()._set_solution(solution, source_statistics, target_statistics)

    def _statistics(self, direction):
        """Return the statistics of the given side and of the reconstructed side."""
        if direction == "target":
            return self._source_statistics, self._target_statistics
        return self._target_statistics, self._source_statistics

    def _map_live_units(self, direction, units):
        return apply_map(self._maps[0 if direction == "target" else 1], units)

    def _map_units(self, direction, units):
        """Yield the layers of one side, given the units that `_prepare_map` returns."""
        layout, statistics = self._layouts(direction)[1], self._statistics(direction)[1]
        mapped = over_all_units(self._map_live_units(direction, units), statistics.live)
        for part in layout.boundaries:
            yield self._from_map_units(mapped[:, part], statistics[part])

    def _reconstruct(self, direction, stack):
        layout, statistics = self._layouts(direction)[0], self._statistics(direction)[0]
        units = self._prepare_map(layout.leaves(stack), statistics)
        yield from self._map_units(direction, units)


def apply_map(mapping, units):
    """Apply a map between live units.

    Parameters
    ----------
    mapping : sparse array, array, or callable
        One of the `maps` of a :class:`Solution`.
    units : array of shape (n_stimuli, n_input_units)
        Input of the map. It is not modified.

    Returns
    -------
    mapped : array of shape (n_stimuli, n_output_units)
        Output of the map, a new array.
    """
    if issparse(mapping):
        return apply_plan(units, mapping)
    if callable(mapping):
        mapped = as_columns(mapping(units))
        is_new = isinstance(mapped, np.ndarray) and not np.may_share_memory(
            mapped, units
        )
        # Other libraries do not tell whether two arrays share memory.
        return mapped if is_new else namespace_of(mapped).asarray(mapped, copy=True)
    xp = namespace_of(units)
    return units @ xp.astype(move_to_device_of(units, mapping), units.dtype, copy=False)


def check_some_scored(statistics, where):
    """Raise an error if every unit is constant over the given stimuli."""
    if not statistics.live.any():
        raise ValueError(
            f"Every unit of {where} is constant over the stimuli given: there is "
            "nothing to compare. Give more stimuli, or leave the layer out."
        )


def read_side_by_side(leaves):
    """Return all units of a population as one array, and its name in error messages.

    Parameters
    ----------
    leaves : iterable of Leaf
        Arrays of the population. They are checked and need at least two stimuli.

    Returns
    -------
    layer : array of shape (n_stimuli, n_units)
        All units, finite and float32 or float64.
    where : str
        Name of the array, or of the argument if there are several arrays.
    """
    layers, names = [], []
    for leaf in leaves:
        layers.append(check_layer(leaf.layer, leaf.where, min_stimuli=2))
        names.append(leaf.where)
    where = names[0] if len(names) == 1 else names[0].partition(",")[0]
    return side_by_side(layers), where
