"""SemiMatching and OneToOneMatching: match each unit to a single unit."""

import numpy as np
from scipy.sparse import coo_array

from skmot._units import column_correlations, mean_over_units
from skmot._utils.array_api import namespace_of, numpy_dtype, select, to_numpy
from skmot._utils.docstrings import shared_docs
from skmot.base import PairMapping, Solution
from skmot.metrics._assignments import match_best, match_one_to_one
from skmot.pairs.maps import (
    PlanMap,
    cost_from_differences,
    over_all_units,
)
from skmot.transport._tuning import are_nearly_alike


@shared_docs
class SemiMatching(PairMapping):
    """Semi-matching: match each unit to the most similar unit of the other population.

    A unit can be the partner of several units or of none ([1]_, eq. 13). Each target
    unit is reconstructed from its best source unit, and each source unit from its best
    target unit. Therefore there are two coupling matrices.

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        Coupling that reconstructs the target. The column of each live target unit has
        one entry, in the row of its best source unit. The entry is 1 / K, where K is
        the number of live target units.
    inverse_coupling_ : csr_array of shape (n_source_units, n_target_units)
        Coupling that reconstructs the source. The row of each live source unit has one
        entry, in the column of its best target unit. The entry is 1 / N, where N is
        the number of live source units.
    cost_ : float
        1 - s_semi(X, y), from 0 to 2; lower is more alike. It is a mean over the source
        units and not symmetric: target units that do not resemble any source unit do
        not raise it.
    <<pair attributes>>

    See Also
    --------
    SoftMatching : Matching in which every unit of both populations has equal weight.
    skmot.metrics.semi_matching_score : The score of two arrays, without an estimator.

    Notes
    -----
    `held_out_cost` leaves out pairs whose target unit is constant over the given
    stimuli. Pairs in which only the source unit is constant have a distance of 1.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SemiMatching
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> y = 2 * X[:, [0, 0, 0, 1]]
    >>> semi = SemiMatching().fit(X[:80], y[:80])
    >>> semi.coupling_.toarray()
    array([[0.25, 0.25, 0.25, 0.  ],
           [0.  , 0.  , 0.  , 0.25],
           [0.  , 0.  , 0.  , 0.  ]])
    >>> round(semi.score(X[80:], y[80:]), 9)
    1.0
    """

    _cost_name = "correlation distance"
    _runs_in_threads = True
    _supports_array_api = True

    def _solve(self, source, target):
        correlations, (partners, score) = _match(
            source.curves, target.curves, match_best
        )
        target_partners, _ = match_best(correlations.T)
        sources, targets = (np.arange(n) for n in correlations.shape)
        to_target = _pair_up(target_partners, targets, correlations.shape)
        to_source = _pair_up(sources, partners, correlations.shape)
        statistics = source.statistics, target.statistics
        return Solution(
            cost=_cost(score, to_source, source, target),
            maps=(
                PlanMap(to_target, to_target.nnz),
                PlanMap(to_source, to_source.nnz, to_source=True),
            ),
            attributes={
                "coupling_": over_all_units(to_target, *statistics),
                "inverse_coupling_": over_all_units(to_source, *statistics),
            },
        )

    def _held_out_cost(self, source, target):
        return _mean_distance(self.inverse_coupling_, source, target)


@shared_docs
class OneToOneMatching(PairMapping):
    """One-to-one matching: match each unit to a different unit of the other population.

    Finds the rectangular assignment with the largest mean correlation ([1]_, eq. 15).
    It matches every unit of the smaller population, and no unit is matched twice. Units
    of the larger population that remain unmatched are predicted as their training mean.
    They therefore count as 0 in scores.

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        Assignment with one entry for each matched pair. Each entry is 1 divided by the
        number of matched pairs.
    cost_ : float
        1 - s_R, the mean over matched pairs of one minus their correlation, from 0 to
        2; lower is more alike. It is symmetric, and unmatched units do not raise it.
    <<pair attributes>>

    See Also
    --------
    SoftMatching : Equivalent if both populations have the same size. Otherwise it
        leaves no unit unmatched.
    skmot.metrics.rectangular_matching_score : The score of two arrays.

    Notes
    -----
    `held_out_cost` leaves out pairs whose target unit is constant over the given
    stimuli. Pairs in which only the source unit is constant have a distance of 1. If
    units are constant over these stimuli, `held_out_cost` is not symmetric, although
    `cost_` is.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import OneToOneMatching
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> y = 2 * X[:, [1, 0]]
    >>> matching = OneToOneMatching().fit(X[:80], y[:80])
    >>> matching.coupling_.toarray()
    array([[0. , 0.5],
           [0.5, 0. ],
           [0. , 0. ]])
    >>> round(matching.score(X[80:], y[80:]), 9)
    1.0
    >>> round(matching.inverse_score(X[80:], y[80:]), 2)
    0.67
    """

    _cost_name = "correlation distance"
    _runs_in_threads = True
    _supports_array_api = True

    def _solve(self, source, target):
        correlations, (pairs, score) = _match(
            source.curves, target.curves, match_one_to_one
        )
        plan = _pair_up(*pairs, correlations.shape)
        return Solution(
            cost=_cost(score, plan, source, target),
            maps=(PlanMap(plan, plan.nnz), PlanMap(plan, plan.nnz, to_source=True)),
            attributes={
                "coupling_": over_all_units(plan, source.statistics, target.statistics)
            },
        )

    def _held_out_cost(self, source, target):
        return _mean_distance(self.coupling_, source, target)


def _cost(score, plan, source, target):
    """Return 1 - score, from differences if units are nearly alike."""
    if are_nearly_alike(1.0 - score, numpy_dtype(source.curves.vectors)):
        return cost_from_differences(plan, source.curves, target.curves)
    return 1.0 - score


def _pair_up(sources, targets, shape):
    """Return the coupling of pairs of units that all have the same weight."""
    weights = np.full(len(sources), 1.0 / len(sources))
    return coo_array((weights, (sources, targets)), shape=shape).tocsr()


def _match(source, target, match):
    """Return the correlations of all pairs of units, and the result of `match`."""
    correlations = _correlations_on_host(source, target)
    found = match(correlations)
    dtype = numpy_dtype(source.vectors)
    if dtype == np.float32 and are_nearly_alike(1.0 - found[1], dtype):
        correlations = _correlations_on_host(source.in_float64(), target.in_float64())
        found = match(correlations)
    return correlations, found


def _correlations_on_host(source, target):
    # The assignment solver of SciPy runs on the CPU.
    xp = namespace_of(source.vectors)
    return to_numpy(xp.matmul(source.vectors.T, target.vectors))


def _mean_distance(plan, source, target):
    """Return the mean correlation distance of the matched pairs on other stimuli."""
    sources, targets = plan.nonzero()
    # Constant units are treated as in scores: constant target units are left out, and
    # a constant source unit has a correlation of 0 with a target unit that varies.
    return 1.0 - mean_over_units(
        column_correlations(
            select(target, targets, axis=1), select(source, sources, axis=1)
        ),
        "y",
    )
