"""Transformers that select units of each layer."""

import warnings
from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state

from skmot._repeats import read_runs, say_largest, split_half_reliability
from skmot._units import count_stored, dense_blocks
from skmot._utils.array_api import select, to_numpy
from skmot._utils.progress import fit_task
from skmot._utils.sklearn import Interval, RealNotInt, fit_context
from skmot.layers.checks import check_finite, check_layer, finite_units
from skmot.layers.labels import stimulus_codes
from skmot.layers.reading import check_unmasked
from skmot.preprocessing.layerwise import LayerTransformer


class UnitSelector(LayerTransformer, auto_wrap_output_keys=None):
    """Base class of the transformers that select units of each layer.

    A subclass implements `_choose`, or `_choose_in_stack` if it needs more than one
    layer at a time.
    """

    _accepts_sparse = True

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
        self : estimator
            Fitted transformer.

        Raises
        ------
        ValueError
            If no unit of a layer can be selected, or the input is invalid.
        """
        with fit_task(self, X=X, y=y):
            self._learned = self._choose_in_stack(self._read(X))
            self.units_ = self._layout.nest(self._learned)
        return self

    def _choose_in_stack(self, stack):
        """Return the sorted indices of the selected units of each array."""
        return self._learn(stack, self._choose)

    def _choose(self, layer, where):
        """Return the sorted indices of the selected units of one array."""
        raise NotImplementedError

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

    def _choose_in_stack(self, stack):
        random = check_random_state(self.random_state)

        def choose(layer, where):
            n_units = layer.shape[1]
            n_kept = max(1, round(self.fraction * n_units))
            return np.sort(random.permutation(n_units)[:n_kept])

        return self._learn(stack, choose)


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

    def _choose_in_stack(self, stack):
        if self.reliabilities is None:
            found = list(self._estimate(stack))
        else:
            found = list(self._given(stack))
        chosen = []
        for reliabilities, where in found:
            units = np.flatnonzero(reliabilities >= self.threshold)
            if units.size == 0:
                raise ValueError(
                    f"No unit of {where} has a reliability of at least "
                    f"{self.threshold}: the largest is {say_largest(reliabilities)}. "
                    "Lower `threshold`, or leave the layer out."
                )
            chosen.append(units)
        self.reliabilities_ = self._layout.nest([values for values, _ in found])
        return chosen

    def _estimate(self, stack):
        """Yield the estimated reliabilities of each array and its name."""
        random = check_random_state(self.random_state)
        for trials, where, rows in self._trials_of(stack):
            trials = check_layer(trials, where, accept_sparse=True)
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

    def _choose(self, layer, where):
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


class ActivitySelector(UnitSelector, auto_wrap_output_keys=None):
    """Select the units of each layer that respond to enough stimuli.

    A unit responds to a stimulus if its response differs from its response at rest,
    which is its most frequent response to the training stimuli: 0 for ReLU units and
    for the features of a sparse dictionary, and another number after these are
    standardised. All responses of a unit without a response at rest, such as a voxel,
    are counted, except one.

    The tuning curve of a unit that responds to one or two stimuli is a matter of these
    stimuli. It matches others by chance, and predicts nothing for other stimuli.

    For the target, use this transformer in :class:`TransformedTargetLayers`. Do not
    choose `min_active` by a held-out cost: with fewer source units it is the cost of
    another comparison, and leaving out units that match badly lowers it.

    Parameters
    ----------
    min_active : int or float, default=5
        Least number of training stimuli that a selected unit responds to. A float is a
        fraction of the training stimuli, above 0 and at most 1.

    Attributes
    ----------
    n_active_ : list of ndarray of int of shape (n_units,)
        Number of training stimuli that each unit responds to, with a list for each
        nested stack.
    units_ : list of ndarray of int
        Sorted indices of the selected units of each layer, with a list for each nested
        stack.
    n_features_in_ : int
        Number of units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the units. Defined only if `X` is a DataFrame with string columns.

    See Also
    --------
    ReliabilitySelector : Selects units that respond alike to repeats of a stimulus.
    skmot.metrics.scored_units : Number of units that a score rests on.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.preprocessing import ActivitySelector
    >>> rng = np.random.default_rng(0)
    >>> features = np.maximum(rng.normal(size=(100, 4)) - [0, 1, 2.5, 5], 0)
    >>> selector = ActivitySelector().fit(LayerStack({"dictionary": features}))
    >>> selector.n_active_
    [array([46, 13,  1,  0])]
    >>> selector.units_
    [array([0, 1])]
    """

    _parameter_constraints = {
        "min_active": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
        ],
    }

    def __init__(self, min_active=5):
        self.min_active = min_active

    def _choose_in_stack(self, stack):
        counts = self._learn(stack, lambda layer, where: (_count_active(layer), where))
        least = self.min_active
        if not isinstance(least, Integral):
            least = least * len(stack)
        chosen = []
        for n_active, where in counts:
            units = np.flatnonzero(n_active >= least)
            if units.size == 0:
                raise ValueError(
                    f"No unit of {where} responds to at least {least:g} of "
                    f"n_samples={len(stack)} stimuli: the largest number is "
                    f"{n_active.max()}. Lower `min_active`, or leave the layer out."
                )
            chosen.append(units)
        self.n_active_ = self._layout.nest([n_active for n_active, _ in counts])
        return chosen


def _count_active(layer):
    """Count the responses of each unit that differ from its most frequent response."""
    n_stimuli, n_units = layer.shape
    n_active, units = np.empty(n_units, dtype=np.intp), None
    if issparse(layer):
        # No response can be more frequent than 0 if half of them are 0.
        n_active = count_stored(layer)
        units = np.flatnonzero(n_active > n_stimuli / 2)
    for part, block in dense_blocks(layer, units):
        responses = np.sort(to_numpy(block), axis=0)
        # Row of the first of the equal responses that each one belongs to.
        first = np.zeros(responses.shape, dtype=np.intp)
        is_new = responses[1:] != responses[:-1]
        first[1:] = np.where(is_new, np.arange(1, n_stimuli)[:, np.newaxis], 0)
        first = np.maximum.accumulate(first, axis=0)
        n_alike = np.arange(1, n_stimuli + 1)[:, np.newaxis] - first
        n_active[part] = n_stimuli - n_alike.max(axis=0)
    return n_active


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
