"""RotationMatching and MultiLevelOTRotation: matching after a rotation (MOT+R)."""

import math
from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from scipy.stats import ortho_group
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

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
    rotation_ : ndarray of shape (n_live_source_units, n_live_source_units)
        R, orthogonal, between the live source units, in the order of the units.
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

    def _fit_populations(self, source, target):
        problem = _RotationProblem(
            source.curves.vectors, target.curves.vectors, self.metric
        )
        random = check_random_state(self.random_state)
        n_units = problem.n_source_units
        best = None
        for start in range(self.n_init):
            rotation = (
                np.eye(n_units) if start == 0 else _random_rotation(n_units, random)
            )
            run = problem.alternate(rotation, self.max_iter, self.tol)
            if best is None or run.objective < best.objective:
                best = run
        self.coupling_ = over_all_units(
            best.plan.coupling, source.statistics, target.statistics
        )
        self.rotation_ = best.rotation
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
        live = self._source_statistics.live
        plan = self.coupling_.astype(units.dtype)
        rotation = self.rotation_.astype(units.dtype, copy=False)
        if direction == "target":
            rotated = np.zeros_like(units)
            rotated[:, live] = units[:, live] @ rotation
            return rotated @ (plan * self._target_statistics.n_live)
        carried = units @ (plan * self._source_statistics.n_live).T.tocsr()
        carried[:, live] = carried[:, live] @ rotation.T
        return carried

    def _held_out_cost(self, source, target):
        live = self._source_statistics.live
        plan = (self.coupling_ * self._source_statistics.n_live).T.tocsr()
        source = standardize(source, self._source_statistics)[:, live]
        target = standardize(target, self._target_statistics)
        error = source @ self.rotation_ - (target @ plan)[:, live]
        return float(np.mean(error**2, dtype=np.float64))


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
        random_state=None,
    ):
        self.metric = metric
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.strategy = strategy
        self.cost_cv = cost_cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _inner(self):
        return RotationMatching(
            metric=self.metric,
            max_iter=self.max_iter,
            tol=self.tol,
            n_init=self.n_init,
            random_state=self.random_state,
        )

    def _fit(self, source, target):
        super()._fit(source, target)
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

    Columns have unit norm, so that with S stimuli Z(X)' Z(Y) / S is their product.
    """

    def __init__(self, source, target, metric):
        n_stimuli, self.n_source_units = source.shape
        self.metric = metric
        self.dtype = np.result_type(source, target)
        # One precision throughout: what is orthogonal in float32 is not in float64.
        source = source.astype(self.dtype, copy=False)
        self.target = target.astype(self.dtype, copy=False)
        self.cross = source.T @ self.target
        # The narrower factor of M: it may be of the rank of the stimuli.
        self.through_stimuli = n_stimuli < target.shape[1]
        self.left = source.T if self.through_stimuli else self.cross
        # Norms after a rotation are those of the triangular factor: fewer rows.
        self.source = (
            np.linalg.qr(source, mode="r")
            if n_stimuli > self.n_source_units
            else source
        )

    def alternate(self, rotation, max_iter, tol):
        """Take turns, from a rotation, until J falls no more."""
        run = _Run()
        rotation = rotation.astype(self.dtype, copy=False)
        products = rotation.T @ self.cross
        before = None
        for _ in range(max_iter):
            plan = self.couple(rotation, products)
            if before is None:
                before = _objective(plan, products)
            carried = (plan.coupling * self.n_source_units).astype(self.dtype)
            reconstructed = self.target @ carried.T
            rotation = nearest_rotation(
                self.left, reconstructed.T if self.through_stimuli else carried
            )
            products = rotation.T @ self.cross
            objective = _objective(plan, products)
            # |Z(X) R - Z(Y) (N Q)'|_F^2 / S N, where J has 1, of Z(Y), in its place.
            size = float(np.sum(reconstructed**2, dtype=np.float64))
            error = max(objective - 1.0 + size / self.n_source_units, 0.0)
            run.add(rotation, plan, objective, error)
            run.last_fall = before - objective
            run.settled = run.last_fall <= tol
            if run.settled:
                break
            before = objective
        return run

    def couple(self, rotation, products):
        """Find the optimal coupling of the rotated source units."""
        # With squared distances the norms add a constant: sum_i |Z(X) R_i|^2 is fixed.
        if self.metric == "correlation":
            norms = np.linalg.norm(self.source @ rotation, axis=0)
            # A column rotated to nothing is rounding error: it correlates with none.
            rounding = self.n_source_units * np.finfo(norms.dtype).eps
            norms[norms <= rounding] = np.inf
            products = products / norms[:, np.newaxis]
        return solve_transport(-products)


def _objective(plan, products):
    """J, of a coupling and products of rotated source units and target units."""
    # Both sides have units of variance one on average, whatever the rotation.
    agreement = float(plan.coupling.multiply(products).sum(dtype=np.float64))
    return 2.0 - 2.0 * agreement


def nearest_rotation(left, right):
    """Return the orthogonal R of largest <R, left right'> nearest to the identity.

    The orthogonal Procrustes problem through M = left right' = U1 S V1', of rank r:
    every R = U1 V1' + U2 W V2' with orthogonal W is as good; the nearest to the
    identity has W = polar(U2' V2).

    Parameters
    ----------
    left : ndarray of shape (n, k)
        First factor of M.
    right : ndarray or sparse array of shape (n, k)
        Second factor of M.

    Returns
    -------
    rotation : ndarray of shape (n, n)
        Orthogonal, in the precision of the factors.
    """
    n, k = left.shape
    right = right.toarray() if issparse(right) else right
    if k < n:
        # M has rank k at most: its singular vectors from those of a k x k core.
        left_basis, left_core = np.linalg.qr(left)
        right_basis, right_core = np.linalg.qr(right)
        u, s, vt = np.linalg.svd(left_core @ right_core.T)
        u, v = left_basis @ u, right_basis @ vt.T
    else:
        u, s, vt = np.linalg.svd(left @ right.T)
        v = vt.T
    # As `numpy.linalg.matrix_rank` has it: what is smaller is rounding error.
    rank = np.count_nonzero(s > s[0] * n * np.finfo(s.dtype).eps)
    return _complete_rotation(u[:, :rank], v[:, :rank])


def _complete_rotation(u, v):
    """Complete u v' to the orthogonal matrix nearest to the identity.

    On what u and v leave out, polar(U2' V2) is the direct rotation of Davis and Kahan
    from the span of v to that of u, which turns principal vectors into each other and
    leaves the rest as it is. So no basis of the complements is needed.
    """
    n, rank = u.shape
    if rank == n:
        return u @ v.T
    turn_u, cosines, turn_v = np.linalg.svd(u.T @ v)
    # Direct rotation: I - W / (1 + cosines) W' + 2 (u turn_u) (v turn_v')', of which
    # the part on the span, (u turn_u) (v turn_v')', gives way to u v'.
    both = u @ turn_u + v @ turn_v.T
    rotation = (u + u @ (turn_u @ turn_v)) @ v.T - (both / (1 + cosines)) @ both.T
    rotation[np.diag_indices(n)] += 1
    return rotation


def _random_rotation(n_units, random):
    if n_units == 1:
        # SciPy draws in two dimensions and more; in one, a rotation is a sign.
        return np.array([[random.choice([-1.0, 1.0])]])
    return ortho_group.rvs(n_units, random_state=random)
