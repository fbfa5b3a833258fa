"""The alternatives to soft matching, as estimators with its interface."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from scipy.sparse import coo_array
from sklearn.utils._param_validation import Interval

from skmot._array_api import (
    carry,
    device_of,
    move_to_home_of,
    namespace_of,
    numpy_dtype,
    select,
    to_numpy,
)
from skmot._pair import PairEstimator, over_all_units
from skmot._units import (
    UnitStatistics,
    check_some_live,
    column_correlations,
    constant_units,
    standardize,
    tuning_curves,
    unit_statistics,
    with_precision_of,
)
from skmot._validation import check_layer
from skmot.layers import LayerStack, layer_label
from skmot.metrics._alternatives import (
    align_orthogonally,
    check_alphas,
    cka_geometry,
    compare_geometries,
    fit_ridge,
    match_best,
    match_one_to_one,
    rsa_geometry,
    split_stimuli,
)
from skmot.metrics._reconstruction import mean_over_units


class SemiMatching(PairEstimator):
    """Semi-matching: each unit with the unit of the other side that is most like it.

    A unit may be the partner of many or of none ([1]_, eq. 13). Each target unit is
    reconstructed from its best source unit, and each source unit from its best target
    unit, so that there are two matrices.

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        What reconstructs the target: each live target unit's column has one entry, one
        over their number, in the row of its best source unit.
    inverse_coupling_ : csr_array of shape (n_source_units, n_target_units)
        What reconstructs the source: each live source unit's row has one entry, one
        over their number, in the column of its best target unit.
    cost_ : float
        1 - s_semi(X, y), from 0 to 2; lower is more alike. The mean is over the source
        units, so that it is not symmetric: target units that are like none of the
        source cost nothing.
    dead_source_units_, dead_target_units_ : ndarray of int
        Units that are constant over the training stimuli: they take no part, predict
        nothing and are predicted as their constant.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was a DataFrame with string columns.

    See Also
    --------
    SoftMatching : Where every unit of both sides takes part alike.
    skmot.metrics.semi_matching_score : The score of two arrays, without an estimator.

    Notes
    -----
    In `held_out_cost` pairs whose target unit is constant over the stimuli given are
    left out, and those whose source unit only is have a distance of 1.

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

    _parameter_constraints = {}

    def _fit_populations(self, source, target):
        correlations = _correlations_on_host(source, target)
        partners, score = match_best(correlations)
        target_partners, _ = match_best(correlations.T)
        sources, targets = (np.arange(n) for n in correlations.shape)
        statistics = source.statistics, target.statistics
        self.coupling_ = _pair_up(target_partners, targets, *statistics)
        self.inverse_coupling_ = _pair_up(sources, partners, *statistics)
        self.cost_ = 1.0 - score

    def _carry(self, direction, units):
        plan = self.coupling_ if direction == "target" else self.inverse_coupling_.T
        return carry(units, plan * plan.nnz)

    def _held_out_cost(self, source, target):
        return _mean_distance(self.inverse_coupling_, source, target)


