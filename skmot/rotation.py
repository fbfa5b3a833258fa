"""RotationMatching and MultiLevelOTRotation: matching after a rotation (MOT+R)."""

import math
from dataclasses import replace
from numbers import Integral, Real
from os import PathLike

import numpy as np
from joblib import Memory
from scipy.sparse import csr_array
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from skmot._array_api import (
    carry,
    move_to_home_of,
    namespace_of,
    select,
    to_numpy,
)
from skmot._orthogonal import (
    DenseRotation,
    ProcrustesProblem,
    differ,
    random_rotation,
    rounding_error,
)
from skmot._pair import PairEstimator, over_all_units
from skmot._units import standardize
from skmot.multilevel import STRATEGIES, LayerCoupler
from skmot.transport import solve_transport

ROTATION_METRICS = ("correlation", "sqeuclidean")


class RotationMatching(PairEstimator):
    """Soft matching after a rotation of the source population.

    Alternates between the optimal coupling Q of the rotated source units with the
    target units, and the rotation R of the source that best reconstructs it from the
    target, the orthogonal Procrustes problem ``argmin |Z(X) R - Z(Y) (N Q)'|_F``
    ([1]_, section 2.3). It starts from the identity and keeps the round of least
    ``J = <Q, |Z(X) R_i - Z(Y)_j|^2> / S``, which never rises with squared Euclidean
    distance.

    Parameters
    ----------
    metric : {"correlation", "sqeuclidean"}, default="correlation"
        What the coupling compares: correlation distance of rotated source units and
        target units, as the paper has it, or their squared distance.
    max_iter : int, default=50
        Most rounds, each one coupling and one rotation.
    tol : float, default=1e-4
        The alternation ends when a round lowers J, which is from 0 to 4, by no more;
        the first round is compared with its own coupling before the rotation.
    n_init : int, default=1
        Starts: the first from the identity, the others from random rotations. The one
        of least J is kept.
    random_state : int, RandomState instance or None, default=None
        Of the random rotations.

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        The plan between rotated source units and target units: rows sum to one over
        the number of live source units, columns to one over that of live target units.
    rotation_ : array of shape (n_live_source_units, n_live_source_units)
        R, orthogonal, between the live source units, in the order of the units; of the
        library and on the device of `X`.
    cost_ : float
        ``|Z(X) R - Z(Y) (N Q)'|_F^2 / (S N)``, the reconstruction error of the source
        an entry, over N live source units and S stimuli; lower is more alike. (The
        division is ours: undivided, as in [1]_, wide source layers weigh more.)
    n_iter_ : int
        Rounds of the start that was kept.
    path_ : dict of ndarray of shape (`n_iter_`,)
        "objective", J of each round, and "error", the cost of each round, of the start
        that was kept. The error may rise from round to round at unequal widths.
    duality_gap_ : float
        By how much the cost of the last coupling may exceed its optimum.
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
    SoftMatching : Without a rotation: what is shared in the units' own basis.
    MultiLevelOTRotation : The same for every pair of layers of two networks.

    Notes
    -----
    It is directed: R acts on the source and is fitted to reconstruct the source, which
    `inverse_score` scores. Swapping the arguments is another fit. At N = K only R Q is
    ever used, so one round is a fixed point: Procrustes.

    With fewer stimuli than units, or fewer target units than source units, many R are
    as good; the one nearest to the identity is taken.

    A rotation mixes all units, so one that hardly varies over the training stimuli (a
    ReLU unit that answers to a single one, say) and does on others, where it is then
    thousands of deviations from its mean, spoils the reconstruction of all. Leave such
    units out, for instance by :class:`skmot.preprocessing.ReliabilitySelector` or by
    `LayerwiseTransformer(VarianceThreshold(...))`.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import ortho_group
    >>> from skmot import RotationMatching, SoftMatching
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=(300, 10))
    >>> X = y @ ortho_group.rvs(10, random_state=0)
    >>> plain = SoftMatching().fit(X[:200], y[:200])
    >>> round(plain.inverse_score(X[200:], y[200:]), 2)
    0.46
    >>> rotated = RotationMatching().fit(X[:200], y[:200])
    >>> round(rotated.inverse_score(X[200:], y[200:]), 2)
    1.0
    """

    _parameter_constraints = {
        "metric": [StrOptions(set(ROTATION_METRICS))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        metric="correlation",
        max_iter=50,
        tol=1e-4,
        n_init=1,
        random_state=None,
    ):
        self.metric = metric
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state

    @property
    def _draws(self):
        return self.n_init > 1

    def _population_bytes(self, n_stimuli, statistics):
        own = super()._population_bytes(n_stimuli, statistics)
        # Of a source, its triangular factor too.
        return own + min(own, super()._population_bytes(statistics.n_live, statistics))

    def _fit_populations(self, source, target):
        problem = _RotationProblem(source.curves, target.curves, self.metric)
        random = check_random_state(self.random_state)
        best = None
        for start in range(self.n_init):
            rotation = None if start == 0 else problem.random_rotation(random)
            run = problem.alternate(rotation, self.max_iter, self.tol)
            if best is None or run.objective < best.objective:
                best = run
        self.coupling_ = over_all_units(
            best.plan.coupling, source.statistics, target.statistics
        )
        self.rotation_ = best.rotation.matrix
        self.cost_ = best.error
        self.n_iter_ = len(best.objectives)
        self.path_ = {
            "objective": np.array(best.objectives),
            "error": np.array(best.errors),
        }
        self.duality_gap_ = best.plan.duality_gap
        self._converged = best.plan.converged
        self._settled, self._last_fall = best.settled, best.last_fall

    def _shortfalls(self):
        found = []
        if not self._converged:
            found.append(("duality gap", self.duality_gap_))
        if not self._settled:
            found.append(("fall of J in the last round", self._last_fall))
        return found

    def _carry(self, direction, units):
        live = np.flatnonzero(self._source_statistics.live)
        xp = namespace_of(units)
        rotation = xp.astype(self.rotation_, units.dtype, copy=False)
        plan = self.coupling_[live]
        if direction == "target":
            rotated = _columns(units, live) @ rotation
            return carry(rotated, plan * self._target_statistics.n_live)
        carried = carry(units, plan.T * self._source_statistics.n_live) @ rotation.T
        return carry(carried, _places(live, self.coupling_.shape[0]))

    def _held_out_cost(self, source, target):
        live = np.flatnonzero(self._source_statistics.live)
        plan = self.coupling_[live].T * len(live)
        source = _columns(standardize(source, self._source_statistics), live)
        target = standardize(target, self._target_statistics)
        xp = namespace_of(source)
        error = xp.astype(source @ self.rotation_ - carry(target, plan), xp.float64)
        return float(xp.mean(error**2))


def _columns(array, columns):
    return array if len(columns) == array.shape[1] else select(array, columns, axis=1)


def _places(columns, n_columns):
    """Return the sparse matrix that puts columns where they belong."""
    ones = np.ones(len(columns))
    return csr_array(
        (ones, (np.arange(len(columns)), columns)), shape=(len(columns), n_columns)
    )


class MultiLevelOTRotation(LayerCoupler):
    """Multi-level optimal transport with a rotation a layer pair (MOT+R).

    As :class:`skmot.MultiLevelOT`, but each pair of layers is matched after the best
    rotation of the source layer ([1]_, section 2.3), so that what two layers share is
    found in whatever basis they hold it. Layer costs are reconstruction errors of the
    source.

    Parameters
    ----------
    metric, max_iter, tol, n_init : {"correlation", "sqeuclidean"}, int, float, int
        Of every pair, see :class:`skmot.RotationMatching`.
    strategy : {"transport", "single_best", "pairwise_best", "permuted"}, \
default="transport"
        Which counterparts a layer is reconstructed from, see
        :class:`skmot.MultiLevelOT`.
    cost_cv : int, cross-validation splitter or iterable, default=None
        How the layer costs are read, see :class:`skmot.MultiLevelOT`.
    n_jobs : int, default=None
        Pairs fitted at the same time, see :class:`skmot.MultiLevelOT`.
    memory : str, path or joblib.Memory, default=None
        Where the fits of pairs are kept, see :class:`skmot.MultiLevelOT`.
    random_state : int, RandomState instance or None, default=None
        Of the random rotations, and of the permutation of `strategy="permuted"`.

    Attributes
    ----------
    coupling_, inverse_coupling_, layer_costs_ : ndarray of shape \
(n_source_layers, n_target_layers)
        As in :class:`skmot.MultiLevelOT`; the costs are errors an entry.
    cost_ : float
        ``<coupling_, C>``; lower is more alike.
    inner_ : list of list of RotationMatching
        `inner_[l][m]` is fitted to source layer l and target layer m.
    n_iter_ : ndarray of int of shape (n_source_layers, n_target_layers)
        Rounds of each pair.
    duality_gap_ : float
        By how much <P, C> may exceed the optimum of the outer problem.
    dead_source_units_, dead_target_units_ : list of ndarray of int
        Of each layer, units that are constant over the training stimuli.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was one DataFrame with string columns.

    See Also
    --------
    RotationMatching : What is fitted to each pair of layers.
    MultiLevelOT : Without rotations, or above any other inner estimator.

    Notes
    -----
    The paper's number is `inverse_score`: rotations act on the source and are fitted to
    reconstruct it. Swapping the arguments is another fit.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import ortho_group
    >>> from skmot import MultiLevelOTRotation
    >>> rng = np.random.default_rng(0)
    >>> target = [rng.normal(size=(200, 6)) for _ in range(3)]
    >>> source = [y @ ortho_group.rvs(6, random_state=0) for y in target[::-1]]
    >>> mot = MultiLevelOTRotation().fit(source, target)
    >>> mot.coupling_.round(2)
    array([[0.  , 0.  , 0.33],
           [0.  , 0.33, 0.  ],
           [0.33, 0.  , 0.  ]])
    """

    _parameter_constraints = {
        **RotationMatching._parameter_constraints,
        "strategy": [StrOptions(set(STRATEGIES))],
        "cost_cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "memory": [str, PathLike, Memory, None],
    }

    def __init__(
        self,
        metric="correlation",
        max_iter=50,
        tol=1e-4,
        n_init=1,
        strategy="transport",
        cost_cv=None,
        n_jobs=None,
        memory=None,
        random_state=None,
    ):
        self.metric = metric
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.strategy = strategy
        self.cost_cv = cost_cv
        self.n_jobs = n_jobs
        self.memory = memory
        self.random_state = random_state

    def _inner(self):
        return RotationMatching(
            metric=self.metric,
            max_iter=self.max_iter,
            tol=self.tol,
            n_init=self.n_init,
            random_state=self.random_state,
        )

    @property
    def _draws(self):
        # The seed is that of the rotations too.
        return super()._draws or self._inner()._draws

    def _couple_layers(self):
        super()._couple_layers()
        self.n_iter_ = np.array([[pair.n_iter_ for pair in row] for row in self.inner_])


class _Run:
    """One alternation: its best round, and the path to it."""

    def __init__(self):
        self.objective = math.inf
        self.objectives, self.errors = [], []

    def add(self, rotation, plan, objective, error):
        self.objectives.append(objective)
        self.errors.append(error)
        if objective < self.objective:
            self.rotation, self.plan = rotation, plan
            self.objective, self.error = objective, error


class _RotationProblem:
    """One pair of standardised populations, of which products are taken once.

    Columns have unit norm, so that with S stimuli Z(X)' Z(Y) / S is their product. What
    a round needs is in products of units: it does not touch the stimuli.
    """

    def __init__(self, source, target, metric):
        self.metric = metric
        xp = namespace_of(source.vectors)
        # One precision throughout: what is orthogonal in float32 is not in float64.
        dtype = xp.result_type(source.vectors, target.vectors)
        source, target = (_in_precision(side, dtype) for side in (source, target))
        self.n_source_units = source.vectors.shape[1]
        self.cross = source.vectors.T @ target.vectors
        self.target_products = target.vectors.T @ target.vectors
        self.procrustes = ProcrustesProblem(self.cross, source.vectors.T)
        if metric == "correlation":
            # Norms after a rotation are those of the triangular factor: fewer rows.
            self.source, basis = source.triangular.T, self.procrustes.basis
            self.source_along = self.source if basis is None else basis.T @ self.source

    def alternate(self, rotation, max_iter, tol):
        """Take turns, from a rotation or None, the identity, until J falls no more."""
        run = _Run()
        plan = before = None
        products = self.cross
        if rotation is not None:
            products = rotation.turn_within(self.cross, self.procrustes.core)
        for _ in range(max_iter):
            last, plan = plan, self.couple(rotation, products, plan)
            if before is None:
                before = _objective(plan, products)
            # The rotation follows from the plan: where that is as before, so is this.
            if last is None or differ(last.flow, plan.flow):
                weights = plan.coupling * self.n_source_units
                rotation = self.procrustes.solve(weights)
                products = rotation.turn_within(self.cross, self.procrustes.core)
                objective = _objective(plan, products)
                error = self._error(objective, weights)
            run.add(rotation, plan, objective, error)
            run.last_fall = before - objective
            run.settled = run.last_fall <= tol
            if run.settled:
                break
            before = objective
        return run

    def random_rotation(self, random):
        """Draw where to start from."""
        rotation = random_rotation(self.n_source_units, random, reflections=True)
        rotation = move_to_home_of(self.cross, rotation)
        xp = namespace_of(self.cross)
        return DenseRotation(xp.astype(rotation, self.cross.dtype))

    def couple(self, rotation, products, last=None):
        """Find the optimal coupling of the rotated source units.

        Parameters
        ----------
        rotation : Rotation, DenseRotation or None
            None is the identity.
        products : array of shape (n_source_units, n_target_units)
            Of rotated source units and target units.
        last : TransportResult, default=None
            Of the round before, near which this one is looked for.
        """
        if self.metric == "correlation":
            costs = products * -self._inverse_norms(rotation)[:, np.newaxis]
        else:
            # The norms add a constant: sum_i |Z(X) R_i|^2 is fixed.
            costs = -products
        potentials = None if last is None else last.potentials
        return solve_transport(costs, potentials=potentials)

    def _inverse_norms(self, rotation):
        source = self.source
        if rotation is not None:
            source = rotation.turn(source, self.source_along)
        xp = namespace_of(source)
        norms = xp.linalg.vector_norm(source, axis=1)
        # A unit rotated to nothing is rounding error: it correlates with none.
        is_some = norms > rounding_error(self.n_source_units, norms.dtype, xp)
        return xp.where(is_some, 1 / xp.where(is_some, norms, 1.0), 0.0)

    def _error(self, objective, weights):
        """|Z(X) R - Z(Y) (N Q)'|_F^2 / S N, from J, which has 1 for |Z(Y) (N Q)'|^2."""
        size = _sum_of_entries(weights.T @ weights, self.target_products)
        return max(objective - 1.0 + size / self.n_source_units, 0.0)


def _in_precision(curves, dtype):
    xp = namespace_of(curves.vectors)
    if curves.vectors.dtype == dtype:
        return curves
    return replace(curves, vectors=xp.astype(curves.vectors, dtype))


def _objective(plan, products):
    """J, of a coupling and products of rotated source units and target units."""
    # Both sides have units of variance one on average, whatever the rotation.
    return 2.0 - 2.0 * _sum_of_entries(plan.coupling, products)


def _sum_of_entries(weights, array):
    """Add up the entries of an array, sparsely weighted, in float64."""
    weights = weights.tocoo()
    places = np.ravel_multi_index((weights.row, weights.col), weights.shape)
    entries = select(namespace_of(array).reshape(array, (-1,)), places, axis=0)
    return float(weights.data @ to_numpy(entries).astype(np.float64))
