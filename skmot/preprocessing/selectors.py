"""Transformers that select units of each layer."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from skmot._repeats import read_runs, say_largest, split_half_reliability
from skmot._utils.array_api import select
from skmot._utils.sklearn import Interval, fit_context
from skmot.layers.checks import check_finite, check_layer, finite_units
from skmot.layers.labels import stimulus_codes
from skmot.layers.reading import check_unmasked
from skmot.preprocessing.layerwise import LayerTransformer


class UnitSelector(LayerTransformer, auto_wrap_output_keys=None):
    """Base class of the transformers that select units of each layer."""

    def _transform_layer(self, learned, layer, where):
        return select(layer, learned, axis=1)

    def _apply_to_stack(self, apply, stack, names):
        # Names and trials of the units are selected too, and units are read once more
        # where they are used: what is in a file or averaged stays there.
        for leaf, where in zip(stack.leaves(), names, strict=True):
            apply(leaf.layer, where)
        return stack._select_positions(iter(self._learned))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class UnitSubsampler(UnitSelector, auto_wrap_output_keys=None):
    """Select a random subset of the units of each layer.

    Costs on the training stimuli depend on the number of units of a layer. Subsampling
    shows how strong this effect is, and reduces the computing time for large networks.

    Parameters
    ----------
    fraction : float, default=0.5
        Fraction of the units of each layer to select, above 0 and at most 1. The number
        of units is rounded, and at least one unit is selected.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the selection. Pass an int for reproducible output
        across multiple function calls.

    Attributes
    ----------
    units_ : list of ndarray of int
        Sorted indices of the selected units of each layer, with a list for each nested
        stack.
    n_features_in_ : int
        Number of units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the units. Defined only if `X` is a DataFrame with string columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.preprocessing import UnitSubsampler
    >>> stack = LayerStack([np.ones((5, 40)), np.ones((5, 10))])
    >>> UnitSubsampler(fraction=0.1, random_state=0).fit_transform(stack)
    LayerStack(5 stimuli, 2 layers: 0 (4 units), 1 (1 units))
    """

    _parameter_constraints = {
        "fraction": [Interval(Real, 0, 1, closed="right")],
        "random_state": ["random_state"],
    }

    def __init__(self, fraction=0.5, random_state=None):
        self.fraction = fraction
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Select the units of each layer.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Layers, each of shape (n_stimuli, n_units).
        y : None
            Ignored.

        Returns
        -------
        self : UnitSubsampler
            Fitted transformer.
        """
        random = check_random_state(self.random_state)

        def choose(layer, where):
            n_units = layer.shape[1]
            n_kept = max(1, round(self.fraction * n_units))
            return np.sort(random.permutation(n_units)[:n_kept])

        self._learned = self._learn(self._read(X), choose)
        self.units_ = self._layout.nest(self._learned)
        return self