class OneToOneMatching(PairEstimator):
    """One-to-one matching: the best assignment of units to units of their own.

    The rectangular assignment of the largest mean correlation ([1]_, eq. 15): every
    unit of the smaller side is matched, and no unit twice. Units of the larger side
    that are left over are predicted as their training mean, and so count as 0 in
    scores.

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        One entry for each matched pair, one over their number.
    cost_ : float
        1 - s_R, the mean over matched pairs of one minus their correlation, from 0 to
        2; lower is more alike. It is symmetric, and units left over cost nothing.
    dead_source_units_, dead_target_units_ : ndarray of int
        Units that are constant over the training stimuli: they take no part, predict
        nothing and are predicted as their constant.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was a DataFrame with string columns.

    See Also
    --------
    SoftMatching : The same at equal sizes; at others, no unit is left over.
    skmot.metrics.rectangular_matching_score : The score of two arrays.

    Notes
    -----
    In `held_out_cost` pairs whose target unit is constant over the stimuli given are
    left out, and those whose source unit only is have a distance of 1: where units fall
    silent it is not symmetric, as `cost_` is.

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

    _parameter_constraints = {}

    def _fit_populations(self, source, target):
        correlations = _correlations_on_host(source, target)
        pairs, score = match_one_to_one(correlations)
        self.coupling_ = _pair_up(*pairs, source.statistics, target.statistics)
        self.cost_ = 1.0 - score

    def _carry(self, direction, units):
        plan = self.coupling_ if direction == "target" else self.coupling_.T
        return carry(units, plan * plan.nnz)

    def _held_out_cost(self, source, target):
        return _mean_distance(self.coupling_, source, target)


class Procrustes(PairEstimator):
    """Procrustes: the orthogonal map that best aligns two populations.

    With X and Y centred and each of Frobenius norm 1, as [1]_ has it, T is the polar
    factor of X'Y: orthogonal at equal sizes, of orthonormal rows or columns at others.
    The target is predicted as X T, put on the training norm and means of the target;
    the source as Y T' on its own.

    Attributes
    ----------
    rotation_ : ndarray of shape (n_source_units, n_target_units)
        T, a partial isometry: 0 for dead units, and for directions that do not covary
        with any of the other side (there are such where there are fewer stimuli than
        units).
    cost_ : float
        ``d_O^2 = 2 - 2 |X'Y|_*`` ([1]_, eq. 5), from 0 to 2; lower is more alike. It is
        symmetric.
    dead_source_units_, dead_target_units_ : ndarray of int
        Units that are constant over the training stimuli: they take no part, predict
        nothing and are predicted as their constant.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was a DataFrame with string columns.

    See Also
    --------
    RotationMatching : A rotation and a matching.
    skmot.metrics.procrustes_distance : The distance of two arrays.

    Notes
    -----
    Units are not scaled one by one: those of large variance decide. Scale them before
    (`sklearn.preprocessing.StandardScaler`) where they should count alike.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import ortho_group
    >>> from skmot import Procrustes
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> y = 5 * X @ ortho_group.rvs(4, random_state=0) + 1
    >>> procrustes = Procrustes().fit(X[:80], y[:80])
    >>> bool(np.allclose(procrustes.predict(X[80:]), y[80:]))
    True
    """

    _parameter_constraints = {}

    def _fit_populations(self, source, target):
        rotation, agreement = align_orthogonally(
            *(
                _times(
                    part.curves.vectors,
                    _relative_deviations(part.statistics, side)[part.statistics.live],
                )
                for part, side in ((source, "X"), (target, "y"))
            )
        )
        self.rotation_ = _with_dead_units(
            _with_dead_units(rotation, source.statistics, axis=0),
            target.statistics,
            axis=1,
        )
        self.cost_ = max(2.0 - 2.0 * agreement, 0.0)

    def _carry(self, direction, units):
        seen, made = self._statistics(direction)
        xp = namespace_of(units)
        rotation = xp.astype(self.rotation_, units.dtype, copy=False)
        rotation = rotation if direction == "target" else rotation.T
        carried = _times(units, _relative_deviations(seen, "the side seen")) @ rotation
        # From unit norm to the norm of the side that is made.
        carried *= float(np.linalg.norm(made.deviation))
        return carried

    def _leave(self, carried, statistics):
        # On the scale of the population: units have no scale of their own here.
        carried = with_precision_of(carried, statistics)
        mean = statistics.mean.astype(numpy_dtype(carried))
        carried += move_to_home_of(carried, mean)
        return carried

    def _held_out_cost(self, source, target):
        source, target = (
            _unit_population(layer, statistics.live, side)
            for layer, statistics, side in (
                (source, self._source_statistics, "X"),
                (target, self._target_statistics, "y"),
            )
        )
        xp = namespace_of(source)
        products = xp.matmul(source, self.rotation_) * target
        return 2.0 - 2.0 * float(xp.sum(products, dtype=xp.float64))


class LinearPredictivity(PairEstimator):
    """Linear predictivity: a ridge regression from all source units to each target.

    One penalty for all target units is chosen on a validation part of the training
    stimuli ([1]_, section 3.3, where test stimuli are 20 % of all and the validation
    part 10 of the other 80), between units standardised over all training stimuli; then
    the regression is refitted to all of them. A second regression predicts the source.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=None
        Penalties to choose from, on the squared coefficients between standardised
        units. None: 8 from 1e-4 to 1e4, equally spaced in their logarithm.
    validation_fraction : float, default=0.125
        Share of the training stimuli in the validation part: two stimuli at least, and
        one more where every unit would be constant over it.
    random_state : int, RandomState instance or None, default=None
        Of the choice of the validation part. Within a `MultiLevelOT`, an integer makes
        it the same for every pair of layers.

    Attributes
    ----------
    coef_ : ndarray of shape (n_source_units, n_target_units)
        Coefficients between standardised units; 0 for dead units.
    inverse_coef_ : ndarray of shape (n_target_units, n_source_units)
        Of the regression that predicts the source.
    alpha_, inverse_alpha_ : float
        The penalties chosen; of those equally good, the largest.
    cost_ : float
        1 minus the mean over live target units of the correlation between their
        recorded and predicted responses to the validation part, the regression fitted
        to the rest; from 0 to 2, lower is more alike. It is not symmetric. The penalty
        was chosen by it, so that it is a little low.
    dead_source_units_, dead_target_units_ : ndarray of int
        Units that are constant over the training stimuli: they take no part, predict
        nothing and are predicted as their constant.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was a DataFrame with string columns.

    See Also
    --------
    MultiLevelOT : `MultiLevelOT(LinearPredictivity(), strategy="pairwise_best")` is
        the pairwise linear predictivity of the second paper.
    skmot.metrics.linear_predictivity_score : The score of two arrays.

    Notes
    -----
    The validation part is drawn stimulus by stimulus. Where rows repeat a stimulus,
    average them first: repeats on both sides of the split favour small penalties.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LinearPredictivity
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 5))
    >>> y = X @ rng.normal(size=(5, 3)) + 0.1 * rng.normal(size=(200, 3))
    >>> regression = LinearPredictivity(random_state=0).fit(X[:160], y[:160])
    >>> round(regression.score(X[160:], y[160:]), 2)
    1.0
    """

    _parameter_constraints = {
        "alphas": ["array-like", None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(self, alphas=None, validation_fraction=0.125, random_state=None):
        self.alphas = alphas
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _fit_populations(self, source, target):
        alphas = check_alphas(self.alphas)
        X, Y = _all_units(source), _all_units(target)
        validation, _ = split_stimuli(
            len(X), [self.validation_fraction], self.random_state
        )
        self.coef_, self.alpha_, score = fit_ridge(X, Y, alphas, validation, "y")
        self.inverse_coef_, self.inverse_alpha_, _ = fit_ridge(
            Y, X, alphas, validation, "X"
        )
        self.cost_ = 1.0 - score

    def _carry(self, direction, units):
        coefficients = self.coef_ if direction == "target" else self.inverse_coef_
        return units @ coefficients.astype(units.dtype, copy=False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = False
        return tags

    def _held_out_cost(self, source, target):
        predicted = self._carry("target", standardize(source, self._source_statistics))
        live = self._target_statistics.live
        return 1.0 - mean_over_units(
            column_correlations(target[:, live], predicted[:, live]), "y"
        )


@dataclass(frozen=True)
class _Geometry:
    """What two stimuli have to do with each other in a layer, for all pairs.

    Attributes
    ----------
    entries : ndarray of shape (n_pairs,)
        Such that the product of two is the similarity of their layers.
    statistics : UnitStatistics
        Of all units.
    """

    entries: np.ndarray
    statistics: UnitStatistics


class _GeometryComparison(PairEstimator):
    """Base of the alternatives that compare pairs of stimuli, and so have no map.

    A layer's geometry is made once, however many it is compared with.
    """

    # Whether units are centred before their geometry is made.
    _center = True

    @abstractmethod
    def _describe(self, units, where):
        """Return the entries of a geometry, from live units on one scale a layer."""

    def _populate(self, layer, statistics, where):
        layer = _side_by_side(layer, where)
        return _Geometry(self._entries(layer, statistics, where), statistics)

    def _population_bytes(self, n_stimuli, statistics):
        return 8 * n_stimuli * (n_stimuli - 1) // 2

    def _entries(self, layer, statistics, where):
        curves = tuning_curves(layer, statistics, "sqeuclidean", center=self._center)
        return self._describe(curves.vectors, where)

    def _fit(self, source, target):
        # A population of several layers has a geometry that is not made of theirs.
        source, target = (
            self._prepare(stack.layers[0] if layout.is_bare else stack, layout.argument)
            for stack, layout in (
                (source, self._source_layout),
                (target, self._target_layout),
            )
        )
        self._set_statistics(source.statistics, target.statistics)
        self._fit_populations(source, target)

    def _fit_populations(self, source, target):
        self.cost_ = 1.0 - compare_geometries(source.entries, target.entries)

    def _held_out_cost(self, source, target):
        entries = []
        for layer, fitted, where in (
            (source, self._source_statistics, "X"),
            (target, self._target_statistics, "y"),
        ):
            layer = layer[:, fitted.live]
            statistics = unit_statistics(layer)
            _check_some_scored(statistics, where)
            entries.append(self._entries(layer, statistics, where))
        return 1.0 - compare_geometries(*entries)

    def _check_map(self, direction):
        method = "predict" if direction == "target" else "inverse_predict"
        raise AttributeError(
            f"{type(self).__name__} has no `{method}` and no scores: it compares how "
            "two populations set stimuli apart and maps neither to the other. It has a "
            "`cost_`."
        )

    def _carry(self, direction, units):
        self._check_map(direction)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = None
        tags.regressor_tags = None
        tags.array_api_support = False
        return tags


class RSA(_GeometryComparison):
    """Representational similarity analysis: a cost, and no map.

    Compares which stimuli each population tells apart: representational dissimilarity
    matrices (RDMs) of 1 - the correlation of the responses, over units, to two stimuli,
    by the Spearman correlation of their upper triangles ([1]_). Units are not
    standardised.

    Attributes
    ----------
    cost_ : float
        1 - the Spearman correlation, from 0 to 2; lower is more alike. 1 where a side
        has one unit only, whose RDM says nothing. It is symmetric.
    dead_source_units_, dead_target_units_ : ndarray of int
        Units that are constant over the training stimuli: they take no part.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was a DataFrame with string columns.

    See Also
    --------
    CKA : The other that has no map.
    skmot.metrics.rsa_score : The score of two arrays, without an estimator.

    Notes
    -----
    It takes three stimuli or more, and keeps S (S - 1) / 2 numbers a layer during a
    fit. It is no regressor: `predict` and `score` are not there.

    References
    ----------
    .. [1] N. Kriegeskorte, M. Mur, P. Bandettini. Representational similarity analysis:
       connecting the branches of systems neuroscience. Frontiers in Systems
       Neuroscience, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import RSA
    >>> X = np.random.default_rng(0).normal(size=(30, 8))
    >>> round(RSA().fit(X, 2 * X[:, ::-1]).cost_, 6)
    0.0
    """

    _parameter_constraints = {}
    _center = False

    def _describe(self, units, where):
        return rsa_geometry(units, where)


class CKA(_GeometryComparison):
    """Linear centred kernel alignment: a cost, and no map.

    Compares the scalar products of the responses to two stimuli. Units are centred and
    not scaled one by one.

    Parameters
    ----------
    debiased : bool, default=True
        Whether by the unbiased estimator of HSIC ([2]_, [3]_), so that independent
        populations of any widths have a CKA of about 0; it takes four stimuli or more.
        Plain CKA ([1]_) rises with the widths.

    Attributes
    ----------
    cost_ : float
        1 - CKA, lower is more alike; from 0 to 1, debiased to 2. It is symmetric.
    dead_source_units_, dead_target_units_ : ndarray of int
        Units that are constant over the training stimuli: they take no part.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was a DataFrame with string columns.

    See Also
    --------
    RSA : The other that has no map.
    skmot.metrics.linear_cka : The score of two arrays, without an estimator.

    Notes
    -----
    It keeps about S^2 / 2 numbers a layer during a fit, for S stimuli. It is no
    regressor: `predict` and `score` are not there.

    References
    ----------
    .. [1] S. Kornblith, M. Norouzi, H. Lee, G. Hinton. Similarity of neural network
       representations revisited. ICML, 2019.
    .. [2] L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt. Feature selection via
       dependence maximization. JMLR, 2012.
    .. [3] T. Nguyen, M. Raghu, S. Kornblith. Do wide and deep networks learn the same
       things? Uncovering how neural network representations vary with width and depth.
       ICLR, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import CKA
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(50, 100)), rng.normal(size=(50, 200))
    >>> round(CKA().fit(X, y).cost_, 1), round(CKA(debiased=False).fit(X, y).cost_, 1)
    (1.0, 0.3)
    """

    _parameter_constraints = {"debiased": ["boolean"]}

    def __init__(self, debiased=True):
        self.debiased = debiased

    def _describe(self, units, where):
        return cka_geometry(units, self.debiased, where)


def _pair_up(sources, targets, source, target):
    """Return the coupling of pairs of live units, all of one weight."""
    weights = np.full(len(sources), 1.0 / len(sources))
    plan = coo_array(
        (weights, (sources, targets)), shape=(source.n_live, target.n_live)
    )
    return over_all_units(plan, source, target)


def _correlations_on_host(source, target):
    """Return the correlations of all pairs: assignments are solved on the host."""
    vectors = source.curves.vectors, target.curves.vectors
    xp = namespace_of(*vectors)
    return to_numpy(xp.matmul(vectors[0].T, vectors[1]))


def _mean_distance(plan, source, target):
    """Return the mean correlation distance of pairs on other stimuli."""
    sources, targets = plan.nonzero()
    # As in scores: targets that are constant are left out, and what is constant beside
    # a target that varies correlates 0 with it.
    return 1.0 - mean_over_units(
        column_correlations(
            select(target, targets, axis=1), select(source, sources, axis=1)
        ),
        "y",
    )


def _relative_deviations(statistics, where):
    """Return deviations of units as shares of their population's Frobenius norm."""
    _check_some_scored(statistics, where)
    return statistics.deviation / np.linalg.norm(statistics.deviation)


