"""Weights of the units of a layer in a matching."""

import numpy as np
from sklearn.utils import check_random_state

from skmot._repeats import split_half_reliability
from skmot._utils.array_api import to_numpy
from skmot.layers.checks import check_layer
from skmot.layers.reading import check_unmasked

NAMED_WEIGHTS = ("reliability", "variance")
# Number and seed of the random halves of the trials. The seed is fixed, so that a
# matching is not random.
_N_HALVES, _SEED = 100, 0
_SIDES = {"source_weights": "X", "target_weights": "y"}


def unit_weights(setting, argument, statistics, stack, where, digest=None):
    """Compute the weights of the units of a population.

    Parameters
    ----------
    setting : {"reliability", "variance"}, callable or array-like of shape (n_units,)
        Kind of weights, see :class:`skmot.SoftMatching`.
    argument : {"source_weights", "target_weights"}
        Name of the parameter in error messages.
    statistics : UnitStatistics
        Statistics of all units of the population.
    stack : LayerStack
        All arrays of the population.
    where : callable
        Function that takes the index of a layer of the stack and returns its name in
        error messages.
    digest : LayerDigest, default=None
        Hash that single trials are added to, if the weights depend on them.

    Returns
    -------
    weights : ndarray of shape (n_units,)
        Weights of at least 0, and 0 for constant units.

    Raises
    ------
    ValueError, TypeError
        If there is not one nonnegative, finite weight for each unit, all are 0, or the
        weights are reliabilities and the stack has no trials.
    """
    live = statistics.live
    place = where(0) if stack.n_layers == 1 else _SIDES[argument]
    if not isinstance(setting, str):
        if callable(setting):
            parts = [
                _of_layer(setting, leaf, argument) for leaf in stack._leaves(where)
            ]
            weights = np.concatenate(parts)
        else:
            check_unmasked(setting, f"`{argument}`")
            weights = _as_weights(setting, len(live), f"`{argument}`", place)
    elif setting == "variance":
        # Relative to the largest one, because squares of 1e300 are infinite.
        weights = (statistics.deviation / statistics.deviation.max()) ** 2
    else:
        weights = _reliabilities(argument, stack, where, digest)
    weights = np.where(live, weights, 0.0)
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        raise ValueError(
            f"`{argument}` must be nonnegative and finite; got {wrong.size} other "
            f"weight(s) for {place}, the first is {weights[wrong[0]]} for unit "
            f"{wrong[0]}. Give a weight of 0 to units that must not be matched."
        )
    if not weights.any():
        raise ValueError(
            f"All weights of `{argument}` are 0 for {place}: no unit can be matched. "
            "Use other weights, or leave the layer out."
        )
    return weights


def _of_layer(function, leaf, argument):
    """Return the weights that a function gives to the units of one array."""
    layer = check_layer(leaf.layer, leaf.where)
    if isinstance(layer, np.ndarray):
        # The function must not change the data.
        layer = layer.view()
        layer.flags.writeable = False
    name = getattr(function, "__name__", type(function).__name__)
    return _as_weights(
        function(layer),
        layer.shape[1],
        f"The result of `{argument}`, {name},",
        leaf.where,
    )


def _as_weights(values, n_units, what, place):
    """Convert weights to a numpy array, with one weight for each unit."""
    try:
        weights = np.asarray(to_numpy(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} must be numbers, the weights of {place}.") from error
    if weights.shape != (n_units,):
        raise ValueError(
            f"{what} must have one weight for each of the {n_units} unit(s) of "
            f"{place}; got shape {weights.shape}."
        )
    return weights


def _reliabilities(argument, stack, where, digest):
    """Return the reliability of each unit, NaN for constant units."""
    if not stack.has_trials:
        advice = (
            "A transformation has replaced the trials by new layers: give weights as a "
            "function or an array."
            if stack._trials_were_dropped
            else "Make the layers with `LayerStack.from_trials`."
        )
        raise ValueError(
            f"{argument}='reliability' needs the single trials of {where(0)}, which "
            f"has none. {advice}"
        )
    parts = []
    for trials, place, rows in stack._trial_leaves(where):
        trials = check_layer(trials, place)
        if digest is not None:
            digest.add(trials)
            digest.mark(rows.tolist())
        random = check_random_state(_SEED)
        parts.append(split_half_reliability(trials, rows, _N_HALVES, random))
    return np.concatenate(parts)