class ReliabilitySelector(UnitSelector, auto_wrap_output_keys=None):
    """Select the units of each layer that respond similarly to repeats of a stimulus.

    The reliability of a unit is that of its average response to the training repeats of
    each stimulus. It is estimated from correlations between averages of random halves
    of the repeats, with the Spearman-Brown formula. It is the square of
    :func:`skmot.metrics.noise_ceiling`. Test stimuli are not used.

    The trials are those of a stack made by :meth:`skmot.LayerStack.from_trials`, which
    no splitter can separate. The units are selected in the averages and the trials. In
    any other stack, each row is one trial, and trials with equal labels in `stimuli`
    are repeats of one stimulus. Then use a splitter that does not separate them.

    Parameters
    ----------
    threshold : float, default=0.2
        Minimum reliability of the selected units. Constant units have no reliability
        and are never selected.
    reliabilities : array-like of shape (n_units,), list of them or float, default=None
        Known reliabilities: one array per layer (a list of arrays for a nested stack),
        or one number for all units. NaN if a unit has none. Stimulus labels are then
        not needed. None estimates the reliabilities in `fit`.
    runs : LayerStack or array-like of shape (n_trials,), default=None
        Run (or session) of each trial. The trials of a stimulus in one run are then in
        the same half, because noise that they share, such as a slow drift, would make
        halves of one run agree. Pass a stack of run numbers, made as
        ``LayerStack.from_trials(runs[:, np.newaxis], stimuli)`` with the trials in the
        order of the data: its rows are found by their stimulus labels, so that it fits
        the training stimuli of every split. An array fits only if all its trials are in
        `fit`.
    n_halves : int, default=100
        Number of random splits into halves.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the splits into halves. Pass an int for reproducible
        output across multiple function calls.

    Attributes
    ----------
    reliabilities_ : list of ndarray of shape (n_units,)
        Reliability of each unit, with a list for each nested stack. Estimates are from
        0 to 1, and NaN for constant units.
    units_ : list of ndarray of int
        Sorted indices of the selected units of each layer, with a list for each nested
        stack.
    n_features_in_ : int
        Number of units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the units. Defined only if `X` is a DataFrame with string columns.

    See Also
    --------
    TransformedTargetLayers : Applies a transformer to the target.
    average_repeats : Averages the trials of each stimulus.
    skmot.metrics.noise_ceiling : Square root of the reliability.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.preprocessing import ReliabilitySelector
    >>> rng = np.random.default_rng(0)
    >>> signal = np.repeat(rng.normal(size=(100, 4)), 2, axis=0)
    >>> trials = signal * [1, 0, 1, 0] + rng.normal(size=(200, 4))
    >>> stack = LayerStack({"V1": trials}, stimuli=np.repeat(np.arange(100), 2))
    >>> selector = ReliabilitySelector(threshold=0.5, random_state=0).fit(stack)
    >>> selector.units_
    [array([0, 2])]
    """

    _parameter_constraints = {
        "threshold": [Interval(Real, None, None, closed="neither")],
        "reliabilities": ["array-like", Real, None],
        "runs": ["array-like", None],
        "n_halves": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        threshold=0.2,
        *,
        reliabilities=None,
        runs=None,
        n_halves=100,
        random_state=None,
    ):
        self.threshold = threshold
        self.reliabilities = reliabilities
        self.runs = runs
        self.n_halves = n_halves
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Select the units of each layer.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Layers that have trials, or layers of shape (n_trials, n_units) with labels
            that repeat. Neither is required if `reliabilities` are given.
        y : None
            Ignored.

        Returns
        -------
        self : ReliabilitySelector
            Fitted transformer.

        Raises
        ------
        ValueError
            If there are no labels or no repeats, `reliabilities` have the wrong shape,
            `runs` do not fit the trials, or all units of a layer are below the
            threshold.
        """
        stack = self._read(X)
        chosen = []
        for reliabilities, where in (
            self._estimate(stack) if self.reliabilities is None else self._given(stack)
        ):
            units = np.flatnonzero(reliabilities >= self.threshold)
            if units.size == 0:
                raise ValueError(
                    f"No unit of {where} has a reliability of at least "
                    f"{self.threshold}: the largest is {say_largest(reliabilities)}. "
                    "Lower `threshold`, or leave the layer out."
                )
            chosen.append((reliabilities, units))
        self._learned = [units for _, units in chosen]
        self.reliabilities_ = self._layout.nest([values for values, _ in chosen])
        self.units_ = self._layout.nest(self._learned)
        return self

    def _estimate(self, stack):
        """Yield the estimated reliabilities of each array and its name."""
        random = check_random_state(self.random_state)
        for trials, where, rows in self._trials_of(stack):
            trials = check_layer(trials, where)
            stimuli = stack.stimuli if stack.has_trials else None
            runs = read_runs(self.runs, rows, stimuli, where)
            reliabilities = split_half_reliability(
                trials, rows, self.n_halves, random, runs
            )
            yield reliabilities, where

    def _trials_of(self, stack):
        """Yield the trials of each array, its name, and the stimulus of each trial."""
        if stack.has_trials:
            yield from self._layout.trial_leaves(stack)
            return
        if stack._trials_were_dropped:
            raise ValueError(
                "X has no trials any more, because an earlier step has transformed "
                f"the averages: put {type(self).__name__} first in the pipeline."
            )
        if stack.stimuli is None:
            raise ValueError(
                "X has no stimulus labels, so which trials are repeats of one stimulus "
                "is not known: make it with `LayerStack.from_trials(layers, labels)`, "
                "or give `reliabilities`."
            )
        codes = stimulus_codes(stack.stimuli)
        for leaf in self._layout.leaves(stack):
            yield leaf.layer, leaf.where, codes

    def _given(self, stack):
        """Yield the given reliabilities of each array and its name."""
        is_one_for_all = isinstance(self.reliabilities, Real)
        check_unmasked(self.reliabilities, "`reliabilities`")
        given = iter(())
        if not is_one_for_all:
            given = _given_layers(self.reliabilities, self._layout.structure)
        for leaf in self._layout.leaves(stack):
            n_units = self._check(leaf.layer, leaf.where).shape[1]
            if is_one_for_all:
                yield np.full(n_units, self.reliabilities, np.float64), leaf.where
                continue
            reliabilities = np.array(next(given), dtype=np.float64)
            if reliabilities.shape != (n_units,):
                raise ValueError(
                    f"`reliabilities` of {leaf.where} has the shape "
                    f"{reliabilities.shape}, but the layer has {n_units} units: give "
                    "one number per unit."
                )
            yield reliabilities, leaf.where


class FiniteUnitSelector(UnitSelector, auto_wrap_output_keys=None):
    """Select the units of each layer that have no missing response.

    A response is missing if it is NaN or infinite, as for voxels outside the scanned
    volume. A unit is selected if all its responses to the training stimuli are finite.

    For the source, use this transformer as the first step of a pipeline. For the
    target, use it in :class:`TransformedTargetLayers`.

    Attributes
    ----------
    units_ : list of ndarray of int
        Sorted indices of the selected units of each layer, with a list for each nested
        stack.
    n_features_in_ : int
        Number of units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the units. Defined only if `X` is a DataFrame with string columns.

    See Also
    --------
    TransformedTargetLayers : Applies a transformer to the target.
    skmot.LayerStack.select_units : Selects given units.

    Notes
    -----
    A selected unit may have a missing response to a held-out stimulus. `transform` then
    raises an error, because the units cannot differ between stimuli. To avoid this
    error, select units before the stimuli are split. This uses no held-out response,
    only the information whether it is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.preprocessing import FiniteUnitSelector
    >>> voxels = np.ones((5, 4))
    >>> voxels[3, 1] = np.nan
    >>> selector = FiniteUnitSelector()
    >>> selector.fit_transform(LayerStack({"V1": voxels}))
    LayerStack(5 stimuli, 1 layer: V1 (3 units))
    >>> selector.units_
    [array([0, 2, 3])]
    """

    _parameter_constraints = {}
    _allows_missing = True

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Select the units of each layer.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Layers, each of shape (n_stimuli, n_units).
        y : None
            Ignored.

        Returns
        -------
        self : FiniteUnitSelector
            Fitted transformer.

        Raises
        ------
        ValueError
            If each unit of a layer has a missing response. For a single array, this is
            a warning, as in scikit-learn's selectors, and no unit is selected.
        """
        stack = self._read(X)

        def choose(layer, where):
            units = np.flatnonzero(finite_units(layer))
            if units.size == 0:
                message = (
                    f"Each of the {layer.shape[1]} unit(s) of {where} has a missing "
                    "response (NaN or infinite). Leave the layer out, or leave out the "
                    "stimuli that have missing responses."
                )
                if not self._layout.is_single_array:
                    raise ValueError(message)
                # scikit-learn's checks require that such an array can be fitted.
                warnings.warn(message, UserWarning, stacklevel=2)
            return units

        self._learned = self._learn(stack, choose)
        self.units_ = self._layout.nest(self._learned)
        return self

    def _transform_layer(self, learned, layer, where):
        selected = super()._transform_layer(learned, layer, where)
        check_finite(
            selected,
            where,
            which="selected unit(s)",
            numbers=learned,
            advice="They had no missing response in `fit`. Leave these stimuli out, or "
            "select units before the stimuli are split.",
        )
        return selected


def _given_layers(given, structure):
    """Yield the given reliabilities of each array, in the order of `leaves`."""
    names, parts = structure
    if len(parts) == 1 and all(np.ndim(element) == 0 for element in given):
        given = [given]
    if len(given) != len(parts):
        layers = f"{len(parts)} layer(s)"
        raise ValueError(
            f"`reliabilities` has {len(given)} arrays for {layers}"
            f"{'' if names is None else f' {list(names)}'}: give one per layer."
        )
    for part, values in zip(parts, given, strict=True):
        if isinstance(part, tuple):
            yield from _given_layers(values, part)
        else:
            yield values