def _unit_population(layer, live, where):
    """Return a population centred and of unit norm, on its own stimuli; dead ones 0."""
    statistics = unit_statistics(layer)
    live = live & statistics.live
    statistics = replace(
        statistics, live=live, deviation=np.where(live, statistics.deviation, 0.0)
    )
    share = _relative_deviations(statistics, where) / np.sqrt(layer.shape[0])
    return _times(standardize(layer, statistics), share)


def _times(units, factors):
    """Multiply each unit by a number of its own."""
    return units * move_to_home_of(units, factors.astype(numpy_dtype(units)))


def _with_dead_units(matrix, statistics, axis):
    """Give a matrix of live units a row, or a column, of 0 for each dead one."""
    if statistics.live.all():
        return matrix
    xp = namespace_of(matrix)
    shape = list(matrix.shape)
    shape[axis] = 1
    nothing = xp.zeros(tuple(shape), dtype=matrix.dtype, device=device_of(matrix))
    places = np.where(
        statistics.live, np.cumsum(statistics.live) - 1, statistics.n_live
    )
    return select(xp.concat([matrix, nothing], axis=axis), places, axis=axis)


def _check_some_scored(statistics, where):
    if not statistics.live.any():
        raise ValueError(
            f"Every unit of {where} is constant over the stimuli given: there is "
            "nothing to compare. Give more stimuli, or leave the layer out."
        )


def _all_units(population):
    """Return all units of a population standardised; dead ones are 0."""
    vectors, live = population.curves.vectors, population.statistics.live
    units = np.zeros((len(vectors), len(live)), dtype=vectors.dtype)
    units[:, live] = vectors * np.sqrt(len(vectors)).astype(vectors.dtype)
    return units


def _side_by_side(layer, where):
    """Return a layer, or all units of a stack at any depth, as one checked array."""
    if isinstance(layer, LayerStack):
        parts = [
            _side_by_side(part, f"{where}, {layer_label(index, layer.names)}")
            for index, part in enumerate(layer.layers)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    layer = check_layer(layer, where, min_stimuli=2)
    check_some_live(~constant_units(layer), where)
    return layer
